"""Boxes in space: by hand, and against points that are strewn at random."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.answers.places3d import Box3D
from rl.rewards.rules.boxes3d import (
    box_3d,
    corners,
    iou,
    rotation,
    shared_upright,
    shared_volume,
)

UNIT = Box3D((0, 0, 0), (1, 1, 1), (0, 0, 0))
GOLD = {"bbox_3d": [0, 1, 5, 1, 2, 3, 0, 0, 0.5], "axes": "zxy", "label": "red box"}
HALF_PI = math.pi / 2


def moved(x=0.0, y=0.0, z=0.0, size=(1, 1, 1), angles=(0, 0, 0), axes="zxy"):
    return Box3D((x, y, z), size, angles, axes=axes)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (UNIT, UNIT, 1),
        (UNIT, moved(0.5), 0.5 / 1.5),
        (UNIT, moved(0.5, 0.5, 0.5), 0.125 / 1.875),
        (UNIT, moved(1), 0),
        (UNIT, moved(0, 3), 0),
        (UNIT, moved(size=(0.5, 0.5, 0.5)), 0.125),
        (UNIT, moved(angles=(0, 0, HALF_PI)), 1),
        (UNIT, moved(angles=(HALF_PI, HALF_PI, HALF_PI)), 1),
        # A square and the same turned by 45 degrees share an octagon: 2 (sqrt 2 - 1).
        (UNIT, moved(angles=(0, 0, math.pi / 4)), 0.828427 / 1.171573),
        (UNIT, moved(angles=(math.pi / 4, 0, 0)), 0.828427 / 1.171573),
        (UNIT, moved(angles=(0, math.pi / 4, 0)), 0.828427 / 1.171573),
        (moved(size=(1, 2, 3)), moved(size=(3, 2, 1), angles=(0, 0, HALF_PI)), 1),
        (moved(size=(1, 2, 3)), moved(size=(2, 1, 3), angles=(HALF_PI, 0, 0)), 1),
        (moved(size=(1, 2, 3)), moved(size=(1, 3, 2), angles=(0, HALF_PI, 0)), 1),
    ],
)
def test_by_hand(one, other, expected):
    assert iou(one, other) == pytest.approx(expected, abs=1e-6)
    assert iou(other, one) == pytest.approx(expected, abs=1e-6)


def random_box(rng, upright, axes="zxy"):
    angles = rng.uniform(-3, 3, 3)
    if upright:
        angles[:2] = 0
    return Box3D(
        tuple(rng.uniform(-0.3, 0.3, 3).tolist()),
        tuple(rng.uniform(0.5, 2, 3).tolist()),
        tuple(angles.tolist()),
        axes=axes,
    )


def holds(box, points):
    """Whether points are in a box."""
    own = (points - np.array(box.middle)) @ rotation(box.angles, box.axes)
    return (np.abs(own) <= np.array(box.size) / 2).all(1)


@pytest.mark.parametrize("seed", range(12))
def test_against_strewn_points(seed):
    rng = np.random.default_rng(seed)
    axes = ("zxy", "xyz", "yzx")[seed % 3]
    one, other = (random_box(rng, seed % 2 == 0, axes) for _ in range(2))
    count = 400_000
    points = (rng.random((count, 3)) - 0.5) * np.array(one.size)
    points = points @ rotation(one.angles, one.axes).T + np.array(one.middle)
    assert holds(one, points).mean() > 0.999
    shared = holds(other, points).mean() * np.prod(one.size)
    expected = shared / (np.prod(one.size) + np.prod(other.size) - shared)
    assert iou(one, other) == pytest.approx(expected, abs=0.004)
    assert shared_volume(one, other) == pytest.approx(shared_volume(other, one), abs=1e-9)


@pytest.mark.parametrize("seed", range(12))
def test_both_ways_agree_on_upright_boxes(seed):
    rng = np.random.default_rng(100 + seed)
    one, other = random_box(rng, True), random_box(rng, True)
    assert shared_upright(one, other) == pytest.approx(shared_volume(one, other), abs=1e-9)


def test_the_order_of_angles_matters():
    angles = (0.4, 0.7, -0.3)
    one, other = (
        moved(angles=angles, size=(1, 2, 3)),
        moved(angles=angles, size=(1, 2, 3), axes="yxz"),
    )
    assert iou(one, other) < 0.95
    assert not np.allclose(corners(one), corners(other))


def test_a_turn_is_about_the_axis_that_it_says():
    assert rotation((HALF_PI, 0, 0), "zxy") @ [1, 0, 0] == pytest.approx([0, 1, 0])
    assert rotation((0, HALF_PI, 0), "zxy") @ [0, 1, 0] == pytest.approx([0, 0, 1])
    assert rotation((0, 0, HALF_PI), "zxy") @ [0, 0, 1] == pytest.approx([1, 0, 0])
    both = rotation((HALF_PI, HALF_PI, 0), "zxy")  # first about z, then about x
    assert both @ [1, 0, 0] == pytest.approx([0, 0, 1])


def said(numbers, label="red box"):
    return json.dumps({"bbox_3d": numbers, "label": label})


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (said(GOLD["bbox_3d"]), 1),
        (said(GOLD["bbox_3d"], "Red box"), 1),
        (f"[{said(GOLD['bbox_3d'])}]", 1),
        (said([0, 1, 5, 3, 2, 1, 0, 0, 0.5 + HALF_PI]), 1),
        (said([0, 1, 5, 1, 2, 3, 0, 0, 0.5 + math.pi]), 1),
        (said([0, 2, 5, 1, 2, 3, 0, 0, 0.5]), 1 / 3),
        (said([0, 2.3, 5, 1, 2, 3, 0, 0, 0.5]), 0),
        (said(GOLD["bbox_3d"], "blue box"), 0),
        (said([0, 1, 5, 1000, 1000, 1000, 0, 0, 0.5]), 0),
        (said([0, 1, 5, -1, -2, 3, 0, 0, 0.5]), 0),
        (said([0, 1, 5, 0, 0, 0, 0, 0, 0]), 0),
        (said([0, 1, 5, 1, 2, 3, 0, 0]), 0),
        (said([math.nan] * 9), 0),
        (said([0, 1, 5, math.inf, math.inf, math.inf, 0, 0, 0]), 0),
        (f"[{said(GOLD['bbox_3d'])},{said(GOLD['bbox_3d'])}]", 0),
        (f"It is {said(GOLD['bbox_3d'])}", 0),
        ("[0,1,5,1,2,3,0,0,0.5]", 0),
        ("", 0),
    ],
)
def test_answers(answer, expected):
    assert box_3d(answer, GOLD) == pytest.approx(expected, abs=1e-6)
    if expected == 1 and "0.5]" in answer.replace(" ", ""):
        assert box_3d(answer, GOLD) == 1.0


NUMBER = st.floats() | st.integers(-(10**6), 10**6) | st.sampled_from([0, 1, 1e-9, HALF_PI])


@given(st.lists(NUMBER, min_size=9, max_size=9), st.sampled_from(["red box", ""]))
@settings(max_examples=100)
def test_nothing_breaks_it(numbers, label):
    assert 0 <= box_3d(said(numbers, label), GOLD) <= 1


@given(st.lists(st.floats(-0.6, 0.6) | st.sampled_from([0.0, 0.5]), min_size=9, max_size=9))
@settings(max_examples=60)
def test_near_boxes_are_judged_without_trouble(numbers):
    near = [a + b for a, b in zip(GOLD["bbox_3d"], numbers, strict=True)]
    assert 0 <= box_3d(said(near), GOLD) <= 1
