"""Calls of tools against expected calls: names and arguments are the same, in any order.

The Berkeley function calling leaderboard compares syntax trees of Python-like calls; here calls are
in the models' own grammar, each must satisfy the JSON schema of its tool, and arguments are equal
with their types, where a list of alternatives may be given for some. Calls beyond the expected
ones, or twice the same, are wrong.
"""

from collections.abc import Mapping, Sequence

from rl.answers.calls import Call, has_calls, parse_calls
from rl.answers.reply import answer_of
from rl.rewards.rules.code_tests import same
from rl.rewards.rules.text import normalise
from rl.types import Json

NONE = "none"  # the answer where no tool fits


def tool_calls(reply: str, tools: Sequence[Mapping[str, Json]], expected: Json) -> float:
    """1 where the reply makes the expected calls and no other, else 0.

    Args:
        reply: all of it.
        tools: their schemas, see `rl.envs.parts.tool_schemas`.
        expected: a list of {"name", "arguments"}, where each argument is the list of all values
            that are right; `[]` where no tool fits: then the answer must be NONE.
    """
    if not expected:
        answer = answer_of(reply)
        return float(
            answer is not None
            and len(answer) <= 2 * len(NONE)
            and normalise(answer) == NONE
            and not has_calls(reply)
        )
    calls = parse_calls(reply, tools)
    if calls is None or len(calls) != len(expected):
        return 0.0
    if not all(valid(call, tools) for call in calls):
        return 0.0
    left = list(calls)
    for wanted in expected:  # equal calls are interchangeable, so the first that fits will do
        match = next((call for call in left if _fits(call, wanted)), None)
        if match is None:
            return 0.0
        left.remove(match)
    return 1.0


def valid(call: Call, tools: Sequence[Mapping[str, Json]]) -> bool:
    """Whether the tool exists and its schema allows the arguments."""
    import jsonschema

    schema = next(
        (t["function"]["parameters"] for t in tools if t["function"]["name"] == call.name), None
    )
    if schema is None:
        return False
    return jsonschema.Draft202012Validator(schema).is_valid(dict(call.arguments))


def _fits(call: Call, wanted: Mapping[str, Json]) -> bool:
    right = wanted["arguments"]
    return (
        call.name == wanted["name"]
        and call.arguments.keys() == right.keys()
        and all(
            any(same(value, one) for one in right[key]) for key, value in call.arguments.items()
        )
    )
