"""Boxes: by hand, against brute force, and every attack that has fooled another verifier."""

import itertools
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.rewards.rules.boxes import box, detection, detections, f1, gated, iou

GOLD = {"box": [100, 200, 300, 400]}
OBJECTS = {
    "objects": [
        {"label": "cat", "bbox_2d": [0, 0, 100, 100]},
        {"label": "cat", "bbox_2d": [200, 200, 300, 300]},
        {"label": "dog", "bbox_2d": [500, 500, 600, 600]},
    ]
}
CORNERS = st.lists(st.integers(0, 12), min_size=4, max_size=4)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([0, 0, 10, 10], [0, 0, 10, 10], 1),
        ([0, 0, 10, 10], [5, 0, 15, 10], 50 / 150),
        ([0, 0, 10, 10], [5, 5, 15, 15], 25 / 175),
        ([0, 0, 10, 10], [2, 2, 8, 8], 36 / 100),
        ([0, 0, 10, 10], [10, 0, 20, 10], 0),
        ([7, 7, 8, 8], [7, 7, 8, 8], 1),
        ([0.1, 0.1, 0.2, 0.2], [0.1, 0.1, 0.2, 0.2], 1),
        ([5, 5, 5, 5], [5, 5, 5, 5], 0),
        ([10, 10, 0, 0], [10, 10, 0, 0], 0),
        ([10, 10, 0, 0], [0, 0, 10, 10], 0),
        ([0, 10, 10, 0], [0, 0, 10, 10], 0),
        ([math.nan] * 4, [0, 0, 10, 10], 0),
    ],
)
def test_iou(one, other, expected):
    assert iou(one, other) == pytest.approx(expected)
    assert iou(other, one) == pytest.approx(expected)


@given(CORNERS, CORNERS)
@settings(max_examples=60)
def test_iou_counts_cells(one, other):
    def cells(b):
        return set(itertools.product(range(b[0], b[2]), range(b[1], b[3])))

    ours, theirs = cells(one), cells(other)
    expected = len(ours & theirs) / len(ours | theirs) if ours and theirs else 0
    assert iou(one, other) == pytest.approx(expected)


def test_gate():
    assert gated(0.499) == 0
    assert gated(0.5) == 0.5
    assert gated(0.3, 0.25) == 0.3
    assert gated(math.nan) == 0
    assert gated(40.0) == 1


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("[100,200,300,400]", 1),
        ("[[100, 200, 300, 400]]", 1),
        ("(100,200,300,400)", 1),
        ("[100,200,300,300]", 0.5),
        ("[100,200,300,299]", 0),
        ("[150,200,350,400]", 150 / 250),
        ("[200,200,400,400]", 0),
    ],
)
def test_a_box_is_paid_from_half_on(answer, expected):
    assert box(answer, GOLD) == pytest.approx(expected)


@pytest.mark.parametrize(
    "answer",
    [
        "[nan,nan,nan,nan]",
        "[100,200,inf,inf]",
        "[100,200,1e999,400]",
        "[300,400,100,200]",
        "[300,200,100,400]",
        "[100,400,300,200]",
        "[100,200,100,200]",
        "[0,0,999,999]",
        "[0,0,1000,1000]",
        "[-100,-200,3000,4000]",
        "100,200,300,400",
        "100 200 300 400",
        "The box is [100,200,300,400]",
        "[100,200,300,400] or [0,0,10,10]",
        "[[100,200,300,400],[100,200,300,400]]",
        "[100.0,200.0,300.0,400.0]",
        "[１００,200,300,400]",
        "[100,200,300]",
        "[100,200,300,400,500]",
        "[100,200,300,400",
        '{"bbox_2d":[100,200,300,400]}',
        "",
        "[]",
        "[" * 100_000,
        "9" * 100_000,
    ],
)
def test_attacks_on_one_box(answer):
    assert box(answer, GOLD) == 0


def test_equal_boxes_of_one_cell():
    assert box("[7,7,8,8]", {"box": [7, 7, 8, 8]}) == 1
    assert box("[0,0,9,9]", {"box": [0, 0, 9, 9]}) == 1


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (OBJECTS["objects"], 1),
        (OBJECTS["objects"][::-1], 1),
        (OBJECTS["objects"][:2], 4 / 5),
        (OBJECTS["objects"][:1], 0.5),
        (OBJECTS["objects"] + [OBJECTS["objects"][0]] * 3, 6 / 9),
        (OBJECTS["objects"] + [OBJECTS["objects"][0]] * 97, 0),
        ([{"label": "dog", "bbox_2d": [0, 0, 100, 100]}], 0),
        ([{"label": " Cat ", "bbox_2d": [0, 0, 100, 51]}, *OBJECTS["objects"][1:]], 1),
        ([{"label": "cat", "bbox_2d": [0, 0, 100, 49]}, *OBJECTS["objects"][1:]], 4 / 6),
        ([{"label": "cat", "bbox_2d": [0, 0, 999, 999]}] * 3, 0),
    ],
)
def test_detection(said, expected):
    assert detection(json.dumps(said), OBJECTS) == pytest.approx(expected)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "[]",
        "{}",
        "null",
        "[null]",
        "[[0,0,100,100]]",
        '{"label":"cat","bbox_2d":[0,0,100,100]}',
        '[{"label":"cat","bbox_2d":[100,100,0,0]}]',
        '[{"label":"cat","bbox_2d":[5,5,5,5]}]',
        '[{"label":"cat","bbox_2d":[NaN,NaN,NaN,NaN]}]',
        '[{"label":"cat","bbox_2d":[0,0,Infinity,Infinity]}]',
        '[{"label":"cat","bbox_2d":[0,0,1e3,100]}]',
        '[{"label":"cat","bbox_2d":[false,false,true,true]}]',
        '[{"label":"cat","bbox_2d":["0","0","100","100"]}]',
        '[{"label":["cat","dog"],"bbox_2d":[0,0,100,100]}]',
        '[{"label":"cat","bbox_2d":[0,0,100,100],"score":1}]',
        '[{"bbox_2d":[0,0,100,100]}]',
        '[{"label":"cat","label":"dog","bbox_2d":[0,0,100,100]}]',
        'Here: [{"label":"cat","bbox_2d":[0,0,100,100]}]',
        "[" * 100_000,
    ],
)
def test_attacks_on_detection(answer):
    assert not detections(answer)
    assert detection(answer, OBJECTS) == 0


def test_coordinates_of_one_digit_are_kept():
    gold = {"objects": [{"label": "dot", "bbox_2d": [1, 2, 3, 4]}]}
    assert detections('[{"label":"dot","bbox_2d":[1,2,3,4]}]') == [("dot", (1, 2, 3, 4))]
    assert detection('[{"label":"dot","bbox_2d":[1,2,3,4]}]', gold) == 1


def test_the_matching_is_the_largest():
    # Greedy in this order would give the first the only box that the second overlaps.
    gold = [("a", [0, 0, 10, 10]), ("a", [0, 3, 10, 13])]
    said = [("a", (0, 1, 10, 11)), ("a", (0, -2, 10, 8))]
    assert iou(said[0][1], gold[1][1]) > 0.5
    assert iou(said[1][1], gold[1][1]) < 0.5
    assert f1(said, gold) == 1
    assert f1([], []) == 1


@given(st.text(max_size=60) | st.lists(st.floats() | st.integers(), max_size=6).map(str))
@settings(max_examples=80)
def test_nothing_breaks_it(answer):
    assert 0 <= box(answer, GOLD) <= 1
    assert 0 <= detection(answer, OBJECTS) <= 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda v: (
        st.lists(v, max_size=5)
        | st.dictionaries(st.sampled_from(["label", "bbox_2d", "x"]), v, max_size=3)
    ),
    max_leaves=12,
)


@given(JSON)
@settings(max_examples=80)
def test_no_json_breaks_it(value):
    assert 0 <= detection(json.dumps(value), OBJECTS) <= 1
