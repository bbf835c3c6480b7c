"""Mean relative accuracy: by hand."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.rewards.rules.metric import MARGINS, mean_relative_accuracy, measured

GOLD = {"answer": 4.0, "units": ["m", "米"]}


def test_there_are_ten_margins():
    assert [float(m) for m in MARGINS] == [0.5, 0.45, 0.4, 0.35, 0.3, 0.25, 0.2, 0.15, 0.1, 0.05]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("4", 1),
        ("4.0", 1),
        ("4.0 m", 1),
        ("4米", 1),
        ("4.1", 1),
        ("4.19", 1),
        ("4.2", 0.9),  # 5 % off is not below 5 %
        ("3.8", 0.9),
        ("3.61", 0.9),
        ("3.6", 0.8),
        ("5", 0.5),
        ("3", 0.5),
        ("2.01", 0.1),
        ("2", 0),
        ("6", 0),
        ("5.99", 0.1),
        ("0", 0),
        ("-4", 0),
        ("400", 0),
        ("", 0),
        ("nan", 0),
        ("inf", 0),
        ("4 or 5", 0),
        ("4 km", 0),
        ("about 4", 0),
        ("４", 0),
        ("4e0", 0),
        ("9" * 5000, 0),
    ],
)
def test_by_hand(answer, expected):
    assert measured(answer, GOLD) == pytest.approx(expected)


def test_a_gate():
    assert measured("3", {**GOLD, "gate": 0.6}) == 0
    assert measured("3", {**GOLD, "gate": 0.5}) == 0.5
    assert measured("4", {**GOLD, "gate": 1}) == 1


def test_of_zero_only_zero_is_right():
    assert mean_relative_accuracy(Decimal(0), Decimal(0)) == 1
    assert mean_relative_accuracy(Decimal("0.01"), Decimal(0)) == 0


@given(st.text(max_size=30) | st.floats().map(str))
@settings(max_examples=80)
def test_nothing_breaks_it(answer):
    assert 0 <= measured(answer, GOLD) <= 1
