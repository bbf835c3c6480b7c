"""Aggregations: values by hand, and laws for anything that verifiers may say."""

import asyncio
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.rewards.aggregate import AGGREGATIONS, Recipe, decide, resolve
from rl.types import Verdict

NAMES = sorted(AGGREGATIONS)


def say(said):
    """A verdict: a number, "abstain", "error", or None = not there yet."""
    if said is None:
        return None
    if said in ("abstain", "error"):
        return Verdict(said, None, "v", f"why {said}")
    return Verdict.of(said, "v")


def outcome(name, said, weights=(), threshold=1.0):
    recipe = Recipe(name, ("v",) * len(said), tuple(weights), threshold)
    verdict = decide("all", recipe, [say(s) for s in said])
    if verdict is None:
        return None
    return verdict.value if verdict.kind == "value" else verdict.kind


A, E = "abstain", "error"
TABLE = [
    ("weighted_sum", (1.0, 0.0), 0.5),
    ("weighted_sum", (1.0, A), 1.0),
    ("weighted_sum", (A, A), A),
    ("weighted_sum", (1.0, E), E),
    ("weighted_sum", (A, E), E),
    ("weighted_sum", (1.0, None), None),
    ("product", (0.5, 0.5), 0.25),
    ("product", (0.5, A), 0.5),
    ("product", (0.0, E), 0.0),
    ("product", (0.5, E), E),
    ("product", (0.0, None), 0.0),
    ("min", (0.5, 0.25), 0.25),
    ("min", (0.0, None, E), 0.0),
    ("min", (A, 0.5), 0.5),
    ("min", (1.0, E), E),
    ("first", (A, 0.25), 0.25),
    ("first", (0.75, E), 0.75),
    ("first", (0.75, None), 0.75),
    ("first", (E, 1.0), E),
    ("first", (A, A), A),
    ("first", (None, 1.0), None),
    ("gate", (0.5, 1.0), 0.0),
    ("gate", (1.0, 1.0, 0.5), 0.75),
    ("gate", (0.5, None), 0.0),
    ("gate", (0.5, E), 0.0),
    ("gate", (0.5, A), 0.0),
    ("gate", (A, 0.5), 0.5),
    ("gate", (E, 0.0), 0.0),
    ("gate", (E, 0.5), E),
    ("format_times_correctness", (1.0, 0.5), 0.5),
    ("format_times_correctness", (0.5, 0.5), 0.25),
    ("format_times_correctness", (0.0, None), 0.0),
    ("format_times_correctness", (0.0, E), 0.0),
    ("format_times_correctness", (0.0, A), 0.0),
    ("format_times_correctness", (1.0, A), A),
    ("format_times_correctness", (A, 0.5), 0.5),
    ("format_times_correctness", (E, 0.0), 0.0),
    ("format_times_correctness", (1.0, E), E),
    ("majority", (1.0, 1.0, 0.0), 1.0),
    ("majority", (1.0, 1.0, None), 1.0),
    ("majority", (1.0, 1.0, E), 1.0),
    ("majority", (1.0, 0.0, E), E),
    ("majority", (1.0, 0.0), A),
    ("majority", (1.0, 0.0, A), A),
    ("majority", (0.5, 0.9, 0.5), 1.0),
    ("median", (0.1, 0.9, 0.2), 0.2),
    ("median", (0.25, 0.75), 0.5),
    ("median", (0.2, 0.2, None), 0.2),
    ("median", (0.2, 0.3, None), None),
    ("median", (0.2, A, A), 0.2),
    ("median", (0.2, E), E),
]


@pytest.mark.parametrize(("name", "said", "expected"), TABLE)
def test_by_hand(name, said, expected):
    assert outcome(name, said) == expected


def test_weights_and_threshold():
    assert outcome("weighted_sum", (1.0, 0.0, A), (3.0, 1.0, 4.0)) == 0.75
    assert outcome("gate", (0.5, 1.0, 0.0), (9.0, 3.0, 1.0), threshold=0.5) == 0.75


def test_two_that_agree_need_no_third_of_whatever_kind():
    assert outcome("median", (0.2, 0.2, 0.9)) == 0.2
    assert outcome("majority", (0.0, 0.0, E)) == 0.0


VALUES = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]) | st.floats(0, 1)
SAID = st.lists(VALUES | st.sampled_from([A, E, None]), min_size=2, max_size=4)
KNOWN = st.lists(VALUES | st.just(A), min_size=4, max_size=4)


@settings(max_examples=60)
@given(st.sampled_from(NAMES), SAID, KNOWN, st.floats(0, 1))
def test_what_is_settled_stays_whatever_the_others_say(name, said, others, threshold):
    """A failed or missing part could have said anything: the outcome is the same for all of it."""
    settled = outcome(name, said, threshold=threshold)
    filled = [o if s in (E, None) else s for s, o in zip(said, others, strict=False)]
    whole = outcome(name, filled, threshold=threshold)
    assert whole not in (E, None)  # where nothing failed, there is no error
    if settled not in (E, None):
        assert whole == settled
    if settled is None:
        assert None in said
    if settled == E:
        assert E in said
        assert None not in said


@settings(max_examples=60)
@given(st.sampled_from(NAMES), SAID)
def test_an_error_or_a_wait_is_needed(name, said):
    """Where neither 0, 1 nor an abstention in its place would differ, there is an outcome."""
    free = [i for i, s in enumerate(said) if s in (E, None)]
    settled = outcome(name, said)
    found = set()
    for guess in itertools.product((0.0, 1.0, A), repeat=len(free)):
        filled = list(said)
        for i, value in zip(free, guess, strict=True):
            filled[i] = value
        found.add(outcome(name, filled))
    assert (settled in (E, None)) == (len(found) > 1)


@settings(max_examples=60)
@given(st.sampled_from(NAMES), KNOWN, st.integers(0, 3), VALUES)
def test_never_falls_when_a_value_rises(name, said, place, higher):
    if said[place] == A or higher < said[place]:
        return
    order = {A: 0.5} if name == "majority" else {}
    before = outcome(name, said)
    after = outcome(name, [*said[:place], higher, *said[place + 1 :]])
    if A in (before, after) and name != "majority":
        assert before == after
    else:
        assert order.get(after, after) >= order.get(before, before) - 1e-12


def run_resolve(name, plan):
    """(outcome, verdicts, asked) of parts (said, seconds): each is there after so many seconds."""
    asked = []

    async def part(place, said, seconds):
        asked.append(place)
        await asyncio.sleep(seconds)
        return say(said)

    async def run():
        recipe = Recipe(name, ("v",) * len(plan))
        ask = {i: lambda i=i, p=p: part(i, *p) for i, p in enumerate(plan)}
        return await resolve("all", recipe, [None] * len(plan), ask)

    verdict, verdicts = asyncio.run(run())
    return verdict, verdicts, asked


@pytest.mark.parametrize("order", list(itertools.permutations((0.0, 0.01, 0.02))))
@pytest.mark.parametrize(
    ("name", "said"),
    [("min", (0.0, 0.5, E)), ("majority", (1.0, E, 1.0)), ("weighted_sum", (0.5, 1.0, A))],
)
def test_outcome_does_not_depend_on_who_is_first(name, said, order):
    verdict, _, _ = run_resolve(name, list(zip(said, order, strict=True)))
    assert (verdict.value if verdict.kind == "value" else verdict.kind) == outcome(name, said)


def test_a_zero_does_not_wait_for_the_others():
    verdict, verdicts, _ = run_resolve("product", [(0.0, 0.0), (1.0, 60.0)])
    assert verdict.value == 0.0
    assert verdicts[1] is None


def test_first_asks_one_by_one():
    assert run_resolve("first", [(A, 0.0), (0.5, 0.0), (1.0, 0.0)])[2] == [0, 1]


def test_reasons_name_what_failed():
    assert decide("all", Recipe("min", ("v", "v")), [say(1.0), say(E)]).reason == "v: why error"
