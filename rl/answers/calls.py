"""Calls of tools, as GLM models write them.

    <tool_call>name
    <arg_key>query</arg_key>
    <arg_value>red boat</arg_value>
    </tool_call>

GLM-4.5 breaks lines there, later models write all of it in one line: both are read. An argument
that the tool's schema says is a string stands there as it is, any other as JSON. Thoughts and words
may come before the calls, nothing between or after them. No regular expressions, so no input is
slow.
"""

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rl.answers import reply
from rl.answers.json_answer import parse_json
from rl.types import Json

CALL = ("<tool_call>", "</tool_call>")
KEY = ("<arg_key>", "</arg_key>")
VALUE = ("<arg_value>", "</arg_value>")
MARKS = (*CALL, *KEY, *VALUE)
MAX_CALLS = 16  # in one reply
MAX_ARGUMENTS = 32  # of one call
MAX_NAME = 64  # characters


class Call(NamedTuple):
    """A tool's name and its arguments by name."""

    name: str
    arguments: Mapping[str, Json]


def has_calls(text: str) -> bool:
    """Whether a reply tries to call something after its thoughts, even beside an answer."""
    said = text.rpartition(reply.THINK[1])[2]
    return CALL[0] in said and not said.lstrip().startswith(reply.THINK[0])


def parse_calls(text: str, tools: Sequence[Mapping[str, Json]]) -> list[Call] | None:
    """The calls of a reply, in order; never raises.

    Args:
        text: a whole reply.
        tools: schemas as in `rl.envs.parts.tool_schemas`; they say which arguments are strings. The
            arguments of tools that are not there are all taken for strings.

    Returns:
        One call or more; None where there is none, or anything is not as it should be.
    """
    said = _said(text)
    start = said.find(CALL[0])
    if start < 0:
        return None
    calls, rest = [], said[start:].rstrip()
    while rest:
        body, rest = _between(rest.lstrip(), CALL)
        call = None if body is None else _call(body, tools)
        if call is None or len(calls) == MAX_CALLS:
            return None
        calls.append(call)
    return calls


def write_call(name: str, arguments: Mapping[str, Json], lines: bool = True) -> str:
    """A call as models write it.

    Args:
        name: of the tool.
        arguments: a string is written as it is, all else as JSON.
        lines: with line breaks, as GLM-4.5; False: in one line, as later models.

    Raises:
        ValueError: an argument spells a mark of this grammar.
    """
    end = "\n" if lines else ""
    parts = [CALL[0], name, end]
    for key, value in arguments.items():
        written = value if isinstance(value, str) else _dump(value)
        if any(mark in written + key for mark in MARKS):
            raise ValueError(f"{name}: the argument {key!r} spells a mark of calls")
        parts += [KEY[0], key, KEY[1], end, VALUE[0], written, VALUE[1], end]
    return "".join((*parts, CALL[1]))


def write_calls(calls: Sequence[Call], lines: bool = True) -> str:
    """Several calls, one after the other."""
    return "\n".join(write_call(name, arguments, lines) for name, arguments in calls)


def _dump(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False)


def _said(text: str) -> str:
    """What comes after the thoughts; "" where there is no one such text."""
    parsed = reply.parse(text)
    return "" if parsed.boxed else parsed.answer or ""


def _between(text: str, marks: tuple[str, str]) -> tuple[str | None, str]:
    """What the marks at the beginning of a text enclose, and what follows them."""
    end = text.find(marks[1])
    if not text.startswith(marks[0]) or end < 0:
        return None, ""
    return text[len(marks[0]) : end], text[end + len(marks[1]) :]


def _call(body: str, tools: Sequence[Mapping[str, Json]]) -> Call | None:
    """A call from what is between its marks."""
    head, mark, rest = body.partition(KEY[0])
    name, rest = head.strip(), mark + rest
    if not (0 < len(name) <= MAX_NAME) or not all(c.isalnum() or c in "_-." for c in name):
        return None
    kinds = _kinds(name, tools)
    arguments: dict[str, Json] = {}
    while rest.strip():
        key, rest = _between(rest.lstrip(), KEY)
        value, rest = _between(rest.lstrip(), VALUE)
        key = None if key is None else key.strip()
        if not key or value is None or key in arguments or len(arguments) == MAX_ARGUMENTS:
            return None
        if any(mark in key + value for mark in MARKS):
            return None
        kind = kinds.get(key, "string")
        if kind != "string":
            parsed = parse_json(value)
            if parsed is None and value.strip() != "null":
                return None
            value = parsed
        arguments[key] = value
    return Call(name, arguments)


def _kinds(name: str, tools: Sequence[Mapping[str, Json]]) -> dict[str, Json]:
    """The type of each argument of a tool; other than "string" where it has none or several."""
    for tool in tools:
        function = tool["function"]
        if function["name"] == name:
            properties = function["parameters"].get("properties", {})
            return {key: schema.get("type") for key, schema in properties.items()}
    return {}
