"""Strict JSON: what is one value, what is not, and that nothing breaks it."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.answers.json_answer import parse_json
from tests.at_most import at_most


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("3", 3),
        (" -2.5 ", -2.5),
        ('"a"', "a"),
        ('{"a": [1, {"b": true}], "c": null}', {"a": [1, {"b": True}], "c": None}),
        ('"[[[[[[[[[[[["', "[[[[[[[[[[[["),
        ('["\\"[[[[[[[[[[", "\\\\"]', ['"[[[[[[[[[[', "\\"]),
        ('"\\ud83d\\ude00"', "\U0001f600"),
        ("[[[[[[[[1]]]]]]]]", [[[[[[[[1]]]]]]]]),
    ],
)
def test_one_value(answer, value):
    assert parse_json(answer) == value


@pytest.mark.parametrize(
    "answer",
    [
        "",
        " ",
        "NaN",
        "[Infinity]",
        "-Infinity",
        "1e999",
        "[1e400]",
        "9" * 5000,
        "0." + "1" * 50,
        '{"a": 1, "a": 2}',
        '{"x": {"a": 1, "a": 1}}',
        "{'a': 1}",
        "[1,]",
        "1 2",
        '{"a": 1} and more',
        '```json\n{"a": 1}\n```',
        "// no\n1",
        "01",
        "٣",
        '"\\ud800"',
        '"\ud800"',
        "\ufeff1",
        "\x00",
        "[" * 9 + "1" + "]" * 9,
        "[" * 10000,
        '{"a":' * 3000,
        "__import__('os')",
    ],
)
def test_refused(answer):
    assert parse_json(answer) is None


def test_limits_are_arguments():
    assert parse_json("[1]", max_depth=0) is None
    assert parse_json("1", max_depth=0) == 1
    assert parse_json("123", max_characters=2) is None
    assert parse_json("[" * 50 + "]" * 50, max_depth=50) is not None


def test_a_megabyte_takes_no_time():
    with at_most(0.2):
        assert parse_json("[" * 1_000_000) is None
        assert parse_json("[" + "1," * 500_000 + "1]") is None


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
)


@settings(max_examples=100)
@given(st.recursive(LEAVES, lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(), x)))
def test_what_python_writes_is_read_back(value):
    assert parse_json(json.dumps(value), max_depth=100) == value


@settings(max_examples=200)
@given(st.text() | st.text(alphabet='[]{}",:0123456789.eE+-\\ tfn'))
def test_never_raises_and_agrees_with_python(answer):
    value = parse_json(answer)
    if value is not None:
        assert json.loads(answer) == value
