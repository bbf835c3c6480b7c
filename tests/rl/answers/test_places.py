"""Points, boxes and polygons: exactly as they are written, or none."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.answers.places import (
    MAX_PLACES,
    parse_box,
    parse_boxes,
    parse_lists,
    parse_point,
    parse_points,
    parse_polygon,
    write,
)
from tests.at_most import at_most

COORDINATE = st.integers(0, 1000)
POINTS = st.lists(st.tuples(COORDINATE, COORDINATE), min_size=1, max_size=6)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("[1,2]", [(1, 2)]), ("(1,2)", [(1, 2)]), ("[[1,2]]", [(1, 2)]), ("((1,2))", [(1, 2)]),
        ("[(1,2)]", [(1, 2)]), ("([1,2])", [(1, 2)]), (" [ 1 , 2 ] ", [(1, 2)]),
        ("[0,1000]", [(0, 1000)]), ("[1,2],[3,4]", [(1, 2), (3, 4)]),
        ("[1,2] [3,4]", [(1, 2), (3, 4)]), ("[1,2]; [3,4]", [(1, 2), (3, 4)]),
        ("[[1,2], [3,4]]", [(1, 2), (3, 4)]), ("[\n  [1, 2],\n  [3, 4]\n]", [(1, 2), (3, 4)]),
        ("[1,2]\n(3,4)", [(1, 2), (3, 4)]), ("[]", []), ("[ ]", []), ("()", []),
    ],
)  # fmt: skip
def test_points(answer, expected):
    assert parse_points(answer) == expected


@pytest.mark.parametrize(
    "answer",
    [
        "", " ", "[", "]", "[1,2", "1,2]", "1,2", "[1,2)", "(1,2]", "[[1,2]", "[1,2]]", "[[1,2)]",
        "[1]", "[1,2,3]", "[1,2,]", "[,1,2]", "[1,2],", ",[1,2]", "[1,2][3,4]", "[1,2],,[3,4]",
        "[1.0,2.0]", "[-1,2]", "[+1,2]", "[1001,2]", "[1,9999]", "[00001,2]", "[1e2,2]", "[²,2]",
        "[٣,2]", "[１,2]", "[nan,nan]", "[0,inf]", "[1 2]", "{1,2}", "<1,2>", "[1,2] or [3,4]",
        "the point [1,2]", "[1,2].", "[x,y]", "[[[1,2]]]", "[[]]", "[],[]", "[1,2],[3]",
        "[__import__('os').getpid(),2]", "[1,2]\x00", "[null,null]", "[True,False]", "[1,2]|[3,4]",
    ],
)  # fmt: skip
def test_no_points(answer):
    assert parse_points(answer) is None
    assert parse_point(answer) is None
    assert parse_polygon(answer) is None


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("[1,2,3,4]", (1, 2, 3, 4)), ("[[1,2,3,4]]", (1, 2, 3, 4)),
        ("(0,0,1000,1000)", (0, 0, 1000, 1000)),
        ("[3,2,1,4]", None), ("[1,4,3,2]", None), ("[999,999,0,0]", None), ("[5,5,5,5]", None),
        ("[1,2,1,4]", None), ("[1,2,3,2]", None), ("[0,0,0,0]", None), ("[]", None),
        ("[1,2,3,4],[1,2,3,4]", None), ("[nan,nan,nan,nan]", None), ("[0,0,inf,inf]", None),
        ("[[1,2],[3,4]]", None), ("[1,2,3,4,5]", None), ("[0.1,0.1,0.5,0.5]", None),
    ],
)  # fmt: skip
def test_one_box(answer, expected):
    assert parse_box(answer) == expected


def test_one_of_many():
    assert parse_point("[1,2],[3,4]") is None
    assert parse_boxes("[1,2,3,4],[9,9,1,1]") is None
    assert parse_boxes("[]") == []
    assert parse_polygon("[1,2],[3,4]") is None
    assert parse_polygon("[1,2],[3,4],[5,1]") == [(1, 2), (3, 4), (5, 1)]


def test_no_more_than_the_most():
    many = ["[1,2]"] * MAX_PLACES
    assert parse_points(",".join(many)) == [(1, 2)] * MAX_PLACES
    assert parse_points(",".join([*many, "[1,2]"])) is None


@given(
    POINTS,
    st.sampled_from(("{}", "[{}]", "({})", " [ {} ]")),
    st.sampled_from((",", ", ", " ", ";\n")),
)
@settings(max_examples=150)
def test_round_trip(points, around, between):
    assert parse_points(around.format(between.join(map(write, points)))) == points


@given(st.tuples(COORDINATE, COORDINATE, COORDINATE, COORDINATE))
@settings(max_examples=100)
def test_boxes_round_trip(box):
    left, top, right, bottom = box
    assert parse_box(write(box)) == (box if left < right and top < bottom else None)


@given(st.text("[](), ;0123456789", max_size=24) | st.text(max_size=20))
@settings(max_examples=400)
def test_never_raises_and_stays_in_range(text):
    for size in (2, 4):
        for numbers in parse_lists(text, size) or ():
            assert len(numbers) == size
            assert all(0 <= n <= 1000 and str(n) in text for n in numbers)
    parse_box(text)
    parse_polygon(text)


@pytest.mark.parametrize(
    "piece", ["[", "(", "[[", " ", "9", "[1,2],", "[1,", "1 ", "[1, 2] ", "[1 ,"]
)
@pytest.mark.parametrize("length", [1_000_000, 7_900])  # the second is short enough to be read
def test_a_megabyte_takes_no_time(piece, length):
    text = piece * (length // len(piece))
    with at_most(0.5):
        for answer in (text, f"[{text}]", f"[1{text}", f"[1,2]{text}"):
            for parse in (parse_point, parse_box, parse_polygon):
                parse(answer)
