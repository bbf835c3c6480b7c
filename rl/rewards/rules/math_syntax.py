"""Mathematical expressions in answers: plain text or simple LaTeX -> a tree, or None.

The grammar is small on purpose and everything outside it is refused before any algebra system sees
it: words, commas, relations, sets, "±", digits that are not ASCII, numbers of more than 15 digits,
texts of more than 200 characters. Two numbers side by side ("3 4", "1 1/2") are no product.

    sum     = product (("+" | "-") product)*
    product = signed (("*" | "/")? signed)*         without a sign: only names and brackets follow
    signed  = ("+" | "-")? power
    power   = atom ("^" signed)?
    atom    = number | name | function atom | "(" sum ")" | "\\frac{" sum "}{" sum "}"
"""

import re

MAX_CHARACTERS = 200
MAX_DEPTH = 24
FUNCTIONS = ("sqrt", "sin", "cos", "tan", "ln", "log", "exp")
CONSTANTS = ("pi",)

Tree = list  # ["num", "2.5"], ["name", "x"], ["add" | "mul" | "div" | "pow", a, b], ["call", f, a]

_TOKEN = re.compile(
    r"\s*(?:(?P<num>[0-9]{1,15}(?:\.[0-9]{1,15})?(?![0-9.])|\.[0-9]{1,15}(?![0-9.]))"
    r"|(?P<word>\\?[A-Za-z]{1,6})|(?P<mark>\*\*|[-+*/^(){}√]))"
)
_SAME = (
    ("×", "*"), ("·", "*"), ("÷", "/"), ("−", "-"), ("π", " pi "),
    ("\\left", " "), ("\\right", " "), ("\\,", " "), ("\\;", " "), ("\\!", " "),
    ("\\cdot", "*"), ("\\times", "*"), ("\\dfrac", "\\frac"), ("\\tfrac", "\\frac"),
)  # fmt: skip
_QUOTES = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"))


class _Refused(Exception):
    """The text is not in the grammar."""


def parse(text: str) -> Tree | None:
    """The tree of an expression; None for everything else. Never raises."""
    if len(text) > MAX_CHARACTERS or len(text.strip().splitlines()) > 1:
        return None  # "0" and "-1" on two lines are two answers, not 0 - 1
    try:
        tokens = _tokens(_plain(text))
        tree, place = _sum(tokens, 0, 0)
    except _Refused:
        return None
    return tree if place == len(tokens) else None


def names(tree: Tree) -> set[str]:
    """Variables of a tree."""
    if tree[0] in ("num", "pi"):
        return set()
    if tree[0] == "name":
        return {tree[1]}
    return set().union(*(names(part) for part in tree[1:] if isinstance(part, list)))


def _plain(text: str) -> str:
    said = text.strip()
    for start, end in _QUOTES:
        if len(said) > len(start + end) and said.startswith(start) and said.endswith(end):
            said = said[len(start) : -len(end)]
            break
    for written, meant in _SAME:
        said = said.replace(written, meant)
    return said.strip()


def _tokens(text: str) -> list[str]:
    """Numbers, words without their backslash, and marks; braces only where LaTeX has them."""
    tokens, place = [], 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if not match:
            raise _Refused
        word = match["word"]
        if word:
            word = word.removeprefix("\\")
            if word not in (*FUNCTIONS, *CONSTANTS, "frac") and (
                len(word) > 1 or match["word"] != word
            ):
                raise _Refused
        mark = "^" if match["mark"] == "**" else "sqrt" if match["mark"] == "√" else match["mark"]
        tokens.append(match["num"] or word or mark)
        place = match.end()
    return tokens


def _at(tokens: list[str], place: int) -> str:
    return tokens[place] if place < len(tokens) else ""


def _sum(tokens: list[str], place: int, depth: int) -> tuple[Tree, int]:
    if depth > MAX_DEPTH:
        raise _Refused
    tree, place = _product(tokens, place, depth)
    while _at(tokens, place) in ("+", "-"):
        sign = tokens[place]
        other, place = _product(tokens, place + 1, depth)
        tree = ["add", tree, other if sign == "+" else ["neg", other]]
    return tree, place


def _product(tokens: list[str], place: int, depth: int) -> tuple[Tree, int]:
    tree, place = _signed(tokens, place, depth)
    while True:
        mark = _at(tokens, place)
        if mark in ("*", "/"):
            other, place = _signed(tokens, place + 1, depth)
            tree = ["mul" if mark == "*" else "div", tree, other]
        elif mark == "(" or (mark.isalpha() and mark != "frac"):
            other, place = _power(tokens, place, depth)
            tree = ["mul", tree, other]
        else:
            return tree, place


def _signed(tokens: list[str], place: int, depth: int) -> tuple[Tree, int]:
    if _at(tokens, place) not in ("+", "-"):
        return _power(tokens, place, depth)
    tree, end = _power(tokens, place + 1, depth)
    return (["neg", tree] if tokens[place] == "-" else tree), end


def _power(tokens: list[str], place: int, depth: int) -> tuple[Tree, int]:
    if depth > MAX_DEPTH:
        raise _Refused
    tree, place = _atom(tokens, place, depth)
    if _at(tokens, place) != "^":
        return tree, place
    if _at(tokens, place + 1) == "{":
        exponent, place = _group(tokens, place + 1, depth)
    else:
        exponent, place = _signed(tokens, place + 1, depth + 1)
    return ["pow", tree, exponent], place


def _atom(tokens: list[str], place: int, depth: int) -> tuple[Tree, int]:
    token = _at(tokens, place)
    if token in ("", "+", "-", "*", "/", "^", "{", "}", ")"):
        raise _Refused
    if token[0] in "0123456789.":
        return ["num", token], place + 1
    if token == "(":
        return _group(tokens, place, depth)
    if token == "frac":
        above, place = _group(tokens, place + 1, depth, "{")
        below, place = _group(tokens, place, depth, "{")
        return ["div", above, below], place
    if token in FUNCTIONS:
        return _call(token, tokens, place + 1, depth)
    return (["pi"] if token == "pi" else ["name", token]), place + 1


def _call(name: str, tokens: list[str], place: int, depth: int) -> tuple[Tree, int]:
    """A function of what is in brackets, or of the one number or name behind it."""
    if _at(tokens, place) in ("(", "{"):
        inner, place = _group(tokens, place, depth)
    else:
        inner, place = _atom(tokens, place, depth + 1)
    return ["call", name, inner], place


def _group(tokens: list[str], place: int, depth: int, only: str = "") -> tuple[Tree, int]:
    """What is between brackets of one kind."""
    start = _at(tokens, place)
    if start not in ("(", "{") or (only and start != only):
        raise _Refused
    tree, place = _sum(tokens, place + 1, depth + 1)
    if _at(tokens, place) != {"(": ")", "{": "}"}[start]:
        raise _Refused
    return tree, place + 1
