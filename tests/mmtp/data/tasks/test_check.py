"""Checking replies: right ones in any of the accepted forms, and nothing else."""

import pytest

from mmtp.data.tasks.check import check, normalise, overlap, read_numbers
from tests.at_most import at_most

EXACT = {"answer": "red circle", "check": "exact"}
POINT = {"answer": "[500,500]", "check": "point", "box": (400, 450, 600, 550)}
CLICK = {**POINT, "answer": "click(500,500)", "form": "click{}"}
BOX = {"answer": "[100,100,300,300]", "check": "box", "box": (100, 100, 300, 300)}
ZOOM = '<tool_call>{"name": "zoom", "arguments": {"box": [100, 120, 300, 300]}}</tool_call>'
CALL = {**BOX, "form": '<tool_call>{"name": "zoom", "arguments": {"box": {}}}</tool_call>'}
HOSTILE = (
    "", " ", "\n", "nan", "NaN", "[nan,nan]", "inf", "[inf,500]", "[-1,500]", "[1e9,500]", "None",
    "[[[[[[500,500]]]]]]", "[500,500", "500,500]", "[500,500)", "[[500,500]", "[500,500][500,500]",
    "[500,500] or [100,100]", "[500,500,500]", "[500]", "[]", "[500;500]", "[500.0,500]",
    "[0x1f4,500]", "[５００,５００]", "[٥٠٠,500]", "[5_0_0,500]", "[9999,500]",
    "__import__('os').system('true')",
    "[5,5]", "[500,560]", "click(500,500);click(1,1)", "x" * 3000, "[" * 3000, "[500,500]" * 500,
    "red, green, blue, circle, square", "red circle, blue square", "not red circle",
    "red", "circle", "red circle\nblue circle", "\x00red circle", "[0,0,999,999]",
    "[300,300,100,100]", "[0,0,0,0]",
    "[100,100,300,300],[0,0,5,5]", "click[500]", "{}", "click{}", "%s", "</think>", "<think>",
)  # fmt: skip


@pytest.mark.parametrize("tags", [EXACT, POINT, CLICK, BOX, CALL], ids=lambda tags: tags["answer"])
def test_hostile_replies_are_wrong(tags):
    for reply in HOSTILE:
        assert not check(tags, reply), reply


@pytest.mark.parametrize(
    ("tags", "reply"),
    [
        (EXACT, "red circle"),
        (EXACT, " Red  circle. "),
        (EXACT, "<think>red or blue?</think>\nred circle"),
        (EXACT, "<|begin_of_box|>red circle<|end_of_box|>"),
        (EXACT, "<think>\n</think><|begin_of_box|> red circle <|end_of_box|>\n"),
        (POINT, "[400,550]"),
        (POINT, "[[600, 450]]"),
        (POINT, "(500 , 500)"),
        (POINT, "<|begin_of_box|>[[500,500]]<|end_of_box|>"),
        (CLICK, "click(410,460)"),
        (BOX, "[100,100,300,300]"),
        (BOX, "[[110,90,310,290]]"),
        (CALL, ZOOM),
        ({"answer": "正确", "check": "exact"}, "正确。"),
    ],
)
def test_right_replies(tags, reply):
    assert check(tags, reply)


@pytest.mark.parametrize(
    ("tags", "reply"),
    [
        (EXACT, "red CIRCLE"),
        (EXACT, "<think>red circle"),
        (EXACT, "blue circle</think>red circle"),
        (EXACT, "<think>red circle</think>"),
        (EXACT, "<|begin_of_box|>red circle"),
        ({"answer": "TEA", "check": "exact"}, "tea"),
        (POINT, "[399,500]"),
        (POINT, "[500,551]"),
        (POINT, "click(500,500)"),
        (CLICK, "[500,500]"),
        (CLICK, "tap(500,500)"),
        (BOX, "[100,100,300,199]"),  # overlap 0.495
        (BOX, "[500,500,600,600]"),
        (BOX, "[100,100,300]"),
        (CALL, "[100,120,300,300]"),
        (CALL, ZOOM * 2),
    ],
)
def test_wrong_replies(tags, reply):
    assert not check(tags, reply)


def test_a_long_answer_may_be_long_but_a_longer_reply_is_not_read():
    answer = "<rect/>" * 1000
    assert check({"answer": answer, "check": "exact"}, answer)
    with at_most(0.5):
        for reply in ("<think>" * 10**6, "[[" * 10**6, "<|begin_of_box|>" * 10**5, "9" * 10**7):
            assert not check(POINT, reply)


@pytest.mark.parametrize("length", [500, 1999])
def test_no_reply_takes_long(length):
    with at_most(0.5):
        for seed in ("<think>", "[ ", "(1,", "<|begin_of_box|>", " ", "[1 ", "9"):
            assert not check(POINT, (seed * length)[:length])


@pytest.mark.parametrize("kind", ["exactly", "", "eval"])
def test_unknown_checks_are_errors(kind):
    with pytest.raises(ValueError, match="expected one of exact, point, box"):
        check({"answer": "1", "check": kind}, "1")


@pytest.mark.parametrize("box", [None, (1, 2, 3), (0, 0, 1000, 5), (-1, 0, 5, 5), "1234"])
def test_tags_without_a_proper_box_are_errors(box):
    with pytest.raises(ValueError, match=r"four integers 0 \.\.\. 999"):
        check({"answer": "[1,1]", "check": "point", "box": box}, "[1,1]")


def test_overlap_of_boxes():
    assert overlap((0, 0, 10, 10), (0, 0, 10, 10)) == 1
    assert overlap((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(50 / 150)
    assert overlap((0, 0, 10, 10), (10, 0, 20, 10)) == 0
    assert overlap((0, 0, 0, 10), (0, 0, 0, 10)) == 0
    assert overlap((10, 10, 0, 0), (0, 0, 10, 10)) == 0


def test_reading_numbers_and_normalising():
    assert read_numbers("[1,22,333]", 3) == (1, 22, 333)
    assert read_numbers("[1,22,333]", 2) is None
    assert read_numbers("a[1,2]b", 2, "a{}b") == (1, 2)
    assert normalise(" A  b\tc\n d . ") == "a b c d"
    assert normalise("。") == ""
