"""How much each level of the hierarchy counts: fixed, by schedule, or as the one before is learned.

The report's hierarchy (§4) goes from elements over grounding and single steps to trajectories.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from rl.types import LEVELS, Json

Weights = dict[str, float]


def fixed(settings: Any, state: Mapping[str, Json]) -> Weights:
    """The weights at the start, for good."""
    return _present(state, {level: first for level, (first, _) in _ends(settings).items()})


def schedule(settings: Any, state: Mapping[str, Json]) -> Weights:
    """A straight line from the weights at the start to those at the end."""
    done = min(1.0, state["drawn"] / settings.level_tasks)
    ends = _ends(settings)
    return _present(state, {v: first + (last - first) * done for v, (first, last) in ends.items()})


def mastery(settings: Any, state: Mapping[str, Json]) -> Weights:
    """Weights move from start to end as the nearest level below, if there is one, is learned.

    A level is as far as the mean pass rate of its cells that have been tried is between the two of
    `settings.mastery`; the lowest level present follows its own. Give higher levels a small weight
    at the start, not 0, if they are to be tried at all before.
    """
    low, high = settings.mastery
    rates: dict[str, list[float]] = {level: [] for level in LEVELS}
    for name, groups in state["groups"].items():
        if groups:
            rates[state["levels"][name.rpartition("/")[0]]].append(state["rates"][name])
    present = [level for level in LEVELS if level in state["levels"].values()]
    weights = {}
    for place, level in enumerate(present):
        below = rates[present[max(0, place - 1)]]
        mean = math.fsum(below) / len(below) if below else 0.0
        done = min(1.0, max(0.0, (mean - low) / (high - low)))
        first, last = _ends(settings)[level]
        weights[level] = first + (last - first) * done
    return _present(state, weights)


LEVEL_WEIGHTS: dict[str, Callable[[Any, Mapping[str, Json]], Weights]] = {
    "fixed": fixed,
    "schedule": schedule,
    "mastery": mastery,
}


def _ends(settings: Any) -> dict[str, tuple[float, float]]:
    ends = dict.fromkeys(LEVELS, (1.0, 1.0))
    return ends | {level: (first, last) for level, first, last in settings.levels}


def _present(state: Mapping[str, Json], weights: Weights) -> Weights:
    """Of levels that have categories, summing to 1; equal where all are 0."""
    found = {v: weights[v] for v in LEVELS if v in state["levels"].values()}
    whole = math.fsum(found.values())
    return {v: w / whole if whole else 1 / len(found) for v, w in found.items()}
