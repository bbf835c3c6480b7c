"""Numbers that were read off a chart, against the true ones.

ChartQA's relaxed accuracy is |p − t| / |t| ≤ 0.05, or else equality of the texts. As others have
it, it takes 2000 for the year 2020, calls "0" and "0.0" different, and "5" and "5%" too.
Here years and counts must be exact (GLM's verifier does so for years), numbers are compared as
numbers, zero is met by zero alone, and a unit is right where the reference states it.
"""

from collections.abc import Mapping
from decimal import Decimal

from rl.answers.numbers import parse_number
from rl.types import Json

TOLERANCE = Decimal("0.05")
YEARS = range(1000, 3001)


def relaxed(answer: str, reference: Mapping[str, Json]) -> float:
    """1 where the answer is the number, within 5 % where it was measured.

    Args:
        answer: a number, with one of the units behind it or without.
        reference: "answer": the number in ASCII digits; "kind": "measure" (within 5 %), "count" or
            "year" (exact), "" or none: as `kind_of` says; "units": of the number, such as ["%"].
    """
    gold = str(reference["answer"])
    truth = parse_number(gold)
    said = parse_number(answer, tuple(reference.get("units", ())))
    if truth is None or said is None:
        return 0.0
    if (reference.get("kind") or kind_of(gold)) != "measure":
        return float(said == truth)
    return float(close(said, truth))


def close(said: Decimal, truth: Decimal, tolerance: Decimal = TOLERANCE) -> bool:
    """|said − truth| ≤ tolerance · |truth|; of zero, only zero."""
    return abs(said - truth) <= tolerance * abs(truth)


def kind_of(gold: str) -> str:
    """What a bare number of a data set is: four digits of a year are a year, the rest measures."""
    return "year" if gold.isascii() and gold.isdigit() and int(gold) in YEARS else "measure"
