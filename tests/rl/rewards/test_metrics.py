"""Statistics: closed forms by enumeration, under any split over hosts and any order."""

import itertools
import json
import math
import random
import statistics as plain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.rewards.metrics import pass_all, pass_at, percentile, summary
from rl.rewards.statistics import FIRST, LAST, Statistics, bucket, dumps, loads, merged
from rl.types import Verdict
from tests.rl.rewards import cases


def add(whole, source, group, said, seconds=0.01):
    verdict = Verdict.of(said, "v") if isinstance(said, float) else Verdict(said, None, "v")
    part = {"kind": verdict.kind, "value": verdict.value, "seconds": seconds}
    details = {"parts": {"rule": part, "judge:it": {"kind": "skipped"}}}
    verdict = Verdict(verdict.kind, verdict.value, "v", "", details)
    whole.add(cases.rollout(source=source), verdict, group)


@pytest.mark.parametrize(("n", "c", "k"), [(5, 2, 3), (8, 0, 4), (8, 8, 4), (6, 5, 2), (4, 1, 4)])
def test_pass_at_k_is_the_share_of_subsets(n, c, k):
    wins = [True] * c + [False] * (n - c)
    subsets = list(itertools.combinations(wins, k))
    assert pass_at(k, n, c) == pytest.approx(plain.mean(map(any, subsets)), abs=1e-15)
    assert pass_all(k, n, c) == pytest.approx(plain.mean(map(all, subsets)), abs=1e-15)


def test_by_hand():
    whole = Statistics()
    for said in (1.0, 0.0, 0.0, 1.0):
        add(whole, "maze", "a", said)
    for said in (0.5, 0.5, "error", "abstain"):
        add(whole, "maze", "b", said)
    add(whole, "count", "c", 1.0)
    found = summary(whole, ks=(1, 2, 4))
    assert found["reward/source/maze/mean"] == 0.5
    assert found["reward/source/maze/std"] == pytest.approx(plain.pstdev([1, 0, 0, 1, 0.5, 0.5]))
    assert found["reward/source/maze/pass_at_1"] == 0.25  # a: 1/2, b: 0
    assert found["reward/source/maze/pass_at_2"] == pytest.approx((5 / 6 + 0) / 2)
    assert found["reward/source/maze/pass_all_2"] == pytest.approx((1 / 6 + 0) / 2)
    assert found["reward/source/maze/pass_at_4"] == 1.0  # only a has four
    assert found["reward/source/maze/error_rate"] == 0.125
    assert found["reward/source/maze/abstain_rate"] == 0.125
    assert found["reward/source/maze/useless_rate"] == 0.5
    assert "reward/source/count/useless_rate" not in found
    assert found["reward/mean"] == pytest.approx(4 / 7)
    assert found["reward/level/step/rollouts"] == 9
    assert found["verifier/rule/error_rate"] == pytest.approx(1 / 9)
    assert found["verifier/judge:it/skipped_rate"] == 1.0
    assert found["verifier/rule/seconds_p50"] == pytest.approx(0.01, rel=0.26)
    assert "verifier/judge:it/seconds_p50" not in found


def test_nothing_but_errors_has_no_mean():
    whole = Statistics()
    add(whole, "maze", "a", "error")
    found = summary(whole)
    assert "reward/mean" not in found
    assert found["reward/error_rate"] == 1.0
    assert summary(Statistics()) == {}
    assert dumps(loads(dumps(whole))) == dumps(whole)


ROLLOUTS = st.lists(
    st.tuples(
        st.sampled_from(["maze", "count"]),
        st.integers(0, 3),
        st.floats(0, 1) | st.sampled_from([0.0, 1.0, 0.1, 0.3, "error", "abstain"]),
        st.floats(1e-6, 1e5),
        st.integers(0, 7),
    ),
    min_size=1,
    max_size=24,
)


@settings(max_examples=60)
@given(ROLLOUTS, st.integers(1, 8), st.randoms(use_true_random=False))
def test_any_split_in_any_order_is_the_same(rollouts, num_hosts, dice):
    """Groups are torn apart, hosts merge in any order and tree, through text."""
    whole = Statistics()
    hosts = [Statistics() for _ in range(num_hosts)]
    for source, group, said, seconds, host in rollouts:
        for place in (whole, hosts[host % num_hosts]):
            add(place, source, f"{source}{group}", said, seconds)
    dice.shuffle(hosts)
    cut = dice.randrange(num_hosts + 1)
    halves = [merged(h) for h in (hosts[:cut], hosts[cut:]) if h]
    together = merged(loads(dumps(half)) for half in halves)
    assert dumps(together) == dumps(whole)
    assert summary(together) == summary(whole)


def test_equals_the_closed_form_over_whole_groups():
    """Against numbers from the plain lists, for groups that are spread over 16 hosts."""
    dice = random.Random(3)
    groups = [[float(dice.random() < p) for _ in range(16)] for p in (0, 0.1, 0.5, 0.9, 1)]
    hosts = [Statistics() for _ in range(16)]
    for name, rewards in enumerate(groups):
        for host, reward in zip(hosts, rewards, strict=True):
            add(host, "maze", str(name), reward)
    found = summary(merged(hosts))
    for k in (1, 2, 4, 8, 16):
        at = [1 - math.comb(16 - int(sum(g)), k) / math.comb(16, k) for g in groups]
        every = [math.comb(int(sum(g)), k) / math.comb(16, k) for g in groups]
        assert found[f"reward/pass_at_{k}"] == pytest.approx(plain.mean(at), abs=1e-15)
        assert found[f"reward/pass_all_{k}"] == pytest.approx(plain.mean(every), abs=1e-15)
    assert found["reward/mean"] == plain.mean(map(plain.mean, groups))


def test_sums_do_not_depend_on_order():
    """0.1 + 0.2 + 0.3 differs from 0.3 + 0.2 + 0.1 in floats, not here."""
    orders = []
    for order in itertools.permutations((0.1, 0.2, 0.3, 1e-17)):
        whole = Statistics()
        for said in order:
            add(whole, "maze", "a", said)
        orders.append(summary(whole)["reward/mean"])
    assert len(set(orders)) == 1


def test_what_does_not_fit_together_is_told():
    one, other = Statistics(), Statistics()
    add(one, "maze", "a", 1.0)
    add(other, "count", "a", 1.0)
    with pytest.raises(ValueError, match="'a' is of"):
        one.merge(other)
    with pytest.raises(ValueError, match="success"):
        one.merge(Statistics(success=0.5))
    text = json.loads(dumps(one)) | {"version": 2}
    with pytest.raises(ValueError, match="version 2"):
        loads(json.dumps(text))


@given(st.floats(1e-4, 1e3))
@settings(max_examples=50)
def test_a_bucket_is_a_quarter_wide(seconds):
    assert percentile({bucket(seconds): 1}, 50) == pytest.approx(seconds, rel=0.13)


def test_percentiles_and_odd_latencies():
    counts = {bucket(0.001): 98, bucket(1.0): 1, bucket(100.0): 1}
    assert percentile(counts, 50) == pytest.approx(0.001, rel=0.26)
    assert percentile(counts, 99) == pytest.approx(1.0, rel=0.26)
    assert percentile(counts, 100) == pytest.approx(100.0, rel=0.26)
    assert [bucket(s) for s in (0.0, -1.0, math.nan, 1e99)] == [FIRST, FIRST, FIRST, LAST]
