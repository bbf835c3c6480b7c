"""Synchronous and asynchronous rollouts on a virtual clock: speed, idle time, staleness, bias.

    python -m benchmarks.rl_simulator --plot=timeline.png

SIMULATED: the schedule is the one that trains (rl/rollout/schedule.py); engines, judge and trainer
are models with the numbers of rl/rollout/simulate_report.py. Takes about two minutes on one core.
"""

import argparse
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from rl.rollout.simulate import Simulation, simulate
from rl.rollout.simulate_discard import Discarding, ks, simulate_discarding
from rl.rollout.simulate_report import GENERATION_BOUND, MODES, VERL_7B, Cluster, mode, report

CLUSTERS = {"verl 7B, 128 H20": VERL_7B, "generation-bound": GENERATION_BOUND}
COLUMNS = {
    "seconds_per_step": "s/step",
    "samples_per_second": "samples/s",
    "tokens_per_second": "tokens/s",
    "trainer_idle": "trainer idle",
    "engine_idle": "engines idle",
    "occupancy": "rows used",
    "wasted": "wasted",
    "continued": "continued",
    "staleness": "staleness",
    "max_staleness": "max",
    "ks": "KS",
    "ks_midway": "KS midway",
}
SHARES = ("trainer_idle", "engine_idle", "occupancy", "wasted")


def main() -> None:
    """Prints the tables and draws the timelines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--scale", type=float, default=1 / 8, help="of accelerators and groups")
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    for name, cluster in CLUSTERS.items():
        cluster = cluster.scaled(args.scale)
        runs = _table(name, cluster, args.steps, args.seed)
        if args.plot:
            target = args.plot.with_stem(f"{args.plot.stem}_{name.split(',')[0].replace(' ', '_')}")
            timelines(target, f"{name} (simulated)", runs)


def _table(name: str, cluster: Cluster, steps: int, seed: int) -> dict[str, Simulation]:
    table = Table("mode", "speed", *COLUMNS.values(), title=f"{name}, SIMULATED")
    runs, synchronous, began = {}, None, time.perf_counter()
    for each in MODES:
        settings, model = mode(each, cluster, steps)
        runs[each] = simulate(settings, model, seed)
        figures = report(runs[each])
        synchronous = synchronous or figures["samples_per_second"]
        table.add_row(each, f"{figures['samples_per_second'] / synchronous:.2f}×", *_cells(figures))
    for age in (1, 2):
        settings, model = mode(f"asynchronous, η = {age}", cluster, steps)
        for requeue in (False, True):
            run = simulate_discarding(settings, model, seed, requeue)
            figures = _of_discarding(run)
            label = f"older than {age} {'put back' if requeue else 'discarded'}"
            speed = figures["samples_per_second"] / (synchronous or 1.0)
            table.add_row(label, f"{speed:.2f}×", *_cells(figures))
    console = Console(width=180)
    console.print(table)
    console.print(f"{cluster}, {steps} steps: {time.perf_counter() - began:.0f} s of computing")
    return runs


def _cells(figures: Mapping[str, float]) -> list[str]:
    cells = []
    for name in COLUMNS:
        value = figures.get(name)
        if value is None:
            cells.append("")
        elif name in SHARES:
            cells.append(f"{value:.1%}")
        elif name.startswith("ks"):
            cells.append(f"{value:.3f}")
        else:
            cells.append(f"{value:.3g}" if value < 1000 else f"{value:.0f}")
    return cells


def _of_discarding(run: Discarding) -> dict[str, float]:
    ends = run.step_ends
    begin = len(ends) // 4
    seconds = (ends[-1] - ends[begin]) / (len(ends) - 1 - begin)
    samples = run.settings.batch_groups * run.settings.group_size
    return {
        "seconds_per_step": seconds,
        "samples_per_second": samples / seconds,
        "wasted": run.wasted / run.generated,
        "ks": ks(run),
    }


def timelines(
    target: Path, title: str, runs: Mapping[str, Simulation], shown: float = 1500
) -> None:
    """Per mode: requests that run, trainer steps and publications over time, as a PNG."""
    figure = Figure(figsize=(11, 1.45 * len(runs) + 0.8), layout="constrained")
    figure.suptitle(title, fontsize=10)
    axes = figure.subplots(len(runs), 1, sharex=True, squeeze=False)[:, 0]
    for ax, (name, run) in zip(axes, runs.items(), strict=True):
        times, running = np.asarray(run.timeline.running, float).T
        ax.fill_between(times, running, step="post", alpha=0.4, label="requests that run")
        top = running.max()
        for spans, height, colour, label in (
            (run.timeline.steps, 1.06, "tab:orange", "trainer steps"),
            (run.timeline.publications, 1.2, "tab:green", "weights published"),
        ):
            bars = [(begin, max(end - begin, shown / 500)) for begin, end in spans]
            place = (height * top, 0.1 * top)
            ax.broken_barh(bars, place, facecolors=colour, edgecolor="white", label=label)
        for place in run.timeline.aborts:
            ax.axvline(place, color="tab:red", linewidth=0.8, linestyle=":")
        ax.set_title(name, fontsize=8, loc="left", pad=2)
        ax.set_xlim(0, shown)
        ax.set_ylim(0, 1.35 * top)
        ax.tick_params(labelsize=7)
    axes[0].legend(fontsize=6, loc="upper right", ncols=3)
    axes[-1].set_xlabel("seconds of the virtual clock; dotted: aborts", fontsize=8)
    figure.savefig(target, dpi=110)


if __name__ == "__main__":
    main()
