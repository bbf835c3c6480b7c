"""Figures of a batch: against hand-made numbers, brute force, and each other."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.metrics import Rows, measure, standard_error

NAN = math.nan


def rows(**fields):
    return Rows(
        **{
            "sources": ["maze"] * 4 + ["ocr"] * 2,
            "groups": ["m1", "m1", "m2", "m2", "o", "o"],
            "rewards": np.array([1, 0, 1, 1, 0.5, NAN]),
            "lengths": np.array([10, 20, 30, 40, 5, 500]),
            "truncated": np.array([0, 0, 0, 0, 0, 1], bool),
            "staleness": np.array([0, 0, 1, 2, 0, 12]),
        }
        | fields
    )


def test_by_hand():
    found = measure(rows(), ks=(1, 2, 4))
    maze = {k.removeprefix("rl/source/maze/"): v for k, v in found.items() if "/maze/" in k}
    assert maze == pytest.approx(
        {
            "rollouts": 4,
            "groups": 2,
            "unjudged_rate": 0,
            "reward_mean": 0.75,
            "reward_std": math.sqrt(3 / 16),
            # Sums of deviations of the groups: -1/2 and 1/2.
            "reward_error": math.sqrt(2 * (0.25 + 0.25)) / 4,
            "pass_at_1": 0.75,
            "pass_all_1": 0.75,
            "pass_at_2": 1,
            "pass_all_2": 0.5,
            "zero_variance_rate": 0.5,
            "length_mean": 25,
            "length_max": 40,
            "length_p50": 25,
            "length_p90": 37,
            "truncated_rate": 0,
            "staleness_0": 0.5,
            "staleness_1": 0.25,
            "staleness_2": 0.25,
            "staleness_mean": 0.75,
            "staleness_max": 2,
        }
    )
    assert found["rl/source/ocr/unjudged_rate"] == 0.5
    assert found["rl/source/ocr/reward_mean"] == 0.5
    assert found["rl/source/ocr/truncated_rate"] == 0.5
    assert found["rl/source/ocr/staleness_more"] == 0.5
    assert "rl/source/ocr/zero_variance_rate" not in found  # nothing to compare
    assert "rl/source/ocr/reward_error" not in found
    assert found["rl/rollouts"] == 6
    assert found["rl/reward_mean"] == pytest.approx(0.7)
    assert found["rl/groups"] == 3
    assert all(map(math.isfinite, found.values()))


def test_nothing_judged_and_nothing_at_all():
    found = measure(rows(rewards=np.full(6, NAN)))
    assert found["rl/unjudged_rate"] == 1
    assert not any("reward" in name or "pass" in name for name in found)
    assert all(map(math.isfinite, found.values()))
    empty = np.zeros(0)
    assert (
        measure(Rows([], [], empty, empty.astype(int), empty.astype(bool), empty.astype(int))) == {}
    )


def test_columns_of_another_length_are_an_error():
    with pytest.raises(ValueError, match="entries of 6 samples"):
        measure(rows(lengths=np.array([1, 2])))
    with pytest.raises(ValueError, match="group 'm1' is of"):
        measure(rows(sources=["maze", "ocr", *["maze"] * 4]))


@settings(max_examples=30)
@given(st.lists(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=4), min_size=1))
def test_pass_at_k_is_the_share_of_subsets_with_a_success(groups):
    flat = [(str(n), r) for n, group in enumerate(groups) for r in group]
    count = len(flat)
    found = measure(
        Rows(
            ["s"] * count,
            [name for name, _ in flat],
            np.array([r for _, r in flat]),
            np.ones(count, int),
            np.zeros(count, bool),
            np.zeros(count, int),
        ),
        ks=(2,),
    )
    shares = [
        np.mean([max(pair) == 1 for pair in itertools.combinations(group, 2)])
        for group in groups
        if len(group) >= 2
    ]
    if shares:
        assert found["rl/source/s/pass_at_2"] == pytest.approx(np.mean(shares))
    else:
        assert "rl/source/s/pass_at_2" not in found


def test_the_error_is_that_of_many_draws():
    """Rollouts of a group share its luck, which independent ones would average away."""
    rng = np.random.default_rng(0)
    groups = [str(i // 8) for i in range(320)]
    draws = rng.random((500, 40)).repeat(8, axis=1) + 0.1 * rng.random((500, 320))
    errors = [standard_error(draw, groups) for draw in draws]
    assert np.mean(errors) == pytest.approx(draws.mean(1).std(), rel=0.1)
    naive = draws.std(1).mean() / math.sqrt(320)
    assert naive < 0.5 * np.mean(errors)
    assert math.isnan(standard_error(np.ones(3), ["a"] * 3))
