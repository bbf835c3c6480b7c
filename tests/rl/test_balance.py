"""Cost spread over micro-batches and ranks."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cogvit_jax.models.vit import VisionSettings, forward_flops
from mmtp.data.planner import Room, Size
from mmtp.programs.vlm_flops import decoder_flops, projector_flops
from rl.balance import Cost, arrange, group_costs, spread
from rl.costs import cost_of
from rl.packing import pack
from tests.mmtp import tiny_vlm
from tests.rl.test_packing import ROOMS, SIZE, check_valid, fitting

COST = Cost(token=1.0, pair=0.1, patch=2.0, patch_pair=0.05)


@settings(max_examples=60)
@given(st.lists(SIZE, min_size=1, max_size=30), st.sampled_from(ROOMS), st.integers(0, 5))
def test_spread_keeps_all_samples_and_never_worsens_the_costliest(drawn, room, spare):
    sizes = fitting(drawn, room)
    packing = pack(sizes, room)
    result = spread(sizes, packing, room, packing.num_groups + spare, COST)
    check_valid(sizes, result, room)
    assert result.num_groups == packing.num_groups + spare
    if not spare and sizes:
        # The packing itself was one choice; moves only lower it, list scheduling may not.
        alone = max(COST.of(s) for s in sizes)
        mean = sum(COST.of(s) for s in sizes) / result.num_groups
        assert group_costs(sizes, result, COST).max() <= max(
            group_costs(sizes, packing, COST).max(), mean + alone
        )


def test_equal_groups_come_out_of_uneven_packing():
    # First-fit fills groups one after the other: the last one has little.
    sizes = [Size(8)] * 9
    room = Room(1, 4, 8, 1, 4)
    packing = pack(sizes, room)
    assert sorted(map(len, packing.members())) == [1, 4, 4]
    even = spread(sizes, packing, room, 3, COST)
    assert sorted(map(len, even.members())) == [3, 3, 3]


def test_fewer_groups_than_are_needed_is_an_error():
    packing = pack([Size(32), Size(32)], ROOMS[0])
    with pytest.raises(ValueError, match="2 micro-batches do not go into 1"):
        spread([Size(32), Size(32)], packing, ROOMS[0], 1, COST)


def all_arrangements(costs, ranks):
    """The least sum over turns of the costliest, by trying everything."""
    best = np.inf
    for order in itertools.permutations(range(len(costs))):
        turns = np.asarray(costs)[list(order)].reshape(-1, ranks)
        best = min(best, turns.max(axis=1).sum())
    return best


def test_turns_take_as_little_time_as_can_be():
    rng = np.random.default_rng(0)
    for _ in range(5):
        costs = rng.exponential(size=6)
        found = np.asarray(costs)[arrange(costs, 2)]  # [ranks, turns]
        assert found.max(axis=0).sum() == pytest.approx(all_arrangements(costs, 2))


@given(st.lists(st.floats(0, 100), min_size=4, max_size=40), st.integers(1, 4))
def test_ranks_get_equal_numbers_and_nearly_equal_cost(costs, ranks):
    costs = np.asarray(costs[: len(costs) // ranks * ranks])
    order = arrange(costs, ranks)
    assert sorted(order.reshape(-1)) == list(range(len(costs)))
    turns = costs[order]
    sums = turns.sum(axis=1)
    assert sums.max() - sums.min() <= (turns.max(axis=0) - turns.min(axis=0)).max() + 1e-9


def test_costs_are_those_of_the_model():
    vision, model = VisionSettings(), tiny_vlm.model()
    cost = cost_of(vision, model)
    # One sample, one picture: the same as the FLOPs of the program's own count.
    tokens, patches = 96, 64
    expected = decoder_flops(model, tokens, tokens) + projector_flops(model, patches // 4)
    expected += forward_flops(vision, patches, float(patches))
    diagonal = cost.pair * tokens / 2  # tokens see themselves
    found = cost.of(Size(tokens, (patches,))) - diagonal
    assert found == pytest.approx(expected, rel=1e-9)
