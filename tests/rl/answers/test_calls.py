"""Calls of tools: both dialects, types by schema, and what is no call."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.answers.calls import MARKS, Call, has_calls, parse_calls, write_call, write_calls
from rl.answers.reply import boxed
from tests.at_most import at_most

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "book",
            "description": "",
            "parameters": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "people": {"type": "integer"},
                    "tags": {"type": "array"},
                    "outside": {"type": "boolean"},
                },
            },
        },
    }
]
LINES = """<tool_call>book
<arg_key>name</arg_key>
<arg_value>12</arg_value>
<arg_key>people</arg_key>
<arg_value>4</arg_value>
</tool_call>"""
ONE_LINE = (
    "<tool_call>book<arg_key>name</arg_key><arg_value>12</arg_value>"
    "<arg_key>people</arg_key><arg_value>4</arg_value></tool_call>"
)


@pytest.mark.parametrize("text", [LINES, ONE_LINE])
@pytest.mark.parametrize("before", ["", "<think>Whom?</think>", "<think>a</think>\nI book it.\n"])
@pytest.mark.parametrize("after", ["", "\n", "<|observation|>", "\n<|observation|>"])
def test_both_dialects(text, before, after):
    """A string stays as it is, even where it looks like a number; an integer is read."""
    expected = [Call("book", {"name": "12", "people": 4})]
    assert parse_calls(before + text + after, TOOLS) == expected


def test_they_are_written_as_the_examples_are():
    arguments = {"name": "12", "people": 4}
    assert write_call("book", arguments) == LINES
    assert write_call("book", arguments, lines=False) == ONE_LINE


def test_several_in_order():
    calls = [Call("book", {"people": 2}), Call("other", {"x": "1"}), Call("book", {})]
    for lines in (True, False):
        assert parse_calls(write_calls(calls, lines), TOOLS) == calls


def test_types():
    text = "<tool_call>book<arg_key>{}</arg_key><arg_value>{}</arg_value></tool_call>"
    for key, value, expected in (
        ("tags", '["a", 1]', ["a", 1]),
        ("outside", "true", True),
        ("outside", "null", None),
        ("people", " 4 ", 4),
        ("name", " a\nb ", " a\nb "),
        ("name", '"quoted"', '"quoted"'),
        ("unknown", "5", "5"),
    ):
        (call,) = parse_calls(text.format(key, value), TOOLS) or [None]
        assert call == Call("book", {key: expected})
        assert type(call.arguments[key]) is type(expected)
    for key, value in (("outside", "True"), ("people", "four"), ("tags", "('a',)"), ("people", "")):
        assert parse_calls(text.format(key, value), TOOLS) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "book(name='12')",
        '<tool_call>{"name": "book", "arguments": {}}</tool_call>',
        "<tool_call></tool_call>",
        "<tool_call>book",
        "book</tool_call>",
        LINES + " and so on",
        LINES + " then " + LINES,
        LINES + boxed(3),
        boxed(LINES),
        "<think>" + LINES,
        "<think>" + LINES + "</think>",
        LINES.replace("people", "name"),
        LINES.replace("</arg_value>\n</", "\n</"),
        LINES.replace("<arg_value>4", "4<arg_value>"),
        LINES.replace("<arg_key>people</arg_key>\n", ""),
        LINES.replace("book", "b o o k"),
        LINES.replace("book", "x" * 65),
        LINES.replace("12", "<tool_call>"),
        LINES.replace("12", "<arg_key>"),
        "<tool_call>" + LINES + "</tool_call>",
        "\n".join([LINES] * 17),
        "<tool_call>book" + "<arg_key>" * 20_000,
        "<tool_call>" * 15_000,
        LINES.replace("4", "[" * 5000),
        LINES.replace("4", "NaN"),
        LINES.replace("4", "9" * 5000),
    ],
)
def test_what_is_no_call(text):
    with at_most(0.5):
        assert parse_calls(text, TOOLS) is None


def test_whether_it_tries():
    assert has_calls(LINES)
    assert has_calls("<tool_call>x")
    assert has_calls(LINES + boxed("3"))
    assert not has_calls("<think>" + LINES)
    assert not has_calls(boxed("3"))
    assert not has_calls("<think>" + LINES + "</think>" + boxed(3))


@pytest.mark.parametrize("mark", MARKS)
def test_marks_cannot_be_written_inside(mark):
    with pytest.raises(ValueError, match="spells a mark"):
        write_call("book", {"name": f"a {mark}"})


@settings(max_examples=200)
@given(st.lists(st.sampled_from([*MARKS, "book", "name", "4", "\n", "<think>", "</think>", "é"])))
def test_no_sequence_of_marks_raises(pieces):
    parse_calls("".join(pieces), TOOLS)


WORDS = st.text(st.characters(codec="utf-8"), max_size=12).filter(
    lambda t: not any(m in t for m in MARKS) and "think>" not in t and "|>" not in t
)


@settings(max_examples=100)
@given(
    WORDS,
    st.integers(-(10**9), 10**9),
    st.lists(st.one_of(st.none(), st.booleans(), st.integers(-99, 99), WORDS), max_size=4),
    st.booleans(),
)
def test_what_is_written_is_read(name, people, tags, lines):
    arguments = {"name": name, "people": people, "tags": tags}
    assert parse_calls(write_call("book", arguments, lines), TOOLS) == [Call("book", arguments)]
