"""A call with named arguments that are strings or integers: `name(key='text', other=5)`.

The end of a string is the first quote that no backslash stands before and behind which either the
call ends or another argument begins. So `type(content='it\\'s')` and `type(content='it's')` both
say "it's". A quote before a bracket that does not end the call is refused. Nothing is evaluated.
"""

import re

MAX_ARGUMENTS = 8

# "[12,34]" or "[1,2,3,4]"
INTEGERS = re.compile(
    r"\s{0,3}\[\s{0,3}[0-9]{1,4}(?:\s{0,3},\s{0,3}[0-9]{1,4}){1,3}\s{0,3}\]\s{0,3}"
)
_NAME = re.compile(r"([A-Za-z_]{1,30})\(")
_KEY = re.compile(r"\s{0,3}([a-z_]{1,30})\s{0,3}=\s{0,3}")
_INTEGER = re.compile(r"[0-9]{1,6}")
_BEHIND = re.compile(r"\s{0,3}(?:\)$|,\s{0,3}[a-z_]{1,30}\s{0,3}=)")
_ESCAPES = {"\\": "\\", "'": "'", '"': '"', "n": "\n", "t": "\t", "r": "\r"}


def parse_call(text: str) -> tuple[str, dict[str, str | int]] | None:
    """(name, arguments) of one call, or None; of `text` without space around it."""
    opened = _NAME.match(text)
    if not opened or not text.endswith(")"):
        return None
    given: dict[str, str | int] = {}
    place = opened.end()
    if text[place:].strip() == ")":
        return opened[1], given
    while len(given) < MAX_ARGUMENTS:
        key = _KEY.match(text, place)
        value = _value(text, key.end()) if key else None
        if key is None or value is None or key[1] in given:
            return None
        given[key[1]], place = value
        rest = text[place:].lstrip()
        if rest == ")":
            return opened[1], given
        if not rest.startswith(","):
            return None
        place = text.index(",", place) + 1
    return None


def escape(text: str) -> str:
    """Text as it stands between single quotes."""
    for plain, written in (
        ("\\", "\\\\"),
        ("'", "\\'"),
        ("\n", "\\n"),
        ("\t", "\\t"),
        ("\r", "\\r"),
    ):
        text = text.replace(plain, written)
    return text


def _value(text: str, start: int) -> tuple[str | int, int] | None:
    """The argument that begins at `start`, and where it ends."""
    number = _INTEGER.match(text, start)
    if number:
        return int(number[0]), number.end()
    quote = text[start : start + 1]
    if quote not in ("'", '"'):
        return None
    said, place = [], start + 1
    while place < len(text):
        letter = text[place]
        if letter == "\\" and place + 1 < len(text):
            after = text[place + 1]
            said.append(_ESCAPES.get(after, letter + after))
            place += 2
            continue
        if letter == quote and _BEHIND.match(text, place + 1):
            return "".join(said), place + 1
        if letter == quote and text[place + 1 : place + 2] == ")":
            return None  # another call may follow: which text is meant is not clear
        said.append(letter)
        place += 1
    return None
