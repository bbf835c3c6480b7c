"""Blocks of packed rows, and the merger's equality with transformers'."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cogvit_jax.data.packing import pack, plan_rows
from cogvit_jax.interop.cogvit import load_cogvit, load_merger
from cogvit_jax.models import merger
from tests.parity import glm_ocr
from tests.parity.glm_ocr import TOLERANCE, numbered

FIND = jax.jit(merger.find_blocks)
GRIDS = ((2, 4), (4, 6), (6, 2), (2, 2))


@pytest.fixture(scope="module")
def params():
    """Random ones of an encoder of width 8 and a language model of width 12."""
    shapes = jax.eval_shape(lambda: merger.init(jax.random.key(0), 8, 12, 20))
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda x: np.float32(0.3) * rng.standard_normal(x.shape, np.float32), shapes
    )


def packed_rows(row_length=29):
    """(batch, plan) of pictures with the grids of GRIDS."""
    positions = [np.argwhere(np.ones(grid)).astype(np.int32) for grid in GRIDS]
    patches = [np.zeros((len(p), 3), np.uint8) for p in positions]
    plan = plan_rows([len(p) for p in positions], row_length)
    return pack(patches, positions, plan, row_length, plan.max_slots), plan


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["glm_ocr_small", "glm5_next_small"])
def test_merged_tokens_equal_transformers(tmp_path, name, packed):
    golden = glm_ocr.load_golden(name)
    folder = glm_ocr.write_golden(tmp_path / "tower", golden)
    params, fields = load_cogvit(folder, temporal=True)
    _, ours = glm_ocr.run_tower(
        glm_ocr.cogvit(fields),
        params,
        numbered(golden, "clip"),
        fields["patch_size"],
        packed=packed,
        temporal=True,
        merger=load_merger(folder),
        swiglu_limit=fields["swiglu_limit"],
    )
    for x, expected in zip(ours, numbered(golden, "merged"), strict=True):
        np.testing.assert_allclose(x, expected, **TOLERANCE)


def test_blocks_of_a_packed_row_hold_four_neighbours_of_one_picture():
    batch, plan = packed_rows()
    assert plan.num_rows > 1
    assert plan.max_slots > 1
    positions, segments = batch["positions"], batch["segments"]
    blocks = FIND(jnp.asarray(positions), jnp.asarray(segments))
    for row, slot, grid in zip(plan.rows, plan.slots, GRIDS, strict=True):
        mine = np.asarray(blocks.segments[row]) == slot
        assert mine.sum() == grid[0] * grid[1] // 4
        tokens = np.asarray(blocks.tokens[row][mine])
        np.testing.assert_array_equal(segments[row][tokens], slot)
        corners = np.asarray(blocks.positions[row][mine]) * 2
        expected = corners[:, None] + np.array([(0, 0), (0, 1), (1, 0), (1, 1)])[None]
        np.testing.assert_array_equal(positions[row][tokens], expected)
        assert corners.tolist() == sorted(corners.tolist())
    total = sum(rows * columns for rows, columns in GRIDS) // 4
    assert np.count_nonzero(blocks.segments) == total


def test_padding_makes_no_block_and_points_nowhere():
    batch, _ = packed_rows()
    segments = jnp.asarray(batch["segments"])
    positions = jnp.where(segments[..., None] > 0, jnp.asarray(batch["positions"]), 8)
    blocks = FIND(positions.at[:, -1].set(9), segments)
    empty = np.asarray(blocks.segments) == 0
    assert empty.any()
    assert not np.asarray(blocks.tokens)[empty].any()
    assert np.asarray(blocks.tokens).max() < segments.shape[1]


def test_an_odd_last_row_or_column_is_left_out():
    positions = jnp.asarray(np.argwhere(np.ones((3, 5))), jnp.int32)[None]
    blocks = FIND(positions, jnp.ones((1, 15), jnp.int32))
    assert blocks.segments.tolist() == [[1, 1, 0]]
    assert blocks.tokens[0, :2].tolist() == [[0, 1, 5, 6], [2, 3, 7, 8]]


def test_grid_sizes_are_those_of_each_tokens_picture():
    batch, plan = packed_rows()
    inputs = (jnp.asarray(batch[name]) for name in ("positions", "segments"))
    sizes = jax.jit(merger.grid_sizes)(*inputs)
    for row, slot, grid in zip(plan.rows, plan.slots, GRIDS, strict=True):
        mine = batch["segments"][row] == slot
        np.testing.assert_array_equal(np.asarray(sizes[row])[mine], [grid] * mine.sum())


def test_a_picture_alone_merges_as_in_a_packed_row(params):
    batch, plan = packed_rows()
    rng = np.random.default_rng(2)
    features = rng.standard_normal((*batch["segments"].shape, 8), np.float32)
    blocks = FIND(jnp.asarray(batch["positions"]), jnp.asarray(batch["segments"]))
    merged = np.asarray(jax.jit(merger.merge)(params, features, blocks.tokens))
    places = list(zip(plan.rows, plan.slots, GRIDS, strict=True))
    pictures = [features[row][batch["segments"][row] == slot] for row, slot, _ in places]

    @jax.jit
    def merge_each(params, pictures):
        grids = zip(pictures, GRIDS, strict=True)
        return [merger.merge_picture(params, picture, grid) for picture, grid in grids]

    for (row, slot, _), alone in zip(places, merge_each(params, pictures), strict=True):
        found = merged[row][np.asarray(blocks.segments[row]) == slot]
        # Sums of at most 32 terms, which the compiler may order otherwise.
        np.testing.assert_allclose(found, alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("grid", [(3, 4), (2, 4)])
def test_a_grid_that_cannot_be_merged_is_refused(params, grid):
    with pytest.raises(ValueError, match=r"of 12 tokens: rows and columns must be even"):
        merger.merge_picture(params, jnp.zeros((12, 8)), grid)


def test_a_new_merger_passes_features_of_size_one_on():
    params = jax.jit(merger.init, static_argnums=(1, 2, 3))(jax.random.key(0), 64, 96, 288)
    features = np.random.default_rng(1).standard_normal((64, 64), np.float32)
    merged = jax.jit(merger.merge_picture, static_argnums=2)(params, features, (8, 8))
    assert merged.shape == (16, 96)
    assert 0.05 < np.std(merged) < 1
