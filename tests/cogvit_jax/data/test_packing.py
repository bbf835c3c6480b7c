"""Every patch lands once, in its row and slot; rows never overflow; little is wasted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cogvit_jax.data.packing import RowPlan, pack, pad, plan_rows, stretch, waste

DIM = 5


@st.composite
def batches(draw):
    """(patches, positions, budgets, row_length): each picture within its budget."""
    row_length = draw(st.integers(1, 40))
    budgets = draw(st.lists(st.integers(1, row_length), min_size=1, max_size=12))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    counts = [int(rng.integers(1, budget + 1)) for budget in budgets]
    patches = [rng.integers(1, 256, (n, DIM), dtype=np.uint8) for n in counts]
    positions = [rng.integers(1, 64, (n, 2), dtype=np.int32) for n in counts]
    return patches, positions, budgets, row_length


@settings(max_examples=150)
@given(batches(), st.integers(0, 2))
def test_pack_places_every_patch_once(batch, spare):
    patches, positions, budgets, row_length = batch
    plan = plan_rows(budgets, row_length)
    num_slots = plan.max_slots + spare
    packed = pack(patches, positions, plan, row_length, num_slots)
    segments = packed["segments"]
    assert packed["patches"].shape == (plan.num_rows, row_length, DIM)
    assert packed["patches"].dtype == np.uint8
    assert packed["positions"].dtype == segments.dtype == packed["slots"].dtype == np.int32
    assert len(set(packed["slots"].tolist())) == len(patches)
    for slot, patch, position in zip(packed["slots"], patches, positions, strict=True):
        row, segment = slot // num_slots, slot % num_slots + 1
        mine = segments[row] == segment
        np.testing.assert_array_equal(packed["patches"][row][mine], patch)
        np.testing.assert_array_equal(packed["positions"][row][mine], position)
    assert (segments > 0).sum() == sum(map(len, patches))
    assert not packed["patches"][segments == 0].any()
    assert not packed["positions"][segments == 0].any()
    total = plan.num_rows * row_length
    assert waste(segments) == pytest.approx(1 - sum(map(len, patches)) / total)


@given(batches())
def test_plan_fits_and_numbers_slots_from_one(batch):
    _, _, budgets, row_length = batch
    plan = plan_rows(budgets, row_length)
    assert plan == plan_rows(tuple(budgets), row_length)
    assert set(plan.rows) == set(range(plan.num_rows))
    for row in range(plan.num_rows):
        items = [i for i, r in enumerate(plan.rows) if r == row]
        assert sum(budgets[i] for i in items) <= row_length
        assert sorted(plan.slots[i] for i in items) == list(range(1, len(items) + 1))
    # First fit: at most one row can be half empty.
    loads = np.bincount(plan.rows, weights=budgets)
    assert (2 * loads <= row_length).sum() <= 1


def test_plan_example_and_efficiency():
    expected = RowPlan(rows=(1, 0, 1), slots=(2, 1, 1), num_rows=2, max_slots=2)
    assert plan_rows((64, 256, 192), row_length=256) == expected
    budgets = np.random.default_rng(0).choice([64, 128, 256, 576, 784, 1024], 512)
    plan = plan_rows(budgets.tolist(), 1024)
    # No two pictures above half a row share one; the rest fits beside them: optimal here.
    assert plan.num_rows == (budgets > 512).sum()
    assert budgets.sum() / 1024 <= plan.num_rows


@given(batches(), st.floats(0, 1))
def test_stretched_budgets_fill_their_rows_and_never_overflow(batch, limit):
    _, _, budgets, row_length = batch
    plan = plan_rows(budgets, row_length)
    raised = stretch(budgets, plan, row_length, limit)
    for row in range(plan.num_rows):
        old, new = (
            sum(b[i] for i, r in enumerate(plan.rows) if r == row) for b in (budgets, raised)
        )
        items = plan.rows.count(row)
        assert old <= new <= row_length
        assert new > min(row_length, old * (1 + limit)) - items  # rounded down, item by item
    assert all(a <= b <= a * (1 + limit) + 1e-6 for a, b in zip(budgets, raised, strict=True))


def test_stretch_example():
    budgets = (784, 128)
    plan = plan_rows(budgets, 1024)
    assert stretch(budgets, plan, 1024, limit=0.25) == (880, 143)
    assert stretch(budgets, plan, 1024, limit=0.0) == budgets
    assert stretch((1024, 256), plan_rows((1024, 256), 1024), 1024, 0.5) == (1024, 384)


@pytest.mark.parametrize("budget", [0, 257])
def test_plan_names_a_budget_that_cannot_fit(budget):
    with pytest.raises(ValueError, match=rf"budgets\[1\]={budget} .*row_length=256"):
        plan_rows([256, budget], row_length=256)


def picture(count):
    return np.ones((count, DIM), np.uint8), np.ones((count, 2), np.int32)


def test_pack_refuses_what_the_plan_does_not_fit():
    plan = plan_rows([4, 4], row_length=8)
    (small, where), (large, wide) = picture(4), picture(5)
    with pytest.raises(ValueError, match="5 patches exceeds the budget"):
        pack([small, large], [where, wide], plan, 8, 2)
    with pytest.raises(ValueError, match="num_slots=1"):
        pack([small, small], [where, where], plan, 8, 1)
    with pytest.raises(ValueError, match="plan is for 2 pictures; got 1"):
        pack([small], [where], plan, 8, 2)


def test_pad_is_one_picture_per_row():
    (small, where), (large, wide) = picture(2), picture(6)
    batch = pad([small, large], [where, wide], row_length=8)
    assert batch["segments"].tolist() == [[1, 1] + [0] * 6, [1] * 6 + [0, 0]]
    np.testing.assert_array_equal(batch["patches"].sum(axis=(1, 2)), [2 * DIM, 6 * DIM])
    assert batch["positions"].shape == (2, 8, 2)
    assert set(batch) == {"patches", "positions", "segments"}
    assert waste(batch["segments"]) == 0.5
    with pytest.raises(ValueError, match="row 1 needs 6 tokens but has 5"):
        pad([small, large], [where, wide], row_length=5)
    with pytest.raises(ValueError, match="at least one picture"):
        pad([], [], row_length=5)
