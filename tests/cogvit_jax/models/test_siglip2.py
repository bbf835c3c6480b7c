"""SigLIP2's vision tower: transformers' features, the released sizes, positions on any grid."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cogvit_jax.data.transforms import patchify
from cogvit_jax.models import siglip2
from tests.parity.teachers import (
    TOLERANCE,
    features,
    load,
    read_golden,
    settings,
    smallest_cosine,
    write,
)

FILES = {"siglip2": "siglip2_fixed", "siglip2_naflex": "siglip2_naflex"}


@pytest.mark.parametrize("kind", FILES)
def test_equals_transformers(kind, tmp_path):
    state, config, pairs = read_golden(FILES[kind])
    params = load(write(tmp_path, state, config), settings(kind))
    for picture, expected in pairs:
        np.testing.assert_allclose(features(params, picture, settings(kind)), expected, **TOLERANCE)


@pytest.mark.parametrize("kind", FILES)
def test_bfloat16_is_close(kind, tmp_path):
    state, config, pairs = read_golden(FILES[kind])
    half = settings(kind, dtype="bfloat16")
    params = load(write(tmp_path, state, config), half)
    assert {str(x.dtype) for x in jax.tree.leaves(params)} == {"bfloat16"}
    picture, expected = pairs[-1]
    assert smallest_cosine(features(params, picture, half), expected) > 0.999


@pytest.mark.parametrize(
    ("size", "patch_size", "num_positions", "expected"),
    [
        # transformers' classes with these sizes hold 427,888,064 (NaFlex) and 427,680,704 (patch
        # 14) with the pooling head, whose 15,238,352 parameters are not read.
        ("So400m", 16, 256, 427_888_064 - 15_238_352),
        ("So400m", 14, 256, 427_680_704 - 15_238_352),
        ("B", 16, 256, 85_843_200),
        ("L", 16, 256, 303_361_024),
        ("g-opt", 16, 256, 1_134_838_272),
    ],
)
def test_released_sizes(size, patch_size, num_positions, expected):
    shapes = siglip2.shapes(size, patch_size, num_positions)
    assert sum(math.prod(x.shape) for x in jax.tree.leaves(shapes)) == expected
    patches = jax.ShapeDtypeStruct((2, num_positions, 3 * patch_size**2), jnp.uint8)
    found = jax.eval_shape(lambda *x: siglip2.features(*x, size), shapes, patches)
    assert found.shape == (2, num_positions, siglip2.SIZES[size][0])
    assert found.dtype == jnp.bfloat16


def test_pooling_head_has_the_parameters_that_are_not_read():
    """The number in the test above: probe, attention, norm and MLP of So400m's head."""
    width, _, _, mlp_dim = siglip2.SIZES["So400m"]
    attention = 4 * width * width + 4 * width
    mlp = 2 * width * mlp_dim + width + mlp_dim
    assert width + attention + 2 * width + mlp == 15_238_352


def test_positions_are_resized_per_grid():
    table = jnp.asarray(np.random.default_rng(0).standard_normal((256, 5)), jnp.float32)
    np.testing.assert_array_equal(siglip2.resize_positions(table, (16, 16)), table)
    halved = siglip2.resize_positions(table, (8, 8)).reshape(8, 8, 5)
    # The triangle of an antialiased halving weighs 4 neighbours with 1/8, 3/8, 3/8, 1/8.
    weights = np.array([1, 3, 3, 1]) / 8
    block = np.asarray(table).reshape(16, 16, 5)[3:7, 7:11]
    expected = np.einsum("r,c,rcd->d", weights, weights, block)
    np.testing.assert_allclose(halved[2, 4], expected, atol=1e-6)


def test_pictures_of_a_batch_do_not_see_each_other_and_patches_do(tmp_path):
    state, config, pairs = read_golden("siglip2_fixed")
    params = load(write(tmp_path, state, config), settings("siglip2"))
    (one, _), (other, _) = pairs
    mixed = one.copy()
    mixed[:4, :4] = other[:4, :4]
    alone, changed = (features(params, x, settings("siglip2")) for x in (one, mixed))
    assert np.all(np.max(np.abs(alone - changed), axis=1) > 1e-3)  # every patch sees the first
    both = np.stack([patchify(x, 4)[0] for x in (one, other)])
    together = jax.jit(siglip2.features, static_argnames="size")(params, both, size="tiny")
    np.testing.assert_allclose(together[0], alone, atol=1e-4)
