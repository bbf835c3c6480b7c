"""Counts: one integer, right or wrong."""

from collections.abc import Mapping

from rl.answers.numbers import parse_integer
from rl.types import Json


def count(answer: str, reference: Mapping[str, Json]) -> float:
    """1 where the answer is the integer reference["answer"] and nothing else.

    CountBench and TallyQA: equality. Only ASCII digits are digits: "²" is one to `str.isdigit` and
    broke other verifiers. "3 or 4" and "3, 4" are two numbers, thus no answer.
    """
    return float(parse_integer(answer) == int(reference["answer"]))
