"""Expected calls: order is free, all else is not."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.answers.calls import MARKS, Call, write_call, write_calls
from rl.answers.reply import boxed
from rl.envs.parts.tool_schemas import BOOLEAN, INTEGER, STRING, listed, one_of, tool
from rl.rewards.rules.tool_calls import tool_calls, valid

TOOLS = [
    tool(
        "book",
        "Books a table.",
        {"name": STRING, "people": INTEGER, "where": one_of("in", "out"), "quiet": BOOLEAN},
        optional=("where", "quiet"),
    ),
    tool("sum", "Adds.", {"numbers": listed(INTEGER)}),
]
BOOK = {"name": "book", "arguments": {"name": ["Li", "Mr Li"], "people": [4]}}
SUM = {"name": "sum", "arguments": {"numbers": [[1, 2]]}}
CALLS = [Call("book", {"name": "Li", "people": 4}), Call("sum", {"numbers": [1, 2]})]


def score(*calls, expected=(BOOK, SUM)):
    return tool_calls(write_calls(calls), TOOLS, list(expected))


def test_order_is_free():
    for calls in itertools.permutations(CALLS):
        assert score(*calls) == 1.0


def test_alternatives():
    assert score(Call("book", {"name": "Mr Li", "people": 4}), CALLS[1]) == 1.0


@pytest.mark.parametrize(
    "calls",
    [
        [],
        CALLS[:1],
        [*CALLS, CALLS[0]],
        [CALLS[0], CALLS[0]],
        [*CALLS, Call("sum", {"numbers": [1]})],
        [CALLS[0], Call("sum", {"numbers": [2, 1]})],
        [CALLS[0], Call("sum", {"numbers": [1, 2, 3]})],
        [CALLS[0], Call("sum", {"numbers": "[1, 2"})],
        [CALLS[0], Call("total", {"numbers": [1, 2]})],
        [Call("book", {"name": "li", "people": 4}), CALLS[1]],
        [Call("book", {"name": "Li", "people": 5}), CALLS[1]],
        [Call("book", {"name": "Li", "people": True}), CALLS[1]],
        [Call("book", {"name": "Li"}), CALLS[1]],
        [Call("book", {"name": "Li", "people": 4, "where": "in"}), CALLS[1]],
        [Call("book", {"name": "Li", "people": 4, "colour": "red"}), CALLS[1]],
    ],
)
def test_wrong_calls(calls):
    assert score(*calls) == 0.0


def test_two_equal_calls_are_two():
    assert score(CALLS[1], CALLS[1], expected=[SUM, SUM]) == 1.0
    assert score(CALLS[1], CALLS[0], expected=[SUM, SUM]) == 0.0


def test_no_tool_fits():
    for reply in ("none", "None.", boxed("none"), "<think>no</think>" + boxed("NONE")):
        assert tool_calls(reply, TOOLS, []) == 1.0
    for reply in ("", "no", "none none", write_call("sum", {"numbers": [1]}), boxed("")):
        assert tool_calls(reply, TOOLS, []) == 0.0
    assert tool_calls("none", TOOLS, [SUM]) == 0.0
    assert tool_calls("none <tool_call>", TOOLS, []) == 0.0


def test_schemas():
    assert valid(Call("book", {"name": "x", "people": 1, "where": "out", "quiet": False}), TOOLS)
    assert not valid(Call("book", {"name": "x", "people": 1, "where": "up"}), TOOLS)
    assert not valid(Call("book", {"name": 3, "people": 1}), TOOLS)
    assert not valid(Call("book", {"name": "x", "people": 1.5}), TOOLS)
    assert not valid(Call("x", {}), TOOLS)


@settings(max_examples=150)
@given(st.lists(st.sampled_from([*MARKS, "book", "sum", "numbers", "[1, 2]", "null", "\n"])))
def test_never_raises(pieces):
    assert tool_calls("".join(pieces), TOOLS, [BOOK]) == 0.0
