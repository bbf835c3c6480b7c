"""Shares to whole numbers: quotas, largest remainders, and systematic sampling."""

import math
from collections.abc import Mapping

from cogvit_jax.settings import ConfigError

Shares = Mapping[str, float]


def within_quotas(
    weights: Shares, least: Mapping[str, float], most: Mapping[str, float]
) -> dict[str, float]:
    """Shares that sum to 1, in proportion to the weights wherever a quota does not bind.

    Each share is clip(s · weight, least, most) for the one s at which they sum to 1.

    Args:
        weights: 0 or more; where all that are free are 0, they are as if equal.
        least, most: of some names; 0 and 1 for others.

    Raises:
        ConfigError: no shares keep the quotas.
    """
    low = {name: least.get(name, 0.0) for name in weights}
    high = {name: most.get(name, 1.0) for name in weights}
    if sum(low.values()) > 1 + 1e-9 or sum(high.values()) < 1 - 1e-9:
        raise ConfigError(
            f"quotas of {sorted(weights)} cannot be kept: their least shares sum to "
            f"{sum(low.values()):.3g}, their greatest to {sum(high.values()):.3g}."
        )
    floor = max(max(weights.values()), 1e-30) * 1e-12  # so that s is finite
    scaled = {name: max(weight, floor) for name, weight in weights.items()}

    def shares(scale: float) -> dict[str, float]:
        return {n: min(high[n], max(low[n], scale * w)) for n, w in scaled.items()}

    below, above = 0.0, 1.0 / min(scaled.values())
    for _ in range(200):
        middle = (below + above) / 2
        if sum(shares(middle).values()) < 1:
            below = middle
        else:
            above = middle
    return shares(above)


def largest_remainder(
    shares: Shares, total: int, least: Mapping[str, int], most: Mapping[str, int]
) -> dict[str, int]:
    """Whole numbers that sum to `total`, nearest to the shares of it, within bounds.

    Everyone has the whole part of what is due to it; what is left goes to the largest remainders,
    and, of equal ones, to the first name.

    Raises:
        ConfigError: no whole numbers keep the bounds.
    """
    due = {name: shares[name] * total for name in sorted(shares)}
    low = {name: least.get(name, 0) for name in due}
    high = {name: most.get(name, total) for name in due}
    counts = {name: min(high[name], max(low[name], math.floor(d))) for name, d in due.items()}
    while (left := total - sum(counts.values())) != 0:
        step = 1 if left > 0 else -1
        free = [n for n in due if low[n] <= counts[n] + step <= high[n]]
        if not free:
            raise ConfigError(f"quotas cannot be kept in a window of {total}: make it longer.")
        best = max(free, key=lambda n: step * (due[n] - counts[n]))
        counts[best] += step
    return counts


def systematic(shares: Shares, total: int, offset: float) -> dict[str, int]:
    """Whole numbers that sum to `total`, each the share of it rounded up or down.

    Over offsets that are uniform in 0 … 1, each is what is due on average (systematic sampling), so
    that also a small share has its turn.
    """
    whole = math.fsum(shares.values())
    counts: dict[str, int] = {}
    reached, given = 0.0, 0
    names = sorted(shares)
    for name in names:
        reached += shares[name] / whole * total
        upto = total if name == names[-1] else min(total, math.floor(reached + offset))
        counts[name], given = upto - given, upto
    return counts
