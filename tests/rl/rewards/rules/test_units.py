"""Quantities with units."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.rewards.rules.units import parse_quantity, quantity
from rl.types import Unverifiable


@pytest.mark.parametrize(
    ("gold", "said"),
    [
        ("2 A", "2A"),
        ("2 A", "2.0 A"),
        ("2 A", "2000 mA"),
        ("2 A", "0.002 kA"),
        ("2 A", "4/2 A"),
        ("2 A", "2 V/ohm"),
        ("2 A", "2 amperes."),
        ("2 A", "2 安"),
        ("1.5 m", "150 cm"),
        ("1.5 m", "1500mm"),
        ("6 ohm", "6 Ω"),
        ("6000 ohm", "6kΩ"),
        ("6 N", "6 kg*m/s^2"),
        ("6 N*m", "6 J"),
        ("6 N*m", "6 N m"),
        ("30 °", "30°"),
        ("30 °", "30 degrees"),
        ("30 °", "30度"),
        ("60 s", "1 min"),
    ],
)
def test_same(gold, said):
    assert quantity(said, {"answer": gold}) == 1.0


@pytest.mark.parametrize(
    ("gold", "said"),
    [
        ("2 A", "2"),
        ("2 A", "A"),
        ("2 A", "2 V"),
        ("2 A", "2 mA"),
        ("2 A", "2.01 A"),
        ("2 A", "2 A or 3 A"),
        ("2 A", "2 A, 3 A"),
        ("2 A", "2 A 3 A"),
        ("2 A", "2-2 A"),
        ("2 A", "I = 2 A"),
        ("2 A", "² A"),
        ("2 A", "２ A"),
        ("2 A", "2e0 A"),
        ("2 A", "2/0 A"),
        ("2 A", "2 A/A"),
        ("2 A", "2 a"),
        ("2 A", "nan A"),
        ("2 A", "inf A"),
        ("2 A", ""),
        ("2 A", "2 " + "A" * 1_000_000),
        ("2 A", "2" * 1_000_000 + " A"),
        ("2 mohm", "2 Mohm"),
        ("30 °", "30"),
        ("2 m/s", "2 m/s*s"),
        ("2 m/s*s", "2 m"),
    ],
)
def test_different(gold, said):
    if gold == "2 m/s*s":
        with pytest.raises(Unverifiable):
            quantity(said, {"answer": gold})
        return
    assert quantity(said, {"answer": gold}) == 0.0


def test_bare_numbers_where_they_are_allowed():
    reference = {"answer": "30 °", "bare": True}
    assert quantity("30", reference) == 1.0
    assert quantity("31", reference) == 0.0
    assert quantity("30 A", reference) == 0.0


def test_values_by_hand():
    found = parse_quantity("36 km/h")
    assert found is not None
    assert found.value == Fraction(10)
    assert found.dimensions == (1, 0, -1, 0, 0)
    found = parse_quantity("3 g")
    assert found is not None
    assert found.value == Fraction(3, 1000)


@settings(max_examples=80)
@given(st.text(max_size=30) | st.text(alphabet="0123456789./ mkAVohmN*^-", max_size=30))
def test_never_raises(said):
    assert quantity(said, {"answer": "2 A"}) in (0.0, 1.0)
