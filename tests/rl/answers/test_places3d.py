"""Boxes in space as text: what is one, and what is not."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.answers.places3d import (
    MAX_BOXES,
    Box3D,
    parse_box_3d,
    parse_boxes_3d,
    write_box_3d,
)

BOX = Box3D((0.5, 1.0, 5.0), (1.0, 2.0, 3.0), (0.0, 0.1, -0.5), "red box")
WRITTEN = '{"bbox_3d": [0.5, 1.0, 5.0, 1.0, 2.0, 3.0, 0.0, 0.1, -0.5], "label": "red box"}'


def test_there_and_back():
    assert write_box_3d(BOX) == WRITTEN
    assert parse_box_3d(WRITTEN) == BOX
    assert parse_box_3d(f" [{WRITTEN}]\n") == BOX


def test_the_order_of_the_angles_is_kept():
    read = parse_box_3d(WRITTEN, "yxz")
    assert read is not None
    assert read.axes == "yxz"
    assert read != BOX


def test_whole_numbers_and_no_label():
    assert parse_box_3d('{"bbox_3d":[0,1,5,1,2,3,0,0,0]}') == Box3D((0, 1, 5), (1, 2, 3), (0, 0, 0))


def test_several():
    boxes = parse_boxes_3d(f"[{WRITTEN},{WRITTEN}]")
    assert boxes == [BOX, BOX]
    assert parse_box_3d(f"[{WRITTEN},{WRITTEN}]") is None
    assert parse_boxes_3d("[]") == []
    assert parse_box_3d("[]") is None
    many = ",".join([WRITTEN] * (MAX_BOXES + 1))
    assert parse_boxes_3d(f"[{many}]") is None


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "null",
        "3",
        "[0,1,5,1,2,3,0,0,0]",
        '{"bbox_3d":[0,1,5,1,2,3,0,0]}',
        '{"bbox_3d":[0,1,5,1,2,3,0,0,0,0]}',
        '{"bbox_3d":[NaN,1,5,1,2,3,0,0,0]}',
        '{"bbox_3d":[0,1,5,Infinity,2,3,0,0,0]}',
        '{"bbox_3d":[0,1,5,1e999,2,3,0,0,0]}',
        '{"bbox_3d":[0,1,5,0,2,3,0,0,0]}',
        '{"bbox_3d":[0,1,5,-1,2,3,0,0,0]}',
        '{"bbox_3d":[0,1,5,1,2,3,0,0,8]}',
        '{"bbox_3d":[0,1,99999,1,2,3,0,0,0]}',
        '{"bbox_3d":[true,1,5,1,2,3,0,0,0]}',
        '{"bbox_3d":["0",1,5,1,2,3,0,0,0]}',
        '{"bbox_3d":[[0],1,5,1,2,3,0,0,0]}',
        '{"bbox_3d":"0,1,5,1,2,3,0,0,0"}',
        '{"bbox_3d":[0,1,5,1,2,3,0,0,0],"label":3}',
        '{"bbox_3d":[0,1,5,1,2,3,0,0,0],"score":1}',
        '{"bbox_3d":[0,1,5,1,2,3,0,0,0],"bbox_3d":[0,1,5,1,2,3,0,0,0]}',
        f"Here: {WRITTEN}",
        WRITTEN * 2,
        f"[[{WRITTEN}]]",
        "[" * 100_000,
        '{"a":' * 5_000,
        '{"bbox_3d":[' + "9" * 5000 + ",1,5,1,2,3,0,0,0]}",
    ],
)
def test_refused(answer):
    assert parse_box_3d(answer) is None


@given(st.text(max_size=50) | st.lists(st.floats(), max_size=10).map(json.dumps))
@settings(max_examples=80)
def test_nothing_breaks_it(answer):
    parse_box_3d(answer)
    parse_boxes_3d(f'{{"bbox_3d": {answer}}}')
