"""Points: polygons against shapely, run lengths against pixels, and strewn points."""

import itertools

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.rewards.rules.points import free_place, in_mask, in_polygon, in_runs, on_each

SQUARE = [[100, 100], [200, 100], [200, 200], [100, 200]]
NOTCHED = [[0, 0], [300, 0], [300, 300], [150, 100], [0, 300]]
FAR = [[x + 500, y] for x, y in SQUARE]


@pytest.mark.parametrize("polygon", [SQUARE, NOTCHED, SQUARE[::-1]])
def test_in_polygon_agrees_with_shapely(polygon):
    area = shapely.Polygon(polygon)
    for x, y in itertools.product(range(-50, 351, 25), repeat=2):
        assert in_polygon((x, y), polygon) == area.covers(shapely.Point(x, y)), (x, y)


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=7),
    st.tuples(st.integers(0, 9), st.integers(0, 9)),
)
@settings(max_examples=100)
def test_in_any_simple_polygon(polygon, point):
    area = shapely.Polygon(polygon)
    if area.is_valid and area.area > 0:
        assert in_polygon(point, polygon) == area.covers(shapely.Point(point))


def runs_of(mask):
    """COCO's run lengths of a boolean array, column by column."""
    flat = mask.T.ravel()
    counts, state, length = [], False, 0
    for value in flat:
        if value != state:
            counts.append(length)
            state, length = value, 0
        length += 1
    return {"size": list(mask.shape), "counts": [*counts, length]}


@pytest.mark.parametrize("seed", range(3))
def test_run_lengths(seed):
    rng = np.random.default_rng(seed)
    mask = rng.random((5, 8)) < 0.4
    runs = runs_of(mask)
    assert sum(runs["counts"]) == mask.size
    for row, column in itertools.product(range(5), range(8)):
        x, y = (column + 0.5) * 1000 / 8, (row + 0.5) * 1000 / 5
        assert in_runs((x, y), runs) == mask[row, column]
    assert in_runs((1000, 1000), runs) == mask[-1, -1]


def test_a_mask_of_parts_and_a_mask_of_runs():
    assert in_mask((150, 150), [FAR, SQUARE])
    assert not in_mask((300, 150), [FAR, SQUARE])
    assert in_mask((0, 0), {"size": [1, 1], "counts": [0, 1]})


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("[[150,150],[650,150]]", 1),
        ("[[650,150],[150,150]]", 1),
        ("[100,100],[700,200]", 1),
        ("[[150,150]]", 0),
        ("[[150,150],[160,150]]", 0),
        ("[[150,150],[650,150],[660,150]]", 0),
        ("[[150,150],[650,150],[400,400]]", 0),
        ("[[150,150],[400,150]]", 0),
        ("[]", 0),
        ("", 0),
        ("[[nan,nan],[650,150]]", 0),
        ("two: [[150,150],[650,150]]", 0),
        ("[150,150,650,150]", 0),
    ],
)
def test_one_point_on_each(answer, expected):
    assert on_each(answer, {"masks": [[SQUARE], [FAR]]}) == expected


@pytest.mark.parametrize("steps", range(1, 11))
def test_strewn_points_are_worth_nothing(steps):
    at = [round(999 * (i + 0.5) / steps) for i in range(steps)]
    answer = str([[x, y] for x in at for y in at])
    assert on_each(answer, {"masks": [[SQUARE], [FAR]]}) == 0


def test_masks_that_overlap_are_matched():
    big = [[0, 0], [900, 0], [900, 900], [0, 900]]
    reference = {"masks": [[big], [SQUARE]]}
    assert on_each("[[150,150],[800,800]]", reference) == 1
    assert on_each("[[800,800],[150,150]]", reference) == 1
    assert on_each("[[800,800],[810,800]]", reference) == 0


@pytest.mark.parametrize(
    ("answer", "size", "expected"),
    [
        ("[20,20]", None, 1),
        ("[150,150]", None, 0),
        ("[200,200]", None, 0),
        ("[299,290]", None, 1),
        ("[290,299]", None, 0),
        ("[400,400]", None, 0),
        ("[10,10,90,90]", [80, 80], 1),
        ("[10,10,90,90]", [81, 80], 0),
        ("[10,10,90,90]", [80, 81], 0),
        ("[50,50,150,150]", [80, 80], 0),
        ("[10,10,250,250]", [80, 80], 0),
        ("[90,90,10,10]", [80, 80], 0),
        ("[0,0,999,999]", [80, 80], 0),
        ("[50,50]", [80, 80], 0),
    ],
)
def test_free_place(answer, size, expected):
    reference = {"region": NOTCHED, "taken": [SQUARE], **({"size": size} if size else {})}
    assert free_place(answer, reference) == expected


@given(st.text(max_size=40) | st.lists(st.lists(st.integers(-5, 1100), max_size=4)).map(str))
@settings(max_examples=80)
def test_nothing_breaks_it(answer):
    reference = {"masks": [[SQUARE], [FAR]], "region": NOTCHED, "taken": [SQUARE]}
    assert on_each(answer, reference) in (0, 1)
    assert free_place(answer, reference) in (0, 1)
    assert free_place(answer, {**reference, "size": [5, 5]}) in (0, 1)
