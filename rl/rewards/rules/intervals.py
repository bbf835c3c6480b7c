"""Stretches of time: temporal IoU and F1 (Charades-STA, QVHighlights, ActivityNet Captions).

    tIoU([a, b], [c, d]) = max(0, min(b, d) - max(a, c)) / (b - a + d - c - overlap)
    F1@t = 2 m / (said + gold), m = the most one-to-one pairs with tIoU >= t

`interval` gives tIoU where it is .5 or more, `several` the mean of F1 at .3, .5 and .7 where it is
.5 or more. Closed holes: reversed or empty stretches and NaN are refused; stretches of one answer
may not overlap, so neither the whole video nor a fence of windows over it is worth anything.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from rl.answers.json_answer import parse_json
from rl.types import Json

THRESHOLDS = (0.3, 0.5, 0.7)
GATE = 0.5
MAX_SECONDS = 100_000
MAX_INTERVALS = 50
Interval = tuple[float, float]


def tiou(one: Interval, other: Interval) -> float:
    """Overlap over union; 0 where either is empty."""
    overlap = max(0.0, min(one[1], other[1]) - max(one[0], other[0]))
    union = max(0.0, one[1] - one[0]) + max(0.0, other[1] - other[0]) - overlap
    return overlap / union if overlap > 0 and union > 0 else 0.0


def f1(said: Sequence[Interval], gold: Sequence[Interval], threshold: float) -> float:
    """F1 of a largest one-to-one matching at a tIoU; both empty = 1."""
    if not said and not gold:
        return 1.0
    allowed = [[j for j, g in enumerate(gold) if tiou(s, g) >= threshold] for s in said]
    taken: dict[int, int] = {}

    def place(i: int, tried: set[int]) -> bool:
        """Finds a partner for i, moving others where need be (Kuhn)."""
        for j in allowed[i]:
            if j not in tried:
                tried.add(j)
                if j not in taken or place(taken[j], tried):
                    taken[j] = i
                    return True
        return False

    matched = sum(place(i, set()) for i in range(len(said)))
    return 2 * matched / (len(said) + len(gold))


def parse_intervals(answer: str) -> list[Interval] | None:
    """`[a,b]`, `[[a,b],[c,d]]` or `[a,b],[c,d]` in seconds, each with a < b; else None."""
    said = answer.strip()
    value = parse_json(said, 4000, 2) if said.startswith("[[") else parse_json(f"[{said}]", 4000, 2)
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_INTERVALS:
        return None
    found = []
    for pair in value:
        if not isinstance(pair, list) or len(pair) != 2 or not all(_is_time(t) for t in pair):
            return None
        if pair[0] >= pair[1]:
            return None
        found.append((float(pair[0]), float(pair[1])))
    return found


def interval(answer: str, reference: Mapping[str, Json]) -> float:
    """tIoU of the one stretch with reference["interval"]; 0 below the gate."""
    said = parse_intervals(answer)
    if said is None or len(said) != 1:
        return 0.0
    start, end = reference["interval"]
    return _gated(tiou(said[0], (start, end)))


def several(answer: str, reference: Mapping[str, Json]) -> float:
    """Mean F1 at THRESHOLDS with reference["intervals"]; 0 below the gate or if some overlap."""
    said = parse_intervals(answer)
    if said is None:
        return 0.0
    in_order = sorted(said)
    if any(a[1] > b[0] for a, b in pairwise(in_order)):
        return 0.0
    gold = [(start, end) for start, end in reference["intervals"]]
    return _gated(sum(f1(said, gold, t) for t in THRESHOLDS) / len(THRESHOLDS))


def _gated(score: float) -> float:
    return score if score >= GATE else 0.0


def _is_time(value: Json) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and 0 <= value <= MAX_SECONDS
