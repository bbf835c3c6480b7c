"""Pictures of the runs of `rl_ablation.py`: curves of each variant, and what carries over."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.ablations import Run, curve
from benchmarks.rl_ablation_tables import BLANK, HELD_OUT, START, summarise, transfer

PANELS = {
    "rl/reward_mean": "reward, trained tasks",
    HELD_OUT: "reward, held out",
    BLANK: "reward, grey pictures",
    "grad_norm": "gradient norm",
    "staleness/mean": "staleness, versions",
    "rl/schedule/wasted": "tokens wasted",
}
SMOOTHED = ("rl/reward_mean", "grad_norm", "staleness/mean")
SMOOTH = 5  # steps per point


def drawings(runs: Sequence[Run]) -> dict[str, Figure]:
    """Figures by name: `curves`, and `transfer` where runs were trained on one category."""
    gains = transfer(summarise(runs))
    return {"curves": curves(runs)} | ({"transfer": heat_map(gains)} if gains else {})


def curves(runs: Sequence[Run]) -> Figure:
    """A panel per metric that any run has; lines are means over seeds in a band of their range.

    Held-out rewards begin at step 0 with those of `start`.
    """
    metrics = [m for m in PANELS if any(points(runs, run, m) for run in trained(runs))]
    figure = Figure(figsize=(4.2 * min(3, len(metrics)), 3.1 * -(-len(metrics) // 3)))
    figure.set_layout_engine("constrained")
    axes = figure.subplots(-(-len(metrics) // 3), min(3, len(metrics)), squeeze=False).ravel()
    for ax, metric in zip(axes, metrics, strict=False):
        for number, variant in enumerate(dict.fromkeys(run.variant for run in trained(runs))):
            found = [points(runs, r, metric) for r in trained(runs) if r.variant == variant]
            _band(ax, [one for one in found if one], variant, f"C{number}")
        ax.set_title(PANELS[metric], fontsize=10)
        ax.set_xlabel("step", fontsize=8)
        ax.grid(alpha=0.3)
    for ax in axes[len(metrics) :]:
        ax.remove()
    axes[0].legend(fontsize=7)
    return figure


def trained(runs: Sequence[Run]) -> list[Run]:
    """All but `start`."""
    return [run for run in runs if run.variant != START]


def points(runs: Sequence[Run], run: Run, metric: str) -> list[tuple[float, float]]:
    """(step, value) of a curve: means of SMOOTH steps, or of the evaluations with the start."""
    if not (run.workdir / "metrics.jsonl").exists():
        return []
    found = [(float(step), value) for step, value in curve(run, metric)]
    if metric in SMOOTHED and len(found) >= 2 * SMOOTH:
        parts = [found[i : i + SMOOTH] for i in range(0, len(found) - SMOOTH + 1, SMOOTH)]
        return [
            (statistics.mean(s for s, _ in part), statistics.mean(v for _, v in part))
            for part in parts
        ]
    if metric in (HELD_OUT, BLANK):
        begun = [r for r in runs if r.variant == START and r.seed == run.seed and r.is_complete]
        found = [(0.0, curve(r, metric)[-1][1]) for r in begun if curve(r, metric)] + found
    return found


def _band(ax: Axes, found: Sequence[Any], label: str, color: str) -> None:
    """Of as many points as all seeds have."""
    if not found:
        return
    columns = list(zip(*found, strict=False))
    steps = [column[0][0] for column in columns]
    values = [[value for _, value in column] for column in columns]
    ax.plot(steps, list(map(statistics.mean, values)), color, label=label, linewidth=1.3)
    low, high = list(map(min, values)), list(map(max, values))
    ax.fill_between(steps, low, high, color=color, alpha=0.15, linewidth=0)


def heat_map(gains: Mapping[str, Mapping[str, float]]) -> Figure:
    """Gains of held-out reward: rows are what was trained on, columns what was asked."""
    names = list(next(iter(gains.values())))
    values = np.array([[row[name] for name in names] for row in gains.values()])
    reach = float(max(0.05, np.abs(values).max()))
    figure = Figure(figsize=(1.5 + 1.0 * len(names), 1.5 + 0.5 * len(gains)), layout="constrained")
    ax = figure.subplots()
    image = ax.imshow(values, aspect="auto", cmap="RdBu", vmin=-reach, vmax=reach)
    for (row, column), value in np.ndenumerate(values):
        ax.text(column, row, f"{value:+.2f}", ha="center", va="center", fontsize=8)
    ax.set_xticks(range(len(names)), names, rotation=25, fontsize=8)
    ax.set_yticks(range(len(gains)), list(gains), fontsize=8)
    ax.set_xlabel("asked")
    ax.set_ylabel("trained on")
    ax.set_title("gain of held-out reward", fontsize=10)
    figure.colorbar(image, ax=ax)
    return figure
