"""Answers in JSON: one value and nothing beside it, of bounded size and depth.

What Python's reader lets through and JSON does not have, or what could surprise a verifier, is
refused: NaN and Infinity, numbers that overflow, keys that come twice, half a surrogate pair.
"""

import json
import math
from typing import NoReturn

from rl.types import Json

MAX_DIGITS = 40  # of one number


def parse_json(answer: str, max_characters: int = 20_000, max_depth: int = 8) -> Json:
    """The one JSON value that an answer consists of; never raises.

    Args:
        answer: what was said; blanks around the value are fine, anything else is not.
        max_characters: a longer answer is refused.
        max_depth: of lists and objects in each other; 0 allows a bare value only.

    Returns:
        The value, or None where the answer is no such value (or is `null`).
    """
    if len(answer) > max_characters or _depth(answer) > max_depth:
        return None
    try:
        answer.encode()  # half a surrogate pair
        value = json.loads(
            answer,
            object_pairs_hook=_object,
            parse_float=_float,
            parse_int=_integer,
            parse_constant=_refuse,
        )
        json.dumps(value, ensure_ascii=False).encode()  # "\ud800" spelled
    except (ValueError, RecursionError):
        return None
    return value


def _depth(answer: str) -> int:
    """How deep brackets outside of strings go."""
    deepest = depth = 0
    quoted = escaped = False
    for character in answer:
        if quoted:
            quoted = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            quoted = True
        elif character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key comes twice")
    return found


def _float(digits: str) -> float:
    value = float(digits) if len(digits) <= MAX_DIGITS else math.inf
    return value if math.isfinite(value) else _refuse(digits)


def _integer(digits: str) -> int:
    return int(digits) if len(digits) <= MAX_DIGITS else _refuse(digits)


def _refuse(digits: str) -> NoReturn:
    raise ValueError(f"{digits[:MAX_DIGITS]} is no number of an answer")
