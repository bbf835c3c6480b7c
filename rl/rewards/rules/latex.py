"""Formulas as they look: LaTeX that prints the same is equal, whatever else it is.

Surplus braces and spaces, the order of scripts, \\left and \\right, \\dfrac for \\frac, other names
of a sign and upright names (\\mathrm{sin}) do not count. Nothing is calculated: 2+3 is not 3+2.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rl.types import Json

MAX_CHARACTERS = 2000
MAX_DEPTH = 30  # of braces in braces

Atom = tuple  # (base, subscript row, superscript row)
Row = tuple[Atom, ...]

_TOKEN = re.compile(r"\\[A-Za-z]+|\\[^A-Za-z]|\S", re.DOTALL)  # a last "\" is a token too
_FRAMES = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"))
_ARGUMENTS = {
    "\\frac": 2, "\\binom": 2, "\\sqrt": 1, "\\overline": 1, "\\underline": 1, "\\bar": 1,
    "\\hat": 1, "\\vec": 1, "\\tilde": 1, "\\dot": 1, "\\mathbf": 1, "\\mathbb": 1, "\\mathcal": 1,
}  # fmt: skip
_SKIPPED = frozenset((
    "\\,", "\\;", "\\:", "\\!", "\\ ", "~", "\\quad", "\\qquad", "\\left", "\\right", "\\big",
    "\\Big", "\\bigg", "\\Bigg", "\\bigl", "\\bigr", "\\displaystyle", "\\textstyle", "\\limits",
    "\\nolimits",
))  # fmt: skip
_UPRIGHT = frozenset(("\\mathrm", "\\text", "\\textrm", "\\operatorname", "\\mathit"))
_WORDS = frozenset((
    "sin", "cos", "tan", "cot", "sec", "csc", "log", "ln", "exp", "lim", "max", "min", "sup", "inf",
    "det", "gcd", "arcsin", "arccos", "arctan",
))  # fmt: skip
_SAME = {
    "\\dfrac": "\\frac", "\\tfrac": "\\frac", "\\cfrac": "\\frac", "\\dbinom": "\\binom",
    "\\le": "\\leq", "\\ge": "\\geq", "\\ne": "\\neq", "\\to": "\\rightarrow", "\\vert": "|",
    "\\mid": "|", "\\lvert": "|", "\\rvert": "|", "\\lbrace": "\\{", "\\rbrace": "\\}",
    "\\lbrack": "[", "\\rbrack": "]", "\\ast": "*", "\\colon": ":", "\\ldots": "\\dots",
    "\\cdots": "\\dots", "−": "-", "×": "\\times", "÷": "\\div", "·": "\\cdot", "±": "\\pm",
    "≤": "\\leq", "≥": "\\geq", "≠": "\\neq", "∞": "\\infty", "→": "\\rightarrow",
    "α": "\\alpha", "β": "\\beta", "γ": "\\gamma", "θ": "\\theta", "λ": "\\lambda", "μ": "\\mu",
    "π": "\\pi", "σ": "\\sigma", "φ": "\\phi", "ω": "\\omega", "∑": "\\sum", "∫": "\\int",
    "（": "(", "）": ")", "＝": "=", "＋": "+",
}  # fmt: skip


def formula(answer: str, reference: Mapping[str, Json]) -> float:
    """1 where the answer prints as one of reference["answers"] does (HME, OCRBench).

    OCRBench looks for the expected formula inside of the answer, without blanks; here the whole
    answer is the formula.
    """
    said = canonical(answer)
    return float(bool(said) and any(said == canonical(gold) for gold in reference["answers"]))


def canonical(text: str) -> Row | None:
    """A formula as nested tuples, equal where it prints the same; None for what is no formula.

    Never raises. Braces that do not match, two superscripts on one base and missing arguments are
    no formula, nor is what is longer than MAX_CHARACTERS or deeper than MAX_DEPTH.
    """
    if len(text) > MAX_CHARACTERS:
        return None
    text = text.strip()
    for opens, closes in _FRAMES:
        inside = text[len(opens) : -len(closes)]
        if text.startswith(opens) and text.endswith(closes) and inside:
            text = inside
            break
    found: list[str] = _TOKEN.findall(text)
    tokens = [_SAME.get(token, token) for token in found]
    reader = _Reader(tokens)
    try:
        row = reader.row(0)
    except _NoFormula:
        return None
    return row if reader.place == len(tokens) else None


class _NoFormula(Exception):
    pass


@dataclass
class _Reader:
    """Reads tokens from left to right."""

    tokens: Sequence[str]
    place: int = field(default=0)

    def peek(self) -> str:
        """The next token that prints, or ""."""
        while self.place < len(self.tokens) and self.tokens[self.place] in _SKIPPED:
            sized = self.tokens[self.place] in ("\\left", "\\right")
            self.place += 1
            if sized and "".join(self.tokens[self.place : self.place + 1]) == ".":
                self.place += 1  # \left. prints nothing
        return self.tokens[self.place] if self.place < len(self.tokens) else ""

    def take(self) -> str:
        """The next token, which there must be."""
        token = self.peek()
        if not token:
            raise _NoFormula
        self.place += 1
        return token

    def row(self, depth: int, end: str = "") -> Row:
        """Atoms up to a closing brace, to `end`, or to the end of all."""
        atoms: list[Atom] = []
        while (token := self.peek()) and token not in ("}", end):
            base = () if token in ("^", "_", "'") else self.argument(depth)
            below, above = self.scripts(depth)
            if below or above:
                atoms.append((_sole(base), below, above))
            else:
                atoms.extend(base)
        return tuple(atoms)

    def argument(self, depth: int) -> Row:
        """A group, or one token with its own arguments."""
        if depth > MAX_DEPTH:
            raise _NoFormula
        token = self.take()
        if token in ("}", "^", "_", "'"):
            raise _NoFormula
        if token == "{":
            row = self.row(depth + 1)
            if self.take() != "}":
                raise _NoFormula
            return row
        if token in _UPRIGHT:
            return _upright(self.argument(depth + 1))
        if token == "\\sqrt":
            degree = self.degree(depth + 1)
            return ((("\\sqrt", degree, self.argument(depth + 1)), (), ()),)
        if token in _ARGUMENTS:
            parts = [self.argument(depth + 1) for _ in range(_ARGUMENTS[token])]
            return (((token, *parts), (), ()),)
        if token[1:] in _WORDS:
            token = token[1:]
        return ((token, (), ()),)

    def degree(self, depth: int) -> Row:
        """What stands in [ ] behind \\sqrt."""
        if self.peek() != "[":
            return ()
        self.take()
        row = self.row(depth, "]")
        if self.take() != "]":
            raise _NoFormula
        return row

    def scripts(self, depth: int) -> tuple[Row, Row]:
        """Subscript and superscript, in any order, once each; primes lead the superscript."""
        below: Row = ()
        above: Row = ()
        primes: Row = ()
        while (token := self.peek()) in ("_", "^", "'"):
            self.take()
            if token == "'":
                primes += (("\\prime", (), ()),)
            elif token == "_" and not below:
                below = self.argument(depth + 1)
            elif token == "^" and not above:
                above = self.argument(depth + 1)
            else:
                raise _NoFormula
        return below, primes + above


def _sole(base: Row) -> object:
    """The base itself where it is one plain atom, so that {x}^2 is x^2."""
    return base[0][0] if len(base) == 1 and not base[0][1] and not base[0][2] else base


def _upright(row: Row) -> Row:
    """Letters as one word: \\mathrm{sin} is \\sin; anything else as it is."""
    plain = all(isinstance(base, str) and len(base) == 1 for base, *_ in row)
    if len(row) < 2 or not plain or any(below or above for _, below, above in row):
        return row
    return (("".join(base for base, *_ in row), (), ()),)
