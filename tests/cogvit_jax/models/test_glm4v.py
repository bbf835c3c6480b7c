"""The GLM-4V tower equals transformers'; its positions equal torch's bicubic sampling."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cogvit_jax.interop.glm4v import load_glm4v
from cogvit_jax.models import glm4v
from tests.parity import glm_ocr
from tests.parity.glm_ocr import TOLERANCE, numbered


@pytest.fixture(scope="module")
def golden():
    return glm_ocr.load_golden("glm4v_small")


@pytest.fixture(scope="module")
def folder(golden, tmp_path_factory):
    return glm_ocr.write_golden(tmp_path_factory.mktemp("glm4v") / "tower", golden)


def encode(settings, params, *inputs):
    return glm4v.encode(params, settings, *inputs)


@pytest.mark.parametrize("packed", [False, True])
def test_equals_glm4v_from_pixels_to_merged_tokens(golden, folder, packed):
    params, merger, settings = load_glm4v(folder, temporal=True)
    features, merged = glm_ocr.run_tower(
        functools.partial(encode, settings),
        params,
        numbered(golden, "clip"),
        4,
        packed=packed,
        temporal=True,
        merger=merger,
    )
    for ours, name in ((features, "features"), (merged, "merged")):
        for x, expected in zip(ours, numbered(golden, name), strict=True):
            np.testing.assert_allclose(x, expected, **TOLERANCE)


def test_a_picture_needs_one_frame_only(golden, folder):
    params, _, settings = load_glm4v(folder)
    pictures = numbered(golden, "clip")[:2]
    tower = functools.partial(encode, settings)
    ours, _ = glm_ocr.run_tower(tower, params, pictures, 4, packed=True)
    for x, expected in zip(ours, numbered(golden, "features")[:2], strict=True):
        np.testing.assert_allclose(x, expected, **TOLERANCE)


def test_bfloat16_stays_close(golden, folder):
    params, _, settings = load_glm4v(folder)
    tower = functools.partial(encode, dataclasses.replace(settings, dtype="bfloat16"))
    pictures = numbered(golden, "clip")[:2]
    ours, _ = glm_ocr.run_tower(tower, params, pictures, 4, packed=True)
    for x, expected in zip(ours, numbered(golden, "features")[:2], strict=True):
        norms = np.linalg.norm(x, axis=-1) * np.linalg.norm(expected, axis=-1)
        assert np.min(np.sum(x * expected, axis=-1) / norms) > 0.999


def cubic(distance):
    """Keys' kernel with a = -0.75, from its definition."""
    x, a = abs(distance), -0.75
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


@pytest.mark.parametrize("grid", [(2, 6), (24, 24), (30, 1)])
def test_positions_are_sampled_as_defined(grid):
    side, rng = 24, np.random.default_rng(0)
    table = rng.standard_normal((side, side, 5)).astype(np.float32)
    indices = np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"), -1).reshape(1, -1, 2)
    grids = np.broadcast_to(np.asarray(grid), indices.shape)
    ours = glm4v.sample_positions(*map(jnp.asarray, (table, indices, grids)))

    def weights(index, size):
        place = (index + 0.5) * side / size - 0.5
        row = np.zeros(side)
        for tap in range(int(np.floor(place)) - 1, int(np.floor(place)) + 3):
            row[min(max(tap, 0), side - 1)] += cubic(place - tap)
        return row

    for token, (row, column) in enumerate(indices[0]):
        expected = np.einsum("r,c,rcd", weights(row, grid[0]), weights(column, grid[1]), table)
        np.testing.assert_allclose(ours[0, token], expected, atol=2e-5)


def test_the_released_grid_samples_the_table_itself():
    table = jax.random.normal(jax.random.key(0), (24, 24, 3))
    indices = jnp.stack(jnp.divmod(jnp.arange(576), 24), -1)[None]
    ours = glm4v.sample_positions(table, indices, jnp.full_like(indices, 24))
    np.testing.assert_allclose(ours[0], table.reshape(576, 3), atol=1e-6)
