"""Stretches of time and tracks of boxes."""

import json
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.rewards.rules.intervals import f1, interval, parse_intervals, several, tiou
from rl.rewards.rules.tracks import track

ONE = {"interval": [2.0, 6.0]}
TWO = {"intervals": [[0.0, 2.0], [4.0, 8.0]]}


def test_overlaps_by_hand():
    assert tiou((0, 4), (2, 6)) == pytest.approx(2 / 6)
    assert tiou((0, 1), (1, 2)) == 0.0
    assert tiou((3, 3), (3, 3)) == 0.0
    assert tiou((5, 1), (1, 5)) == 0.0
    assert tiou((1, 5), (1, 5)) == 1.0


def test_gate_of_one():
    assert interval("[2, 6]", ONE) == 1.0
    assert interval("[[2.0,6.0]]", ONE) == 1.0
    assert interval("[2, 5]", ONE) == pytest.approx(0.75)
    assert interval("[2, 4]", ONE) == pytest.approx(0.5)
    assert interval("[2, 3.9]", ONE) == 0.0
    assert interval("[0, 8]", ONE) == pytest.approx(0.5)
    assert interval("[0, 9]", ONE) == 0.0


@pytest.mark.parametrize(
    "said",
    ["", "[]", "[[]]", "[6,2]", "[2,2]", "[2]", "[2,6,7]", "[2,6],[2,6]", "[nan,6]", "[2,inf]",
     "[2,Infinity]", "[-2,6]", "[2,1e999]", "[true,6]", '["2","6"]', "2-6", "2 to 6", "{}",
     "[2,6] s",     "[" * 50_000, "[2," + "6" * 1_000_000 + "]", "[２,6]", "[null,6]"],
)  # fmt: skip
def test_no_interval(said):
    assert interval(said, ONE) == 0.0
    assert several(said, TWO) == 0.0


def test_several_by_hand():
    assert several("[0,2],[4,8]", TWO) == 1.0
    assert several("[[4,8],[0,2]]", TWO) == 1.0
    # [4, 6]: tIoU .5, so F1 is 1, 1 and, of one pair in two, .5.
    assert several("[0,2],[4,6]", TWO) == pytest.approx(2.5 / 3)
    # One of two: F1 = 2/3 at each threshold.
    assert several("[4,8]", TWO) == pytest.approx(2 / 3)
    assert several("[0,8]", TWO) == 0.0  # F1@.3 and .5 are 2/3, @.7 is 0: below the gate
    assert several("[0,2],[4,8],[4,8]", TWO) == 0.0  # they overlap
    fence = ",".join(f"[{t},{t + 1}]" for t in range(8))
    assert several(fence, TWO) == 0.0


def test_f1_of_nothing():
    assert f1([], [], 0.5) == 1.0
    assert f1([], [(0, 1)], 0.5) == 0.0


@pytest.mark.parametrize("seed", range(20))
def test_matching_against_brute_force(seed):
    rng = np.random.default_rng(seed)
    sets = [[(a, a + b) for a, b in rng.uniform(0.5, 4, (3, 2)).tolist()] for _ in range(2)]
    said, gold = sets
    best = max(
        sum(tiou(s, gold[j]) >= 0.3 for s, j in zip(said, order, strict=True))
        for order in permutations(range(3))
    )
    assert f1(said, gold, 0.3) == pytest.approx(best / 3)


BOXES = {"boxes": {"0": [0, 0, 100, 100], "2": [200, 200, 300, 300]}}


def test_tracks_by_hand():
    gold = BOXES["boxes"]
    assert track(json.dumps(gold), BOXES) == 1.0
    half = json.dumps(gold | {"2": [200, 200, 300, 250]})
    assert track(half, BOXES) == pytest.approx(0.75)
    assert track(json.dumps(gold | {"2": [500, 500, 600, 600]}), BOXES) == 0.5
    assert track(json.dumps(gold | {"0": [0, 0, 90, 100], "2": [500, 500, 600, 600]}), BOXES) == 0.0


@pytest.mark.parametrize(
    "said",
    [
        "",
        "{}",
        "null",
        "[0,0,100,100]",
        '{"0": [0,0,100,100]}',
        '{"0": [0,0,100,100], "2": [200,200,300,300], "3": [1,1,2,2]}',
        '{"0": [0,0,100,100], "0": [0,0,100,100], "2": [200,200,300,300]}',
        '{"0": [100,100,0,0], "2": [300,300,200,200]}',
        '{"0": [NaN,0,100,100], "2": [200,200,300,300]}',
        '{"0": [0,0,100,1e999], "2": [200,200,300,300]}',
        '{"0": [0.0,0,100,100], "2": [200,200,300,300]}',
        '{"0": [false,0,100,100], "2": [200,200,300,300]}',
        '{"0": [0,0,1000,1000], "2": [0,0,1000,1000]}',
        '{"0": [0,0,100,100], "2": [200,200,300]}',
        '{"a":' * 10_000,
    ],
)
def test_tracks_that_are_none(said):
    assert track(said, BOXES) == 0.0


@settings(max_examples=60)
@given(st.text(max_size=40) | st.text(alphabet='[]{},:"0123456789.- ', max_size=40))
def test_never_raises(said):
    parse_intervals(said)
    assert 0.0 <= interval(said, ONE) <= 1.0
    assert 0.0 <= several(said, TWO) <= 1.0
    assert 0.0 <= track(said, BOXES) <= 1.0
