"""Numbers and choices in answers. What is not exactly one of them is None."""

import re
from decimal import Decimal

MAX_DIGITS = 30
# ASCII digits only: "²", "٣" and "３" are no numbers here, and there is no exponent to blow up.
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?|[+-]?\.[0-9]+")
_INTEGER = re.compile(r"[+-]?[0-9]{1,15}")
_LETTER = re.compile(r"(?:([A-Za-z])[.:)]?|\(([A-Za-z])\))")


def parse_integer(answer: str) -> int | None:
    """An integer and nothing else, or with a full stop."""
    text = _bare(answer)
    return int(text) if _INTEGER.fullmatch(text) else None


def parse_number(answer: str, units: tuple[str, ...] = ()) -> Decimal | None:
    """A decimal number, with thousands' commas or without, and one of `units` behind it or none."""
    text = _bare(answer)
    for unit in sorted(units, key=len, reverse=True):
        if unit and text.endswith(unit):
            text = text.removesuffix(unit).rstrip()
            break
    if len(text) > MAX_DIGITS or not _NUMBER.fullmatch(text):
        return None
    return Decimal(text.replace(",", ""))


def parse_choice(answer: str, num_options: int) -> int | None:
    """The number of the only option letter that the answer consists of: "B", "(b)", "B.", "B)"."""
    match = _LETTER.fullmatch(answer.strip())
    if not match:
        return None
    index = ord((match[1] or match[2]).upper()) - ord("A")
    return index if index < num_options else None


def letter(index: int) -> str:
    """The letter of an option.

    Raises:
        ValueError: there are only 26 letters.
    """
    if not 0 <= index < 26:
        raise ValueError(f"option {index} has no letter: 0 ... 25 have one")
    return chr(ord("A") + index)


def _bare(answer: str) -> str:
    text = answer.strip()
    return text[:-1].rstrip() if text[-1:] in (".", "。") and len(text) > 1 else text
