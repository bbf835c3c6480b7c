"""Numbers and option letters: exactly one, or none."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.answers.numbers import letter, parse_choice, parse_integer, parse_number
from tests.at_most import at_most

HOSTILE = (
    "", " ", ".", "。", "-", "+", "²", "٣", "３", "Ⅳ", "½", "1²", "nan", "inf", "-inf", "Infinity",
    "1e5", "1e999999999", "0x10", "1_000", "3 or 4", "3, 4", "3 4", "3-4", "--3", "+-3", "three",
    "9**9**9**9", "__import__('os').getpid()", "3\x00", "\ud800", "(3)", "3!", "10^9", "1/0",
)  # fmt: skip
MEGABYTES = ("9", " ", "-", ".", ",", "1,", "1 ", "0", "\n", "(", "A", "9.", ",000")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("3", 3), ("-3", -3), ("+3", 3), (" 3 ", 3), ("3.", 3), ("3。", 3), ("007", 7), ("0", 0),
        ("999999999999999", 10**15 - 1), ("9999999999999999", None), ("3.0", None),
        ("1,000", None), ("3..", None), ("3 5", None),
    ],
)  # fmt: skip
def test_integers(answer, expected):
    assert parse_integer(answer) == expected


@pytest.mark.parametrize(
    ("answer", "units", "expected"),
    [
        ("3", (), "3"), ("3.50", (), "3.5"), ("-0.25", (), "-0.25"), (".5", (), "0.5"),
        ("1,234,567.8", (), "1234567.8"), ("12,34", (), None), ("1,2345", (), None),
        ("1234,567", (), None), ("5%", ("%",), "5"), ("5 %", ("%",), "5"), ("5%", (), None),
        ("5 cm", ("m", "cm"), "5"), ("5 cm.", ("m", "cm"), "5"), ("5 c", ("m", "cm"), None),
        ("cm", ("cm",), None), ("5 cm cm", ("cm",), None), ("5,", (), None), ("5.", (), "5"),
        ("9" * 30, (), "9" * 30), ("9" * 31, (), None), ("5元", ("元",), "5"), ("5", ("",), "5"),
    ],
)  # fmt: skip
def test_numbers(answer, units, expected):
    assert parse_number(answer, units) == (None if expected is None else Decimal(expected))


@pytest.mark.parametrize("answer", HOSTILE)
def test_hostile_numbers(answer):
    assert parse_integer(answer) is None
    assert parse_number(answer) is None
    assert parse_number(answer, ("%", "m", "")) is None


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("A", 0), ("b", 1), (" C ", 2), ("(D)", 3), ("D.", 3), ("D)", 3), ("D:", 3), ("(d)", 3),
        ("E", None), ("Z", None), ("(D", None), ("((D))", None), ("D)) ", None), ("(D).", None),
        ("", None), ("(", None), (".", None), ("()", None), ("A B", None), ("AB", None),
        ("A or B", None), ("(A)(B)(C)(D)", None), ("A, B, C, D", None), ("Answer: c", None),
        ("Ａ", None), ("А", None), ("ſ", None), ("1", None), ("A\x00", None), ("A A", None),
    ],
)  # fmt: skip
def test_choices(answer, expected):
    assert parse_choice(answer, 4) == expected


def test_letters_round_trip():
    assert [parse_choice(letter(i), 26) for i in range(26)] == list(range(26))
    for index in (-1, 26):
        with pytest.raises(ValueError, match="no letter"):
            letter(index)


@given(st.integers(-(10**15) + 1, 10**15 - 1))
@settings(max_examples=100)
def test_integers_round_trip(number):
    assert parse_integer(str(number)) == number
    assert parse_number(f"{number:,}") == number


@given(st.decimals(-(10**9), 10**9, places=3))
@settings(max_examples=100)
def test_decimals_round_trip(number):
    assert parse_number(f"{number:f}") == number
    assert parse_number(f"{number:f} km", ("m", "km")) == number


@given(st.text(max_size=30) | st.text("0123456789+-.,() eE%", max_size=12))
@settings(max_examples=300)
def test_never_raises_and_agrees_with_python(text):
    """What is read is what Python reads in it, too."""
    integer, number = parse_integer(text), parse_number(text)
    if integer is not None:
        assert integer == int(text.strip().rstrip(".。").strip())
        assert number == integer
    if number is not None:
        assert number == Decimal(text.strip().rstrip("。").strip().replace(",", "").rstrip(". "))
    choice = parse_choice(text, 26)
    assert choice is None or letter(choice) in text.upper()


@pytest.mark.parametrize("piece", MEGABYTES)
def test_a_megabyte_takes_no_time(piece):
    text = piece * (1_000_000 // len(piece))
    with at_most(0.5):
        for answer in (text, "1" + text, text + "x"):
            assert parse_integer(answer) is None or not text.strip()
            assert parse_number(answer, ("%", "x")) is None or not text.strip()
            assert parse_choice(answer, 4) is None
