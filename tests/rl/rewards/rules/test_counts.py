"""Counts: the number or nothing."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.rewards.rules.counts import count


@pytest.mark.parametrize("said", ["3", " 3 ", "3.", "3。", "+3", "03"])
def test_right(said):
    assert count(said, {"answer": 3}) == 1


@pytest.mark.parametrize(
    "said",
    [
        "", " ", ".", "2", "4", "-3", "33", "3 or 4", "3, 4", "3 4", "2-4", "~3", "3?", "3.0",
        "3.5",
        "three", "三", "三个", "3个", "³", "²", "٣", "３", "Ⅲ", "③", "3²", "0x3", "3e0", "1+2",
        "9**9**9**9",
        "nan", "inf", "None", "True", "[3]", "(3)", "{3}", "not 3", "3 circles", "answer: 3",
        "0 1 2 3 4 5 6 7 8 9", "9" * 5000, "\x003", "\ud800", "__import__('os').getpid()",
    ],
)  # fmt: skip
def test_wrong(said):
    assert count(said, {"answer": 3}) == 0


def test_zero_is_a_number_and_nothing_is_not_zero():
    assert count("0", {"answer": 0}) == 1
    for said in ("", "none", "no", "False", "[]", "-"):
        assert count(said, {"answer": 0}) == 0


@given(st.text(max_size=12) | st.text("0123456789+- .", max_size=6), st.integers(0, 99))
@settings(max_examples=200)
def test_never_raises_and_agrees_with_python(said, gold):
    value = count(said, {"answer": gold})
    assert value in (0.0, 1.0)
    if value:
        assert int(said.strip().rstrip(".。")) == gold


@given(st.integers(0, 10**6), st.integers(0, 10**6))
@settings(max_examples=100)
def test_only_the_number(said, gold):
    assert count(str(said), {"answer": gold}) == float(said == gold)
