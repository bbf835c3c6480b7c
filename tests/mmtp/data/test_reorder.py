"""Rows laid out for context parallelism hold what they held, and ranks have equal work."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cogvit_jax.settings import ConfigError
from mmtp.data.encoded import block_positions
from mmtp.data.layout import ARRAYS, flatten
from mmtp.data.packing import collate
from mmtp.data.reorder import part, reorder, restore, sequence_dim, zigzag
from tests.mmtp.random_documents import make_layout, random_documents

CONTEXTS = (1, 2, 4, 8)


def make_batch(seed, context=1, **fields):
    """Rows that even eight ranks can share."""
    fields = {"seq_len": 64, "vision_row_length": 64, "rows": 4} | fields
    layout = make_layout(2, context=context, **fields)
    return collate(random_documents(seed, 16), layout)["arrays"]


@given(st.integers(1, 8), st.integers(1, 5))
def test_zigzag_gives_each_rank_an_early_and_a_late_chunk(context, chunk):
    length = 2 * context * chunk
    places = zigzag(length, context)
    assert sorted(places) == list(range(length))
    for rank, mine in enumerate(np.split(places, context)):
        early = range(rank * chunk, (rank + 1) * chunk)
        late = range(length - (rank + 1) * chunk, length - rank * chunk)
        # A single rank keeps the row as it is, which is the same.
        assert mine.tolist() == [*early, *late]
    # A causal query at place i sees i + 1 keys.
    work = [int((mine + 1).sum()) for mine in np.split(places, context)]
    assert len(set(work)) == 1


def test_documented_example():
    assert zigzag(8, 2).tolist() == [0, 1, 6, 7, 2, 3, 4, 5]


@pytest.mark.parametrize("context", CONTEXTS)
def test_every_array_is_where_its_token_went(context):
    batch = make_batch(0)
    laid = reorder(batch, context)
    indices = np.argsort(zigzag(64, context))
    for name, value in flatten(laid).items():
        original = flatten(batch)[name]
        assert value.dtype == original.dtype
        if name.startswith("image/"):
            np.testing.assert_array_equal(value, original)
            continue
        for place in range(64):
            mine = np.take(value, indices[place], axis=sequence_dim(name))
            expected = np.take(original, place, axis=sequence_dim(name))
            if name == "mtp_sources":
                valid = batch["mtp_valid"][..., place]
                expected = np.where(valid, indices[expected], 0)
            np.testing.assert_array_equal(mine, expected, err_msg=name)
    np.testing.assert_array_equal(
        laid["order"], np.broadcast_to(zigzag(64, context), laid["order"].shape)
    )


@pytest.mark.parametrize("context", CONTEXTS)
def test_sources_lead_to_the_tokens_that_depths_are_fed(context):
    laid = reorder(make_batch(1), context)
    for depth in range(2):
        sources, valid = laid["mtp_sources"][:, :, depth], laid["mtp_valid"][:, :, depth]
        assert valid.any()
        for name, shifted in (("tokens", "mtp_tokens"), ("positions", "mtp_positions")):
            value = laid[name]
            index = sources.reshape(*sources.shape, *(1,) * (value.ndim - 3))
            found = np.take_along_axis(value, index, axis=2)
            np.testing.assert_array_equal(found[valid], laid[shifted][:, :, depth][valid])
        assert not sources[~valid].any()


@pytest.mark.parametrize("context", CONTEXTS)
def test_restore_undoes_reorder_and_collate_does_it(context):
    batch = make_batch(2)
    laid = reorder(batch, context)
    for name, value in flatten(restore(laid, context)).items():
        np.testing.assert_array_equal(value, flatten(batch)[name], err_msg=name)
    for name, value in flatten(make_batch(2, context)).items():
        np.testing.assert_array_equal(value, flatten(laid)[name], err_msg=name)


@pytest.mark.parametrize("context", CONTEXTS)
def test_no_block_of_patches_is_on_two_ranks(context):
    laid = make_batch(3, context)
    assert laid["image"]["segments"].max() > 1
    for rank in range(2 * context):
        image = part(laid, 2, context, rank)["image"]
        segments = image["segments"].reshape(-1, 4)
        assert (segments == segments[:, :1]).all()
        positions = image["positions"].reshape(-1, 4, 2)[segments[:, 0] > 0]
        corner = positions[:, :1]
        assert (corner % 2 == 0).all()
        expected = np.broadcast_to(block_positions((2, 2)), positions.shape)
        np.testing.assert_array_equal(positions - corner, expected)


def test_parts_are_the_batch():
    laid = make_batch(4, context=2)
    shards = [[flatten(part(laid, 2, 2, 2 * s + c)) for c in range(2)] for s in range(2)]
    for name, value in flatten(laid).items():
        rows = [np.concatenate([p[name] for p in s], axis=sequence_dim(name)) for s in shards]
        np.testing.assert_array_equal(np.concatenate(rows), value)


def test_dims_are_declared_for_all_arrays_and_unknown_ones_are_refused():
    batch = make_batch(5)
    for name, value in flatten(batch).items():
        assert value.shape[sequence_dim(name)] == 64
    assert flatten(batch).keys() == ARRAYS.keys()
    with pytest.raises(ValueError, match="array 'mask' whose dims are not declared"):
        reorder(batch | {"mask": batch["tokens"]}, 2)


def test_rows_that_cannot_be_shared_are_refused():
    with pytest.raises(ConfigError, match=r"config.data.seq_len = 64 must be a multiple of 6"):
        reorder(make_batch(6), 3)
    batch = make_batch(6, vision_row_length=36)
    with pytest.raises(ConfigError, match=r"config.data.vision_row_length = 36 must be a mul"):
        reorder(batch, 2)


def test_a_batch_is_not_laid_out_twice():
    batch = make_batch(7)
    laid = reorder(batch, 2)
    with pytest.raises(ValueError, match="already laid out for 2 devices"):
        reorder(laid, 2)
    with pytest.raises(ValueError, match="not laid out for 2 devices"):
        restore(batch, 2)
