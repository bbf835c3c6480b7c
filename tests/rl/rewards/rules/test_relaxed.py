"""Relaxed accuracy: by hand, and the holes of others' rules."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.rewards.rules.relaxed import relaxed


@pytest.mark.parametrize(
    ("answer", "gold", "kind", "units", "right"),
    [
        ("100", "100", "measure", [], 1),
        ("105", "100", "measure", [], 1),
        ("95.00", "100", "measure", [], 1),
        ("105.01", "100", "measure", [], 0),
        ("94.99", "100", "measure", [], 0),
        ("-100", "100", "measure", [], 0),
        ("-98", "-100", "measure", [], 1),
        ("1,234", "1234", "measure", [], 1),
        ("2000", "2020", "", [], 0),
        ("2020", "2020", "", [], 1),
        ("2000", "2020", "measure", [], 1),
        ("2000", "2020", "year", [], 0),
        ("2020.0", "2020", "year", [], 1),
        ("3100", "3001", "", [], 1),
        ("20", "20", "count", [], 1),
        ("21", "20", "count", [], 0),
        ("0", "0.0", "measure", [], 1),
        ("0.0", "0", "count", [], 1),
        ("0.001", "0", "measure", [], 0),
        ("-0", "0", "measure", [], 1),
        ("5", "5", "measure", ["%"], 1),
        ("5%", "5", "measure", ["%"], 1),
        ("5 %", "5", "measure", ["%"], 1),
        ("5%", "5", "measure", [], 0),
        ("5%%", "5", "measure", ["%"], 0),
        ("0.05", "5", "measure", ["%"], 0),
        ("5 kg", "5", "measure", ["%"], 0),
    ],
)
def test_by_hand(answer, gold, kind, units, right):
    assert relaxed(answer, {"answer": gold, "kind": kind, "units": units}) == right


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "about 100",
        "99 or 100",
        "100 100",
        " ".join(map(str, range(200))),
        "nan",
        "inf",
        "1e2",
        "10**2",
        "１００",
        "٣",
        "²",
        "9" * 1_000_000,
        "__import__('os').getpid()",
    ],
)
def test_attacks(answer):
    assert relaxed(answer, {"answer": "100", "kind": "measure"}) == 0


@settings(max_examples=200)
@given(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6))
def test_fractions_agree(said, gold):
    near = abs(Fraction(said) - gold) <= Fraction(abs(gold), 20)
    assert relaxed(str(said), {"answer": str(gold), "kind": "measure"}) == near


@settings(max_examples=100)
@given(st.text() | st.text(alphabet="0123456789.,%+- ²"))
def test_never_raises(answer):
    assert relaxed(answer, {"answer": "5", "units": ["%"]}) in (0, 1)
