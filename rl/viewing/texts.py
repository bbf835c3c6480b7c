"""Texts to be shown: nothing that a terminal or a page would take for an order, nothing endless."""

import json

from rl.answers.reply import parse
from rl.envs.category import Category
from rl.types import Json, Verdict

LONGEST = 3000  # characters of one text
_CONTROLS = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t"}
_CONTROLS |= {code: "\ufffd" for code in (*range(0x7F, 0xA0), *range(0xD800, 0xE000))}


def visible(text: str, longest: int = LONGEST) -> str:
    """Control characters as their pictures, halves of characters as U+FFFD; long texts cut."""
    shown = text[:longest].translate(_CONTROLS)
    return shown if len(text) <= longest else f"{shown} … ({len(text)} characters)"


def answer(reply: str, longest: int = LONGEST) -> str:
    """What a reply answers, without thoughts and marks; all of it where that is not clear."""
    said = parse(reply).answer
    return visible(reply if said is None else said, longest)


def as_json(value: Json, longest: int = LONGEST) -> str:
    """JSON over several lines where it is long."""
    flat = json.dumps(value, ensure_ascii=False)
    return visible(flat if len(flat) < 80 else _indented(value), longest)


def told(verdict: Verdict) -> str:
    """A verdict on one line."""
    said = f"{verdict.value:g}" if verdict.value is not None else verdict.kind
    reason = f": {visible(verdict.reason, 300)}" if verdict.reason else ""
    details = f", {as_json(dict(verdict.details), 500)}" if verdict.details else ""
    return f"{said}{reason} by {verdict.verifier} in {1000 * verdict.seconds:.1f} ms{details}"


def facts(category: Category) -> str:
    """What a category is, on one line."""
    turns = f"{category.max_turns} turns at most" if category.max_turns > 1 else "one turn"
    return (
        f"{category.name}: {category.group}, level {category.level}, {turns}, after "
        f"{category.benchmark}. Difficulty: {category.scale}."
    )


def _indented(value: Json) -> str:
    """Each field of an object on a line of its own."""
    if not isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    fields = (f"{json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in value.items())
    return "{\n  " + ",\n  ".join(fields) + "\n}"
