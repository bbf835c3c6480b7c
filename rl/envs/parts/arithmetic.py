"""A calculator for expressions that a policy wrote; nothing is evaluated by Python."""

from fractions import Fraction

MAX_CHARACTERS = 120
MAX_DEPTH = 10
_SIGNS = str.maketrans("×÷−", "*/-")


def calculate(expression: str) -> str:
    """The value of an expression of + - * / and brackets, exact or to six decimals.

    Raises:
        ValueError: it is none, too long, too deep, or divides by zero.
    """
    text = "".join(expression.translate(_SIGNS).split())
    if not 0 < len(text) <= MAX_CHARACTERS or not text.isascii():
        raise ValueError("this is no expression of at most 120 characters")
    value, place = _sum(text, 0, 0)
    if place != len(text):
        raise ValueError(f"{text[place]!r} is not expected there")
    if value.denominator == 1:
        return str(value.numerator)
    return f"{float(value):.6f}".rstrip("0")


def _sum(text: str, place: int, depth: int) -> tuple[Fraction, int]:
    value, place = _product(text, place, depth)
    while text[place : place + 1] in ("+", "-"):
        sign = 1 if text[place] == "+" else -1
        term, place = _product(text, place + 1, depth)
        value += sign * term
    return value, place


def _product(text: str, place: int, depth: int) -> tuple[Fraction, int]:
    value, place = _factor(text, place, depth)
    while text[place : place + 1] in ("*", "/"):
        divides = text[place] == "/"
        factor, place = _factor(text, place + 1, depth)
        if divides and not factor:
            raise ValueError("division by zero")
        value = value / factor if divides else value * factor
    return value, place


def _factor(text: str, place: int, depth: int) -> tuple[Fraction, int]:
    if depth > MAX_DEPTH:
        raise ValueError("too many brackets")
    first = text[place : place + 1]
    if first == "-":
        value, place = _factor(text, place + 1, depth + 1)
        return -value, place
    if first == "(":
        value, place = _sum(text, place + 1, depth + 1)
        if text[place : place + 1] != ")":
            raise ValueError("a bracket is not closed")
        return value, place + 1
    end = place
    while end < len(text) and (text[end].isdigit() or text[end] == "."):
        end += 1
    digits = text[place:end]
    if not 0 < len(digits) <= 20 or digits.count(".") > 1 or digits == ".":
        raise ValueError("a number is expected")
    return Fraction(digits), end
