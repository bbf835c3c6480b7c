"""DINOv3's ViT: transformers' features in all three forms, the released sizes, its angles."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cogvit_jax.models import dinov3
from cogvit_jax.models.dinov3 import Size
from tests.parity.teachers import (
    TOLERANCE,
    features,
    load,
    read_golden,
    settings,
    smallest_cosine,
    write,
)

FORMS = {
    "mlp": Size(48, 2, 3, 112),
    "gated": Size(48, 2, 3, 112, gated=True),
    "no_bias": Size(48, 2, 3, 112, gated=True, value_bias=False),
}


@pytest.fixture(params=FORMS)
def form(request, monkeypatch):
    monkeypatch.setitem(dinov3.SIZES, "tiny", FORMS[request.param])
    return request.param


def test_equals_transformers(form, tmp_path):
    state, config, pairs = read_golden(f"dinov3_{form}")
    params = load(write(tmp_path, state, config), settings("dinov3"))
    for picture, expected in pairs:
        np.testing.assert_allclose(
            features(params, picture, settings("dinov3")), expected, **TOLERANCE
        )


def test_bfloat16_is_close(form, tmp_path):
    state, config, pairs = read_golden(f"dinov3_{form}")
    half = settings("dinov3", dtype="bfloat16")
    params = load(write(tmp_path, state, config), half)
    assert {str(x.dtype) for x in jax.tree.leaves(params)} == {"bfloat16"}
    picture, expected = pairs[-1]
    assert smallest_cosine(features(params, picture, half), expected) > 0.999


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        # With the mask token, which is not read, as transformers counts them.
        ("S", 21_596_544),
        ("S+", 28_692_864),
        ("B", 85_660_416),
        ("L", 303_129_600),
        ("H+", 840_592_640),
        ("7B", 6_716_035_072),
    ],
)
def test_released_sizes(size, expected):
    shapes = dinov3.shapes(size, 16)
    width = dinov3.SIZES[size].width
    assert sum(math.prod(x.shape) for x in jax.tree.leaves(shapes)) + width == expected
    patches = jax.ShapeDtypeStruct((2, 256, 768), jnp.uint8)
    found = jax.eval_shape(lambda *x: dinov3.features(*x, size), shapes, patches)
    assert found.shape == (2, 256, width)
    assert found.dtype == jnp.bfloat16


def test_angles_of_one_patch_by_hand():
    cos, sin = dinov3.centre_rope((4, 8), head_dim=8, num_prefix=5)
    assert cos.shape == (5 + 32, 8)
    np.testing.assert_array_equal(cos[:5], 1)
    np.testing.assert_array_equal(sin[:5], 0)
    row, column = 1, 6  # centres -0.25 and 0.625; frequencies 1 and 1/10
    turns = np.array([-0.25, -0.025, 0.625, 0.0625] * 2)
    place = 5 + 8 * row + column
    np.testing.assert_allclose(cos[place], np.cos(2 * np.pi * turns), atol=1e-6)
    np.testing.assert_allclose(sin[place], np.sin(2 * np.pi * turns), atol=1e-6)


def test_the_middle_of_any_grid_has_the_same_angles():
    """Centres are relative: a picture twice as large spans the same angles."""
    for grid in ((3, 3), (5, 7), (9, 1)):
        cos, sin = dinov3.centre_rope(grid, head_dim=16, num_prefix=0)
        middle = grid[0] * grid[1] // 2
        np.testing.assert_allclose(cos[middle], 1, atol=1e-6)
        np.testing.assert_allclose(sin[middle], 0, atol=1e-6)
