"""Every caption lands once and ends in eos; rows never overflow; the longest give way."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cogvit_jax.data.text_packing import cut, pack_texts, pad_texts, plan_texts, shorten

PAD, EOS = 0, 1


@st.composite
def batches(draw):
    """(captions, groups, rows, row_length): any lengths, also longer than a row, and any room."""
    groups = draw(st.integers(1, 4))
    size = draw(st.integers(1, 9))
    row_length = draw(st.integers(1, 24))
    num_rows = -(-size // row_length) + draw(st.integers(0, 5))
    lengths = draw(st.lists(st.integers(1, 40), min_size=size * groups, max_size=size * groups))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    captions = [[*rng.integers(2, 99, n - 1).tolist(), EOS] for n in lengths]
    return captions, groups, num_rows, row_length


@settings(max_examples=200)
@given(batches())
def test_every_caption_lands_once_with_its_eos(batch):
    captions, groups, num_rows, row_length = batch
    plan = plan_texts([len(c) for c in captions], groups, num_rows, row_length)
    packed, order = pack_texts(captions, plan, num_rows, row_length, PAD)
    assert packed["tokens"].shape == (groups, num_rows, row_length)
    assert packed["slots"].shape == (groups, len(captions) // groups)
    assert all(x.dtype == np.int32 for x in packed.values())
    assert sorted(order.tolist()) == list(range(len(captions)))
    size = len(captions) // groups
    for place, caption in enumerate(order):
        group, slot = place // size, packed["slots"][place // size, place % size]
        row, last = divmod(int(slot), row_length)
        segments = packed["segments"][group, row]
        mine = np.flatnonzero(segments == segments[last])
        assert segments[last] > 0
        assert mine[-1] == last
        assert len(mine) == plan.lengths[caption] == last - mine[0] + 1
        tokens = packed["tokens"][group, row, mine].tolist()
        assert tokens == cut(captions[caption], len(mine))
        assert tokens[-1] == EOS
        np.testing.assert_array_equal(packed["positions"][group, row, mine], np.arange(len(mine)))
    padding = packed["segments"] == 0
    assert np.count_nonzero(~padding) == plan.lengths.sum()
    assert (packed["tokens"][padding] == PAD).all()


@given(batches())
def test_only_the_longest_are_cut_and_no_more_than_needed(batch):
    captions, groups, num_rows, row_length = batch
    lengths = np.array([len(c) for c in captions])
    plan = plan_texts(lengths, groups, num_rows, row_length)
    lost = plan.lengths < lengths
    assert (plan.lengths >= 1).all()
    # Whatever is cut still is as long as any that is not, up to the one token of a tie.
    if lost.any():
        assert plan.lengths[lost].min() + 1 >= plan.lengths.max()
    again = plan_texts(lengths, groups, num_rows, row_length)
    assert all(np.array_equal(getattr(plan, k), getattr(again, k)) for k in vars(plan))


@given(st.lists(st.integers(1, 64), min_size=1, max_size=40), st.floats(0, 1))
def test_shorten_spends_every_token_it_may(lengths, share):
    lengths = np.asarray(lengths)
    total = len(lengths) + int(share * (lengths.sum() - len(lengths)))
    kept = shorten(lengths, total)
    assert kept.sum() == total
    assert ((kept >= 1) & (kept <= lengths)).all()
    cut_to = kept[kept < lengths]
    assert not len(cut_to) or cut_to.min() + 1 >= kept.max()


def test_nothing_is_cut_where_rows_hold_whole_captions():
    # A row of four captions at the limit: the default, text_budget = text_length.
    rng = np.random.default_rng(0)
    for lengths in (np.full(64, 64), rng.integers(1, 65, 64)):
        plan = plan_texts(lengths, num_groups=2, num_rows=8, row_length=256)
        np.testing.assert_array_equal(plan.lengths, lengths)


def test_all_captions_at_the_limit_are_cut_alike():
    plan = plan_texts([64] * 32, num_groups=1, num_rows=4, row_length=256)
    assert set(plan.lengths.tolist()) == {32}


def test_a_caption_longer_than_a_row_fills_it():
    plan = plan_texts([500, 3], num_groups=1, num_rows=2, row_length=100)
    assert plan.lengths.tolist() == [100, 3]


def test_groups_have_nearly_equal_tokens():
    lengths = np.random.default_rng(0).integers(2, 64, 1024)
    plan = plan_texts(lengths, num_groups=4, num_rows=64, row_length=256)
    sums = np.bincount(plan.groups, weights=plan.lengths)
    assert np.bincount(plan.groups).tolist() == [256] * 4
    # Dealt to and fro; always in the same order it would be up to the longest minus the shortest.
    assert sums.max() - sums.min() < 10


# Lognormal, clipped to [2, 64] as SigLIP2 cuts; 1,024 captions on four chips, 256 each.
@pytest.mark.parametrize(
    ("mean", "deviation", "num_rows", "row_length"), [(17, 10, 17, 256), (46, 12, 23, 512)]
)
def test_at_most_three_percent_is_wasted_and_one_cut(mean, deviation, num_rows, row_length):
    rng = np.random.default_rng(0)
    variance = np.log(1 + (deviation / mean) ** 2)
    kept = total = 0
    for _ in range(20):
        drawn = rng.lognormal(np.log(mean) - variance / 2, variance**0.5, 1024)
        lengths = np.clip(np.round(drawn), 2, 64).astype(int)
        plan = plan_texts(lengths, 4, num_rows, row_length)
        kept, total = kept + plan.lengths.sum(), total + lengths.sum()
    assert 1 - kept / (20 * 4 * num_rows * row_length) < 0.03
    assert 1 - kept / total < 0.01


@pytest.mark.parametrize(
    ("lengths", "groups", "rows", "message"),
    [
        ([3, 3, 3], 2, 1, "3 captions cannot be dealt evenly to 2 groups"),
        ([], 1, 1, "0 captions"),
        ([3, 0], 1, 1, r"lengths\[1\]=0"),
        ([1] * 20, 1, 2, "2 rows of 8 tokens cannot hold 20 captions"),
    ],
)
def test_what_cannot_be_planned_is_named(lengths, groups, rows, message):
    with pytest.raises(ValueError, match=message):
        plan_texts(lengths, groups, rows, row_length=8)


def test_pad_is_one_caption_per_row_with_sticky_eos():
    batch = pad_texts([[5, EOS], [5, 6, 7, 8, 9, EOS], [EOS]], 4, PAD)
    assert batch["tokens"].tolist() == [[5, EOS, 0, 0], [5, 6, 7, EOS], [EOS, 0, 0, 0]]
    assert batch["segments"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]]
    assert cut([5, EOS], 1) == [EOS]
