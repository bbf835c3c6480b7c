"""Polygons: by hand, against counted cells, and what is no polygon."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.rewards.rules.points import in_polygon
from rl.rewards.rules.polygons import iou, polygon

SQUARE = [[0, 0], [100, 0], [100, 100], [0, 100]]
TRIANGLE = [[0, 0], [100, 0], [0, 100]]
GOLD = {"polygon": SQUARE}


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (SQUARE, SQUARE, 1),
        (SQUARE, SQUARE[::-1], 1),
        (SQUARE, SQUARE[2:] + SQUARE[:2], 1),
        (SQUARE, TRIANGLE, 0.5),
        (SQUARE, [[50, 0], [150, 0], [150, 100], [50, 100]], 1 / 3),
        (SQUARE, [[100, 0], [200, 0], [200, 100], [100, 100]], 0),
        (SQUARE, [[0, 0], [100, 100], [100, 0], [0, 100]], 0),
        (SQUARE, [[0, 0], [50, 50], [100, 100]], 0),
        (SQUARE, [[5, 5], [5, 5], [5, 5]], 0),
    ],
)
def test_iou(one, other, expected):
    assert iou(one, other) == pytest.approx(expected)
    assert iou(other, one) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(4))
def test_iou_counts_cells(seed):
    rng = np.random.default_rng(seed)
    stars = []
    for _ in range(2):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 9))
        reach = rng.uniform(40, 100, 9)
        stars.append(np.stack([120 + reach * np.cos(angles), 120 + reach * np.sin(angles)], 1))
    steps = range(0, 240, 2)
    cells = np.array(
        [[in_polygon((x + 0.5, y + 0.5), star) for x in steps for y in steps] for star in stars]
    )
    counted = cells.all(0).sum() / cells.any(0).sum()
    assert iou(stars[0], stars[1]) == pytest.approx(counted, abs=0.02)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("[[0,0],[100,0],[100,100],[0,100]]", 1),
        ("[0,0],[100,0],[100,100],[0,100]", 1),
        ("[[0,0],[100,0],[0,100]]", 0.5),
        ("[[0,0],[100,0],[0,99]]", 0),
        ("[[0,0],[999,0],[999,999],[0,999]]", 0),
        ("[[0,0],[100,100],[100,0],[0,100]]", 0),
        ("[[0,0],[100,0]]", 0),
        ("[0,0,100,100]", 0),
        ("[]", 0),
        ("", 0),
        ("[[nan,nan],[100,0],[0,100]]", 0),
        ("It is [[0,0],[100,0],[100,100],[0,100]]", 0),
    ],
)
def test_answers(answer, expected):
    assert polygon(answer, GOLD) == pytest.approx(expected)


def test_the_gate_is_the_reference_s():
    assert polygon("[[0,0],[100,0],[0,100]]", {**GOLD, "gate": 0.6}) == 0


@given(st.lists(st.lists(st.integers(0, 20), min_size=2, max_size=2), max_size=8).map(str))
@settings(max_examples=100)
def test_nothing_breaks_it(answer):
    reference = {"polygon": [[0, 0], [20, 0], [20, 20], [0, 20]]}
    assert 0 <= polygon(answer, reference) <= 1
