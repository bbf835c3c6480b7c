"""Pictures of the runs of `mmtp_ablation.py`: curves, differences with intervals, a heat map."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.ablations import Run, curve
from benchmarks.mmtp_ablation_tables import BASE, TITLES, differences, matrix, summarise

HEADS = {"loss/main": "main head", "loss/mtp_1": "depth 1", "loss/mtp_2": "depth 2"}
SMOOTH = 10  # steps per point
COMPARED = ("loss/main", "loss/mtp_1", "loss/mtp_2", "heldout/acceptance/length", "length")


def drawings(runs: Sequence[Run]) -> dict[str, Any]:
    """Figures by name: `curves`, `differences`, `matrix`."""
    summary = summarise(runs)
    done = [r for r in runs if r.seed in next(iter(summary[BASE].values()), {})]
    shown = {TITLES[n][0]: differences(summary, n) for n in COMPARED if n in summary[BASE]}
    return {
        "curves": curves(done, BASE),
        "differences": bars(shown, BASE),
        "matrix": heat_map(matrix(runs)),
    }


def curves(runs: Sequence[Run], base: str) -> Figure:
    """Losses of each head, and below them the difference to `base` within each seed.

    Lines are means over seeds and bands reach from the lowest to the highest; points are means of
    SMOOTH steps.
    """
    figure = Figure(figsize=(12, 6), layout="constrained")
    axes = figure.subplots(2, len(HEADS), squeeze=False, sharex=True)
    arms = list(dict.fromkeys(run.variant for run in runs))
    for column, (metric, title) in enumerate(HEADS.items()):
        values = {arm: smoothed(runs, arm, metric) for arm in arms}
        for number, arm in enumerate(arms):
            steps, found = values[arm]
            band(axes[0, column], steps, found, arm, f"C{number}")
            if arm != base:
                band(axes[1, column], steps, found - values[base][1], arm, f"C{number}")
        axes[0, column].set_title(f"loss, {title}", fontsize=10)
        axes[1, column].set_title(f"minus {base}", fontsize=10)
        axes[1, column].axhline(0, color="grey", linewidth=0.8)
        axes[1, column].set_xlabel("step", fontsize=8)
    for ax in axes.flat:
        ax.grid(alpha=0.3)
    axes[0, 0].legend(fontsize=7)
    return figure


def smoothed(
    runs: Sequence[Run], arm: str, metric: str
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "seeds n"]]:
    """(steps, values of each seed), a point per SMOOTH steps, or one where there are fewer."""
    rows = [np.asarray(curve(run, metric)) for run in runs if run.variant == arm]
    found = np.stack(rows)
    size = min(SMOOTH, found.shape[1])
    count = found.shape[1] // size
    means = found[:, : count * size].reshape(len(rows), count, size, 2).mean(axis=2)
    return means[0, :, 0], means[:, :, 1]


def band(
    ax: Axes,
    steps: Float[np.ndarray, " n"],
    values: Float[np.ndarray, "seeds n"],
    label: str,
    color: str,
) -> None:
    """A line of means in a band from the lowest to the highest seed."""
    ax.plot(steps, values.mean(axis=0), color, label=label, linewidth=1.3)
    low, high = values.min(axis=0), values.max(axis=0)
    ax.fill_between(steps, low, high, color=color, alpha=0.15, linewidth=0)


def bars(shown: Mapping[str, Mapping[str, Any]], base: str) -> Figure:
    """Differences to `base` with their intervals: {figure: {arm: (mean, half of the interval)}}."""
    figure = Figure(figsize=(3.2 * max(len(shown), 1), 3.4), layout="constrained")
    for ax, (title, found) in zip(
        figure.subplots(1, max(len(shown), 1), squeeze=False)[0], shown.items(), strict=False
    ):
        means, halves = zip(*found.values(), strict=True)
        halves = np.nan_to_num(halves)
        colors = [f"C{i}" for i in range(len(found) + 1) if i != 3]
        ax.bar(list(found), means, yerr=halves, capsize=4, color=colors[: len(found)], alpha=0.7)
        ax.axhline(0, color="grey", linewidth=0.8)
        ax.set_title(f"{title}\nminus {base}", fontsize=9)
        ax.tick_params(axis="x", rotation=35, labelsize=7)
        ax.grid(alpha=0.3, axis="y")
    return figure


def heat_map(lengths: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Mean acceptance length: rows are what was trained, columns what is served."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    ax = figure.subplots()
    served = list(next(iter(lengths.values()), {}))
    values = np.array([[np.mean(row[arm]) for arm in served] for row in lengths.values()])
    values = values.reshape(len(lengths), len(served))
    image = ax.imshow(values, aspect="auto", cmap="viridis")
    for (row, column), value in np.ndenumerate(values):
        text = {"ha": "center", "va": "center", "color": "white", "fontsize": 9}
        ax.text(column, row, f"{value:.2f}", **text)
    ax.set_xticks(range(len(served)), served, rotation=25, fontsize=8)
    ax.set_yticks(range(len(lengths)), list(lengths), fontsize=8)
    ax.set_xlabel("served")
    ax.set_ylabel("trained")
    ax.set_title("acceptance length", fontsize=10)
    figure.colorbar(image, ax=ax)
    return figure
