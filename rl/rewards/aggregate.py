"""How several verdicts become one.

An aggregation is a function of values and abstentions (None), which never falls when a value rises:

    weighted_sum              Σ wᵢ vᵢ / Σ wᵢ over those that did not abstain
    product                   Π vᵢ over those that did not abstain
    min                       the least of those that did not abstain
    first                     the first in order that did not abstain
    gate                      0 where the first is below `threshold`, else the rest's weighted sum
    format_times_correctness  first · weighted sum of the rest; a first of 0 is 0 whatever they say
    majority                  1 where more votes are above ½ than below, 0 where fewer are
    median                    the middle value, or the mean of the two

A first part that abstains is left out: it neither scales nor stops the rest.
Where all abstain, where no part is left, and where votes are even, the outcome is an abstention.

A verifier that failed, or that has not answered yet, could have said anything. So the outcome is a
value or an abstention only where it is the same whatever those would have said: a product with a 0
is 0 though another part failed, a weighted sum with a failed part is an error. It follows that the
outcome depends neither on who answers first nor on whom one still waits for.
"""

import asyncio
import itertools
import math
import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from rl.types import Verdict

MAX_PARTS = 7  # 3^parts outcomes are looked at where none has answered
Values = Sequence[float | None]


@dataclass(frozen=True)
class Recipe:
    """What is asked of a rollout, and what becomes of the answers.

    Attributes:
        aggregation: one of AGGREGATIONS.
        verifiers: one of `rl.rewards.local.VERIFIERS`, "rule", or "judge:NAME".
        weights: of each, in sums; () = all equal.
        threshold: what the first must reach, in "gate".
    """

    aggregation: str
    verifiers: tuple[str, ...]
    weights: tuple[float, ...] = ()
    threshold: float = 1.0


def weighted_sum(values: Values, recipe: Recipe) -> float | None:
    """A mean, in effect: weights are of those that did not abstain."""
    return _mean(list(zip(values, _weights(values, recipe), strict=True)))


def product(values: Values, recipe: Recipe) -> float | None:
    """All must be right."""
    del recipe
    said = _said(values)
    return math.prod(said) if said else None


def least(values: Values, recipe: Recipe) -> float | None:
    """As good as the worst."""
    del recipe
    return min(_said(values), default=None)


def first(values: Values, recipe: Recipe) -> float | None:
    """The others are asked only where those before abstain."""
    del recipe
    return next((v for v in values if v is not None), None)


def gate(values: Values, recipe: Recipe) -> float | None:
    """The first decides whether the rest count."""
    if values[0] is not None and values[0] < recipe.threshold:
        return 0.0
    return _rest(values, recipe)


def format_times_correctness(values: Values, recipe: Recipe) -> float | None:
    """The first scales the rest."""
    if values[0] == 0:
        return 0.0
    rest = _rest(values, recipe)
    return rest if rest is None or values[0] is None else values[0] * rest


def majority(values: Values, recipe: Recipe) -> float | None:
    """A vote of exactly ½ is none."""
    del recipe
    said = _said(values)
    ayes, noes = sum(v > 0.5 for v in said), sum(v < 0.5 for v in said)
    return None if ayes == noes else float(ayes > noes)


def median(values: Values, recipe: Recipe) -> float | None:
    """One outlier moves nothing."""
    del recipe
    said = _said(values)
    return statistics.median(said) if said else None


Combine = Callable[[Values, Recipe], float | None]
AGGREGATIONS: dict[str, Combine] = {
    "weighted_sum": weighted_sum,
    "product": product,
    "min": least,
    "first": first,
    "gate": gate,
    "format_times_correctness": format_times_correctness,
    "majority": majority,
    "median": median,
}
ONE_BY_ONE = ("first",)  # later ones are asked only where it matters


def decide(name: str, recipe: Recipe, verdicts: Sequence[Verdict | None]) -> Verdict | None:
    """The verdict that these make together, or None where it depends on those that are missing.

    Args:
        name: of the verdict.
        recipe: how.
        verdicts: in the order of its verifiers; None = not there yet.
    """
    combine = AGGREGATIONS[recipe.aggregation]
    values: list[float | None] = [v.value if v is not None else None for v in verdicts]
    free = [i for i, v in enumerate(verdicts) if v is None or v.kind == "error"]
    outcomes: set[float | None] = set()
    # As no aggregation falls when a value rises, what holds for 0 and 1 holds between.
    for guess in itertools.product((0.0, 1.0, None), repeat=len(free)):
        for i, value in zip(free, guess, strict=True):
            values[i] = value
        outcomes.add(combine(values, recipe))
        if len(outcomes) > 1:
            break
    if len(outcomes) == 1:
        return _settled(name, outcomes.pop(), verdicts)
    if any(v is None for v in verdicts):
        return None
    return Verdict.error(name, _reasons("error", verdicts))


async def resolve(
    name: str,
    recipe: Recipe,
    known: Sequence[Verdict | None],
    ask: Mapping[int, Callable[[], Awaitable[Verdict]]],
) -> tuple[Verdict, list[Verdict | None]]:
    """Asks until the outcome stands, then lets go of those that have not answered.

    Args:
        name: of the verdict.
        recipe: how verdicts become one.
        known: verdicts that are there; None at the places that `ask` fills.
        ask: by place.

    Returns:
        The verdict, and all verdicts, None where none was needed.
    """
    verdicts, waiting = list(known), dict(ask)
    running: dict[asyncio.Future[Verdict], int] = {}
    try:
        while (outcome := decide(name, recipe, verdicts)) is None:
            while waiting and not (running and recipe.aggregation in ONE_BY_ONE):
                place = min(waiting)
                running[asyncio.ensure_future(waiting.pop(place)())] = place
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for future in done:
                verdicts[running.pop(future)] = future.result()
        return outcome, verdicts
    finally:
        for future in running:
            future.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _settled(name: str, value: float | None, verdicts: Sequence[Verdict | None]) -> Verdict:
    if value is not None:
        return Verdict.of(value, name)
    return Verdict.abstain(name, _reasons("abstain", verdicts) or "the votes are even")


def _reasons(kind: str, verdicts: Sequence[Verdict | None]) -> str:
    return "; ".join(f"{v.verifier}: {v.reason}" for v in verdicts if v and v.kind == kind)


def _weights(values: Values, recipe: Recipe) -> tuple[float, ...]:
    return recipe.weights or (1.0,) * len(values)


def _rest(values: Values, recipe: Recipe) -> float | None:
    return _mean(list(zip(values, _weights(values, recipe), strict=True))[1:])


def _mean(weighted: list[tuple[float | None, float]]) -> float | None:
    said = [(v, w) for v, w in weighted if v is not None]
    if not said:
        return None
    return min(1.0, math.fsum(v * w for v, w in said) / math.fsum(w for _, w in said))


def _said(values: Values) -> list[float]:
    return [v for v in values if v is not None]
