"""Mean relative accuracy: how VSI-Bench judges metres, sizes and other measured numbers."""

from collections.abc import Mapping
from decimal import Decimal

from rl.answers.numbers import parse_number
from rl.rewards.rules.boxes import gated
from rl.types import Json

# 1 - confidence: 0.50, 0.45, … 0.05. As decimals, since 1 - 0.95 > 0.05 in binary.
MARGINS = tuple(Decimal(hundredths) / 100 for hundredths in range(50, 0, -5))


def mean_relative_accuracy(said: Decimal, truth: Decimal) -> float:
    """Share of margins 0.50, 0.45, … 0.05 that are larger than |said - truth| / |truth|.

    MRA of VSI-Bench (Yang et al. 2024), thresholds 0.50 … 0.95: 1 for an error below 5 %, 0 from
    50 % on. Of zero, only zero is right.
    """
    error = abs(said - truth)
    if truth == 0:
        return float(error == 0)
    return sum(error < margin * abs(truth) for margin in MARGINS) / len(MARGINS)


def measured(answer: str, reference: Mapping[str, Json]) -> float:
    """Mean relative accuracy from reference["gate"] on, else 0.

    One constant is near many truths: without a gate, saying 3 metres always is well paid.

    Args:
        answer: a number, with a unit behind it or without.
        reference: "answer": the number; "units": of it; "gate": 0 if not given.
    """
    said = parse_number(answer, tuple(reference.get("units", ())))
    if said is None:
        return 0.0
    truth = Decimal(str(reference["answer"]))
    return gated(mean_relative_accuracy(said, truth), reference.get("gate", 0.0))
