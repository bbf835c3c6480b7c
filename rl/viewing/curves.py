"""Rewards of every source over the steps, a panel each, with bands of 95 %."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from cogvit_jax.metrics import read_jsonl
from cogvit_jax.settings import ConfigError

Z = 1.96  # of an interval of 95 %
COLUMNS = 4
# Of `rl.metrics`, and of `rl.rewards.metrics`.
MEAN = re.compile(r"^(?:rl/source/(?P<rl>.+)/reward_mean|reward/source/(?P<reward>.+)/mean)$")
COLOUR, SECOND = "#4c72b0", "#dd8452"


class Curve(NamedTuple):
    """Rewards of a source: steps, means, half the width of the band, and pass@k with the largest k.

    The band is NaN where nothing says how wide it is.
    """

    steps: np.ndarray
    means: np.ndarray
    halves: np.ndarray
    passed: np.ndarray
    k: int


def curves(rows: Sequence[Mapping[str, Any]]) -> dict[str, Curve]:
    """Source -> its curve, from the lines of metrics.jsonl; sources by name."""
    points: dict[str, list[tuple[float, ...]]] = {}
    largest: dict[str, int] = {}
    for row in rows:
        for key in filter(MEAN.match, row):
            match = MEAN.match(key)
            assert match is not None
            name = match["rl"] or match["reward"]
            if match["reward"] and f"rl/source/{name}/reward_mean" in row:
                continue
            stem = key.rpartition("/")[0]
            k = _largest_k(row, stem)
            largest[name] = max(largest.get(name, 0), k)
            passed = row.get(f"{stem}/pass_at_{k}", math.nan)
            point = (row["step"], row[key], _half(row, stem), passed)
            points.setdefault(name, []).append(tuple(map(float, point)))
    columns = {name: np.array(sorted(points[name])).T for name in sorted(points)}
    return {
        name: Curve(array[0], array[1], array[2], array[3], largest[name])
        for name, array in columns.items()
    }


def smoothed(curve: Curve, window: int) -> Curve:
    """Means over the last `window` points of a curve; bands as of independent points."""
    if window <= 1:
        return curve
    means, halves, passed = (
        np.array([how(line[max(0, i + 1 - window) : i + 1]) for i in range(len(line))])
        for line, how in (
            (curve.means, np.mean),
            (curve.halves, lambda part: math.sqrt(float(np.sum(part**2))) / len(part)),
            (curve.passed, np.mean),
        )
    )
    return curve._replace(means=means, halves=halves, passed=passed)


def figure(found: Mapping[str, Curve]) -> Figure:
    """A panel of each source."""
    columns = min(COLUMNS, len(found))
    lines = -(-len(found) // columns)
    drawn = Figure(figsize=(3.4 * columns, 2.5 * lines + 0.3), layout="constrained")
    panels = drawn.subplots(lines, columns, squeeze=False).ravel()
    for axes, (name, curve) in zip(panels, found.items(), strict=False):
        axes.plot(curve.steps, curve.means, color=COLOUR, linewidth=1.3, label="mean")
        low, high = curve.means - curve.halves, curve.means + curve.halves
        axes.fill_between(curve.steps, low, high, color=COLOUR, alpha=0.25, linewidth=0)
        if curve.k > 1:
            label = f"pass@{curve.k}"
            axes.plot(curve.steps, curve.passed, color=SECOND, linewidth=1, label=label)
            axes.legend(fontsize=6, loc="lower right")
        axes.set_title(name, fontsize=9)
        axes.set_ylim(-0.03, 1.03)
        axes.grid(alpha=0.3)
        axes.tick_params(labelsize=7)
    for axes in panels[len(found) :]:
        axes.remove()
    return drawn


def draw(metrics_file: str | Path, target: str | Path, window: int = 1) -> list[str]:
    """Writes the picture of a run; returns the names of its sources.

    Args:
        metrics_file: metrics.jsonl of the run.
        target: the PNG to write.
        window: steps of the mean that is drawn.

    Raises:
        ConfigError: the file has no rewards.
    """
    found = curves(read_jsonl(Path(metrics_file)))
    if not found:
        raise ConfigError(f"{metrics_file} has no rewards of sources")
    figure({name: smoothed(curve, window) for name, curve in found.items()}).savefig(
        target, dpi=110
    )
    return list(found)


def _half(row: Mapping[str, Any], stem: str) -> float:
    """Half the band: of the groups' error, else as if rollouts were independent."""
    error = row.get(f"{stem}/reward_error")
    if error is not None:
        return Z * float(error)
    std = row.get(f"{stem}/std", row.get(f"{stem}/reward_std", math.nan))
    return Z * float(std) / math.sqrt(row.get(f"{stem}/rollouts") or math.nan)


def _largest_k(row: Mapping[str, Any], stem: str) -> int:
    """Of the pass@k that the row has; 1 where it has none."""
    start = f"{stem}/pass_at_"
    return max((int(key[len(start) :]) for key in row if key.startswith(start)), default=1)
