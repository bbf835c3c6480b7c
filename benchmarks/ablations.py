"""Stage 1's ablations on the small setting: every variant with several seeds, a table and a plot.

    python -m benchmarks.ablations --ablation=teachers
    python -m benchmarks.ablations --ablation=all --seeds=0,1,2 --markdown=ablations.md --plot=plots

Each run is `cogvit_jax.main` with a config of `configs/ablations/`, in a process of its own; one
that is complete is not repeated, so that the command can be stopped and started again. About 36
runs of half a minute for all, and two minutes, once, for the semantic teacher.

What may be compared: runs of one ablation and seed see the same pictures in the same order, with
the same crops. Losses are means over the last quarter of training, each of the batch of its step.
They are left out where variants are asked different things: with other masks the task is harder or
easier, and in another normalisation the same error has another size. Probes can be compared
everywhere. All is of a tiny student after 200 steps, and says little about a pod run.
"""

import argparse
import dataclasses
import importlib
import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import Progress

from cogvit_jax.metrics import read_jsonl

REPOSITORY = Path(__file__).parents[1]
ABLATIONS = ("teachers", "mask_ratio", "normalization", "qk_norm", "optimizer")
OTHERS = ("mmtp",)  # planned and trained here, with tables of their own: mmtp_ablation.py
MAINS = {"vlm": "mmtp.main", "rl": "rl.main"}  # of programs that are not cogvit_jax's
# Metric -> what tables and panels call it. Of those that begin with one of LAST_QUARTER the mean
# over the last quarter's logs counts, of the others the last.
METRICS = {
    "loss/semantic": "loss, semantic",
    "loss/texture": "loss, texture",
    "cosine/semantic": "cosine, semantic",
    "cosine/texture": "cosine, texture",
    "knn/digits": "kNN, digits",
    "dense/correspondence_photos_heldout/pck": "correspondence",
    "attention/vision/max_logit": "max logit",
}
LAST_QUARTER = ("loss/", "cosine/")
DIFFERENT_TASKS = ("mask_ratio", "normalization")
BASELINES = {"knn/digits_random_encoder": "untrained encoder", "knn/digits_pixels_8": "pixels"}


@dataclasses.dataclass(frozen=True)
class Run:
    """One variant with one seed.

    Attributes:
        ablation, variant, seed: which.
        config: as `main` will see it.
        options: the flags that make it so.
        workdir: where it is or will be.
    """

    ablation: str
    variant: str
    seed: int
    config: Any
    options: tuple[str, ...]
    workdir: Path

    @property
    def is_complete(self) -> bool:
        """Whether its last checkpoint, which is written after everything else, is there."""
        return (self.workdir / "checkpoints" / str(self.config.train.steps)).is_dir()


def plan(
    ablation: str, seeds: Sequence[int], root: Path, steps: int = 0, smoke: bool = False
) -> list[Run]:
    """The runs of an ablation, variant by variant.

    A complete run of the very same config anywhere in `root` is taken as it is: the base setting
    is a variant of several ablations.

    Args:
        ablation: one of ABLATIONS or OTHERS.
        seeds: of the weights, the crops and the masks.
        root: workdirs are root/ablation/variant-seed.
        steps: in the place of the config's; 0 = those.
        smoke: two steps of the smallest model.

    Raises:
        ValueError: no such ablation, or a workdir that holds a run of another config.
    """
    if ablation not in ABLATIONS + OTHERS:
        raise ValueError(f"--ablation={ablation}: choose of {', '.join(ABLATIONS)}, all.")
    module = importlib.import_module(f"configs.ablations.{ablation}")
    known = {_saved(path): path.parent for path in sorted(root.glob("*/*/config.json"))}
    return [
        place(_make(module, ablation, variant, seed, root, steps, smoke), known)
        for variant in module.VARIANTS
        for seed in seeds
    ]


def _make(
    module: Any, ablation: str, variant: str, seed: int, root: Path, steps: int, smoke: bool
) -> Run:
    arg = variant + (":smoke" if smoke else "")
    file = f"{REPOSITORY}/configs/ablations/{ablation}.py"
    options = {"config": f"{file}:{arg}", "config.seed": seed}
    config = module.get_config(arg)
    config.seed = seed
    if steps:
        options["config.train.steps"] = config.train.steps = steps
    flags = tuple(f"--{name}={value}" for name, value in options.items())
    return Run(ablation, variant, seed, config, flags, root / ablation / f"{variant}-{seed}")


def place(run: Run, known: Mapping[str, Path]) -> Run:
    """The run where it is: in its own folder, or in that of a complete run of the same config.

    Raises:
        ValueError: its own folder holds a run of another config.
    """
    wanted, own = _canonical(run.config.to_dict()), run.workdir / "config.json"
    if own.exists():
        if _saved(own) != wanted:
            raise ValueError(
                f"{run.workdir} holds a run of another config (--steps, or an edited file): "
                "delete it or give another --workdir."
            )
        return run
    same = dataclasses.replace(run, workdir=known.get(wanted, run.workdir))
    return same if same.is_complete else run


def _saved(path: Path) -> str:
    return _canonical(json.loads(path.read_text("utf-8")))


def _canonical(config: Any) -> str:
    return json.dumps(config, sort_keys=True)


def run_all(runs: Sequence[Run], console: Console, processes: int = 1) -> None:
    """Trains what is not complete; a run that fails is a RuntimeError with the end of its log."""
    waiting = [run for run in runs if not run.is_complete]
    bar = Progress(console=console, disable=not console.is_terminal)
    with bar, ThreadPoolExecutor(processes) as pool:
        task = bar.add_task("runs", total=len(waiting))
        for run in pool.map(train, waiting):
            bar.advance(task)
            console.print(f"{run.ablation}: {run.variant}, seed {run.seed}: {run.workdir}")


def train(run: Run) -> Run:
    """Runs the main of the config's program, its output in workdir/log.txt."""
    run.workdir.mkdir(parents=True, exist_ok=True)
    workdir = run.workdir.absolute()
    main = MAINS.get(run.config.program, "cogvit_jax.main")
    command = [sys.executable, "-m", main, f"--workdir={workdir}", *run.options]
    log = workdir / "log.txt"
    with log.open("w", encoding="utf-8") as file:
        print(*command, file=file, flush=True)
        ended = subprocess.run(command, cwd=REPOSITORY, stdout=file, stderr=subprocess.STDOUT)
    if ended.returncode or not run.is_complete:
        lines = log.read_text("utf-8").splitlines()
        raise RuntimeError(f"{workdir} failed; the end of log.txt:\n" + "\n".join(lines[-12:]))
    return run


def curve(run: Run, metric: str) -> list[tuple[int, float]]:
    """(step, value) pairs of a metric; [] where the run has none."""
    rows = read_jsonl(run.workdir / "metrics.jsonl")
    return [(row["step"], float(row[metric])) for row in rows if metric in row]


def final(points: list[tuple[int, float]], metric: str) -> float:
    """What a run ends with, see METRICS."""
    if not metric.startswith(LAST_QUARTER):
        return points[-1][1]
    last = points[-1][0]
    return statistics.mean(value for step, value in points if step > 0.75 * last)


def summarise(runs: Sequence[Run]) -> dict[str, dict[str, list[float]]]:
    """{variant: {metric: final value of each seed}} of the metrics that can be compared."""
    found: dict[str, dict[str, list[float]]] = {}
    for run in runs:
        row = found.setdefault(run.variant, {})
        for metric in compared(run.ablation):
            points = curve(run, metric)
            if points:
                row.setdefault(metric, []).append(final(points, metric))
    return found


def compared(ablation: str) -> list[str]:
    """Metrics whose values mean the same in every variant."""
    hidden = LAST_QUARTER if ablation in DIFFERENT_TASKS else ()
    return [metric for metric in METRICS if not metric.startswith(hidden)]


def baselines(runs: Sequence[Run]) -> dict[str, float]:
    """kNN accuracy of what trained features must beat: means over the runs."""
    found = {name: [v for r in runs for _, v in curve(r, m)[-1:]] for m, name in BASELINES.items()}
    return {name: statistics.mean(values) for name, values in found.items() if values}


def cell(values: Sequence[float] | None) -> str:
    """Mean ± standard deviation over seeds; one seed has none."""
    if not values:
        return "–"
    mean = statistics.mean(values)
    digits = 3 if abs(mean) < 10 else 1
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean:.{digits}f}{spread}"


def cells(runs: Sequence[Run]) -> list[list[str]]:
    """A header and a row per variant, of the metrics that any variant has."""
    name, summary = runs[0].ablation, summarise(runs)
    metrics = [m for m in compared(name) if any(m in row for row in summary.values())]
    header = [name, *(METRICS[m] for m in metrics)]
    return [header, *([v, *(cell(row.get(m)) for m in metrics)] for v, row in summary.items())]


def note(runs: Sequence[Run]) -> str:
    """What a table's numbers are of."""
    seeds, steps = sorted({r.seed for r in runs}), runs[0].config.train.steps
    text = f"mean ± standard deviation over seeds {', '.join(map(str, seeds))}; {steps} steps"
    others = [f"{name} {value:.3f}" for name, value in baselines(runs).items()]
    return "; ".join([text, *(f"kNN of {x}" for x in others)])


def markdown(runs: Sequence[Run]) -> str:
    """A table with a row per variant, and what its numbers are of."""
    header, *rows = cells(runs)
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\n{note(runs)}\n"


def draw(runs: Sequence[Run]) -> Figure:
    """One panel per metric: a line per variant, the mean, in a band from lowest to highest seed."""
    metrics = [m for m in compared(runs[0].ablation) if any(curve(r, m) for r in runs)]
    metrics = [m for m in metrics if not m.startswith("cosine/")]
    figure = Figure(figsize=(3.6 * len(metrics), 3.2), layout="constrained")
    axes = figure.subplots(1, len(metrics), squeeze=False)[0]
    for ax, metric in zip(axes, metrics, strict=True):
        for i, variant in enumerate(dict.fromkeys(run.variant for run in runs)):
            found = [curve(r, metric) for r in runs if r.variant == variant]
            _line(ax, [points for points in found if points], variant, f"C{i}")
        ax.set_title(METRICS[metric], fontsize=10)
        ax.set_xlabel("step", fontsize=8)
        ax.grid(alpha=0.3)
        for name, value in baselines(runs).items() if metric.startswith("knn/") else ():
            ax.axhline(value, color="grey", linestyle=":", linewidth=1)
            at = {"transform": ax.get_yaxis_transform(), "ha": "right", "va": "top"}
            ax.text(1, value, name, fontsize=7, color="grey", **at)
    max(axes, key=lambda ax: len(ax.get_legend_handles_labels()[1])).legend(fontsize=7)
    return figure


def _line(ax: Any, curves: Sequence[list[tuple[int, float]]], label: str, color: str) -> None:
    values = [[value for _, value in column] for column in zip(*curves, strict=True)]
    if values:
        steps = [step for step, _ in curves[0]]
        ax.plot(steps, list(map(statistics.mean, values)), color, label=label, linewidth=1.4)
        low, high = list(map(min, values)), list(map(max, values))
        ax.fill_between(steps, low, high, color=color, alpha=0.2, linewidth=0)


def main() -> None:
    """Runs what is missing, prints the tables, writes the files asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ablation", required=True, help=f"{', '.join(ABLATIONS)} or all")
    parser.add_argument("--seeds", default="0,1,2", help="comma-separated")
    parser.add_argument("--steps", type=int, default=0, help="0 = the config's")
    parser.add_argument("--workdir", type=Path, default=Path("runs/ablations"))
    parser.add_argument("--processes", type=int, default=1, help="runs at a time")
    parser.add_argument("--json", type=Path, help="final figures of every run")
    parser.add_argument("--markdown", type=Path, help="the tables")
    parser.add_argument("--plot", type=Path, help="folder; a picture ABLATION.png in it for each")
    args = parser.parse_args()
    console = Console()
    seeds = [int(seed) for seed in args.seeds.split(",")]
    figures, texts = {}, []
    for ablation in ABLATIONS if args.ablation == "all" else (args.ablation,):
        runs = plan(ablation, seeds, args.workdir, args.steps)
        run_all(runs, console, args.processes)
        console.print(Markdown(markdown(runs)))
        figures[ablation], texts = summarise(runs), [*texts, markdown(runs)]
        if args.plot:
            args.plot.mkdir(parents=True, exist_ok=True)
            draw(runs).savefig(args.plot / f"{ablation}.png", dpi=110)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    if args.markdown:
        args.markdown.write_text("\n".join(texts), encoding="utf-8")


if __name__ == "__main__":
    main()
