"""Advantages equal loops over groups, for any groups and missing rewards, and known numbers."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl import advantages
from rl.advantages import ADVANTAGES

GOLDEN = Path(__file__).parents[1] / "golden" / "rl_losses.npz"
# verl's names; its REINFORCE++ adds 1e-8 to the number of tokens too.
THEIRS = {"grpo": "grpo", "dr_grpo": "drgrpo", "rloo": "rloo", "reinforce_pp": "rpp"}
GROUP_WISE = ("grpo", "dr_grpo", "rloo")

REWARD = st.one_of(st.just(np.nan), st.sampled_from([0.0, 0.5, 1.0]), st.floats(-2, 2, width=32))
BATCHES = st.lists(st.tuples(REWARD, st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=12)


def arrays(batch):
    rewards, groups, lengths = zip(*batch, strict=True)
    return np.array(rewards, np.float64), np.array(groups), np.array(lengths)


@pytest.mark.parametrize("name", THEIRS)
def test_equals_golden(name):
    with np.load(GOLDEN) as file:
        lengths = file["mask"].sum(1).astype(int)
        found = ADVANTAGES[name](file["rewards"], file["idx"], lengths)
        theirs = file[f"adv_{THEIRS[name]}"]
        np.testing.assert_allclose(found[:, None] * file["mask"], theirs, atol=1e-8)


def by_group(name, rewards, groups):
    """One sample after the other."""
    found = []
    for i, reward in enumerate(rewards):
        mates = [r for r, g in zip(rewards, groups, strict=True) if g == groups[i] and r == r]
        others = [
            r
            for j, r in enumerate(rewards)
            if groups[j] == groups[i] and j != i and not np.isnan(r)
        ]
        if np.isnan(reward) or not others:
            found.append(0.0)
        elif name == "grpo":
            found.append((reward - np.mean(mates)) / (np.std(mates, ddof=1) + 1e-6))
        elif name == "rloo":
            found.append(reward - np.mean(others))
        else:
            found.append(reward - np.mean(mates))
    return np.array(found)


def whitened(tokens):
    """Lists of numbers less their common mean, over their common standard deviation."""
    together = np.concatenate([np.asarray(x, np.float64) for x in tokens])
    if len(together) < 2:
        return [np.zeros(len(x)) for x in tokens]
    scale = np.sqrt(np.var(together, ddof=1) + 1e-8)
    return [(np.asarray(x) - together.mean()) / scale for x in tokens]


@settings(max_examples=60)
@given(BATCHES)
def test_compared_within_the_group(batch):
    rewards, groups, lengths = arrays(batch)
    for name in GROUP_WISE:
        found = ADVANTAGES[name](rewards, groups, lengths)
        # GRPO divides by 1e-6 and more: rounding of a mean is that much larger.
        np.testing.assert_allclose(found, by_group(name, rewards, groups), atol=1e-8, rtol=1e-6)


@settings(max_examples=60)
@given(BATCHES)
def test_whitened_over_tokens(batch):
    rewards, groups, lengths = arrays(batch)
    known = ~np.isnan(rewards)
    alone = np.array([np.sum(known[groups == g]) < 2 for g in groups])
    for name, values, counted in (
        ("reinforce_pp", rewards, known),
        ("reinforce_pp_baseline", by_group("dr_grpo", rewards, groups), known & ~alone),
    ):
        found = ADVANTAGES[name](rewards, groups, lengths)
        tokens = [[v] * n for v, n in zip(values[counted], lengths[counted], strict=True)]
        expected = np.zeros(len(rewards))
        for i, numbers in zip(
            np.flatnonzero(counted), whitened(tokens) if tokens else [], strict=True
        ):
            expected[i] = numbers[0] if len(numbers) else 0
        np.testing.assert_allclose(found, expected, atol=1e-6, rtol=1e-6)


@settings(max_examples=60)
@given(BATCHES, st.sampled_from([1.0, 0.9, 0.0]))
def test_returns_to_go(batch, gamma):
    rewards, _, lengths = arrays(batch)
    found = advantages.returns_to_go(rewards, lengths, gamma)
    tokens = []
    for reward, length in zip(rewards, lengths, strict=True):
        discounted = [gamma ** (length - 1 - t) * reward for t in range(length)]
        tokens.append(np.array(discounted if reward == reward else []))
    for row, numbers in zip(found, whitened(tokens), strict=True):
        np.testing.assert_allclose(row[: len(numbers)], numbers, atol=1e-6, rtol=1e-6)
        assert not row[len(numbers) :].any()


def test_without_discount_a_return_is_the_reward():
    rewards, groups, lengths = np.array([1.0, np.nan, 0.25]), np.zeros(3, int), np.array([3, 2, 1])
    tokens = advantages.returns_to_go(rewards, lengths)
    of_sample = ADVANTAGES["reinforce_pp"](rewards, groups, lengths)
    np.testing.assert_allclose(tokens, of_sample[:, None] * (np.arange(3) < lengths[:, None]))


@settings(max_examples=40)
@given(BATCHES, st.randoms(use_true_random=False))
def test_order_and_names_of_groups_have_no_effect(batch, random):
    shuffled = random.sample(range(len(batch)), len(batch))
    rewards, groups, lengths = arrays(batch)
    for name, function in ADVANTAGES.items():
        found = function(rewards, groups, lengths)
        other = function(rewards[shuffled], 90 - 7 * groups[shuffled], lengths[shuffled])
        np.testing.assert_allclose(other, found[shuffled], atol=1e-8, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("name", ADVANTAGES)
def test_a_missing_reward_changes_nothing_for_others(name):
    rewards, groups = np.array([1.0, 0.0, 0.5, 1.0, 0.0]), np.array([0, 0, 0, 1, 1])
    lengths = np.array([2, 3, 1, 4, 2])
    without = ADVANTAGES[name](rewards, groups, lengths)
    more = ADVANTAGES[name](
        np.append(rewards, [np.nan] * 2), np.append(groups, [0, 2]), np.append(lengths, [9, 9])
    )
    np.testing.assert_array_equal(more, np.append(without, [0, 0]))
    assert name == "none" or np.abs(without).max() > 0.2


@pytest.mark.parametrize("name", sorted(set(ADVANTAGES) - {"reinforce_pp"}))
def test_nobody_to_compare_with(name):
    rewards, groups = np.array([1.0, np.nan, 0.0, 1.0]), np.array([0, 0, 1, 1])
    assert ADVANTAGES[name](rewards, groups, np.full(4, 3))[0] == 0


def test_which_samples_are_judged():
    np.testing.assert_array_equal(
        advantages.judged(np.array([0.0, np.nan, 1.0])), [True, False, True]
    )
    with pytest.raises(ValueError, match=r"infinity at \[1\]"):
        advantages.judged(np.array([0.0, np.inf]))


def test_every_token_of_a_sample_has_its_advantage():
    rewards, groups = np.array([0.0, 1, 1, np.nan]), np.array([0, 0, 1, 1])
    lengths = np.array([2, 3, 1, 4])
    whole = advantages.grpo(rewards, groups, lengths)
    found = advantages.per_token("grpo", rewards, groups, lengths)
    for one, gain, length in zip(found, whole, lengths, strict=True):
        np.testing.assert_array_equal(one, [gain] * length)


def test_a_discount_gives_each_token_its_own():
    rewards, groups, lengths = np.array([1.0, 0, np.nan]), np.zeros(3, int), np.array([3, 2, 2])
    found = advantages.per_token("reinforce_pp", rewards, groups, lengths, gamma=0.5)
    returns = np.array([0.25, 0.5, 1, 0, 0])
    expected = (returns - returns.mean()) / returns.std(ddof=1)
    np.testing.assert_allclose(np.concatenate(found[:2]), expected, rtol=1e-6)
    np.testing.assert_array_equal(found[2], [0, 0])  # not judged


def test_overlong_penalty():
    lengths = np.array([0, 16384, 16385, 18432, 20480, 20481, 99999])
    expected = [0, 0, -1 / 4096, -0.5, -1, -1, -1]
    np.testing.assert_allclose(advantages.overlong_penalty(lengths), expected)
    np.testing.assert_allclose(
        advantages.overlong_penalty(np.array([5, 8, 10, 11]), 10, 4), [0, -0.5, -1, -1]
    )
    assert not advantages.overlong_penalty(lengths, 10, 0).any()
