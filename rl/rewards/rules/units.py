"""Quantities: a number and a unit, compared exactly after conversion to base units (physics).

1 where answer and gold are the same quantity: 2 A = 2000 mA = 2 V/ohm, 1.5 m = 150 cm; else 0.
Numbers are decimals or fractions of ASCII digits, units are products of known symbols. A missing
unit is wrong unless reference["bare"]: then the number is in reference's own unit. Closed holes:
graders that strip letters take 2 mA for 2 A and 2 V for 2 A; case is kept (mohm, Mohm).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from rl.types import Json, Unverifiable

MAX_CHARACTERS = 60
Dimensions = tuple[int, int, int, int, int]  # of metre, kilogram, second, ampere, degree


@dataclass(frozen=True)
class Quantity:
    """A value in base units, and the powers of these."""

    value: Fraction
    dimensions: Dimensions


_PREFIXES = {"": 0, "n": -9, "u": -6, "µ": -6, "μ": -6, "m": -3, "c": -2, "k": 3, "M": 6, "G": 9}
_BASE: dict[str, tuple[int, Dimensions]] = {  # symbol -> power of ten, dimensions
    "m": (0, (1, 0, 0, 0, 0)),
    "g": (-3, (0, 1, 0, 0, 0)),
    "s": (0, (0, 0, 1, 0, 0)),
    "A": (0, (0, 0, 0, 1, 0)),
    "N": (0, (1, 1, -2, 0, 0)),
    "J": (0, (2, 1, -2, 0, 0)),
    "W": (0, (2, 1, -3, 0, 0)),
    "Pa": (0, (-1, 1, -2, 0, 0)),
    "V": (0, (2, 1, -3, -1, 0)),
    "ohm": (0, (2, 1, -3, -2, 0)),
    "Hz": (0, (0, 0, -1, 0, 0)),
}
_WORDS = {
    "\u03a9": "ohm", "\u2126": "ohm", "ohms": "ohm", "Ohm": "ohm",
    "ampere": "A", "amperes": "A", "amps": "A",
    "volt": "V", "volts": "V", "newton": "N", "newtons": "N", "metre": "m", "metres": "m",
    "meter": "m", "meters": "m", "watt": "W", "watts": "W", "joule": "J", "joules": "J",
    "安": "A", "安培": "A", "伏": "V", "伏特": "V", "欧": "ohm", "欧姆": "ohm", "牛": "N",
    "牛顿": "N", "米": "m", "厘米": "cm", "毫安": "mA", "千欧": "kohm", "瓦": "W", "焦": "J",
    "degrees": "°", "degree": "°", "deg": "°", "度": "°",
}  # fmt: skip
_UNITS: dict[str, Quantity] = {"°": Quantity(Fraction(1), (0, 0, 0, 0, 1))}
_UNITS |= {
    prefix + symbol: Quantity(Fraction(10) ** (ten + power), dimensions)
    for symbol, (power, dimensions) in _BASE.items()
    for prefix, ten in _PREFIXES.items()
}
_UNITS |= {
    "min": Quantity(Fraction(60), (0, 0, 1, 0, 0)),
    "h": Quantity(Fraction(3600), (0, 0, 1, 0, 0)),
}
_NUMBER = re.compile(r"([+-]?[0-9]{1,12}(?:\.[0-9]{1,12})?)(?:/([0-9]{1,12}))?")
_UNIT = re.compile(r"([^\s0-9*/^·+.,;()=-]{1,8})(?:\^?([1-3]))?")
_JOINT = re.compile(r"\s*([*·/]|\s)\s*")


def parse_unit(text: str) -> Quantity | None:
    """A product or quotient of units: "N", "mA", "N*m", "N·m", "m/s", "m/s^2"."""
    value, dimensions, sign, place = Fraction(1), (0, 0, 0, 0, 0), 1, 0
    while True:
        match = _UNIT.match(text, place)
        one = match and _UNITS.get(_symbol(match[1]))
        if not match or not one:
            return None
        power = sign * int(match[2] or 1)
        value *= one.value**power
        a, b, c, d, e = (p + power * q for p, q in zip(dimensions, one.dimensions, strict=True))
        dimensions, place = (a, b, c, d, e), match.end()
        if place == len(text):
            return Quantity(value, dimensions)
        joint = _JOINT.match(text, place)
        if not joint or (sign < 0 and joint[1] != "/"):  # "m/s*s" can be read in two ways
            return None
        sign, place = (-1 if joint[1] == "/" else 1), joint.end()


def parse_quantity(answer: str, unit: str = "") -> Quantity | None:
    """A number and a unit, nothing else.

    Args:
        answer: what was said.
        unit: that a number without one is in; "" = a number alone is no quantity.
    """
    said = answer.strip()[: MAX_CHARACTERS + 1]
    if len(said) > 1 and said[-1] in ".。":
        said = said[:-1].rstrip()
    match = _NUMBER.match(said)
    if len(said) > MAX_CHARACTERS or not match or int(match[2] or 1) == 0:
        return None
    one = parse_unit(said[match.end() :].strip() or unit)
    number = Fraction(match[1]) / int(match[2] or 1)
    return one and Quantity(number * one.value, one.dimensions)


def quantity(answer: str, reference: Mapping[str, Json]) -> float:
    """1 where the answer is reference["answer"], such as "2.5 A", in any unit of that kind."""
    gold = parse_quantity(reference["answer"])
    if gold is None:
        raise Unverifiable(f"{reference['answer']!r} is no quantity")
    match = _NUMBER.match(reference["answer"])
    unit = reference["answer"][match.end() :].strip() if match and reference.get("bare") else ""
    return float(parse_quantity(answer, unit) == gold)


def _symbol(word: str) -> str:
    """The symbol of a unit that is spelled out, with its prefix kept: "kΩ" is "kohm"."""
    if word in _WORDS:
        return _WORDS[word]
    head, tail = word[:1], word[1:]
    return (
        head + _WORDS[tail] if head in _PREFIXES and tail in ("\u03a9", "\u2126", "ohms") else word
    )
