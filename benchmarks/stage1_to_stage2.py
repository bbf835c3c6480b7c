"""Does stage 2 gain from stage 1? Both on the tiny setting, at equal steps of stage 2, with seeds.

    python -m benchmarks.stage1_to_stage2 --seeds=0,1,2 --steps=120 [--plot=FILE.png] [--json=FILE]

For each seed: a stage 1 run (`configs/stage1.py:tiny`), a stage 2 run that starts from its encoder,
and one from scratch with the same seed, data and steps. Runs go through `cogvit_jax.main` into
--workdir and are not repeated where they are complete. Stage 1 has seen the same training pictures,
without captions; its semantic teacher has seen captions, so this is distillation as the report has
it, not learning without labels.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track
from rich.table import Table

from cogvit_jax.metrics import read_jsonl

STARTS = ("scratch", "stage1")
# Of stage 1 only the encoder matters here.
QUIET: dict[str, object] = {
    "evals.linear_probe": False,
    "evals.baselines": False,
    "evals.feature_maps": 0,
    "evals.reconstruction": 0,
    "evals.segmentation": (),
    "evals.correspondence": (),
}
METRICS = ("zero_shot/digits_heldout/en", "zero_shot/digits_heldout/zh", "loss")


def run(config: str, workdir: Path, fields: Mapping[str, object]) -> None:
    """Trains one run to its end, unless it has got there already."""
    done = workdir / "done.json"
    wanted = {"config": config, **{k: str(v) for k, v in fields.items()}}
    if done.exists() and json.loads(done.read_text()) == wanted:
        return
    command = [sys.executable, "-m", "cogvit_jax.main", f"--config={config}"]
    command += [f"--workdir={workdir}", *(f"--config.{k}={v}" for k, v in fields.items())]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{result.stdout[-2000:]}{result.stderr}")
    done.write_text(json.dumps(wanted))


def compare(workdir: Path, seeds: Sequence[int], steps: int, every: int, stage1_steps: int) -> None:
    """All runs, stage 1 first."""
    plan: list[tuple[str, Path, dict[str, object]]] = []
    for seed in seeds:
        first = workdir / f"first-{seed}"
        fields = {"seed": seed, "train.steps": stage1_steps, "train.eval_every": stage1_steps}
        fields |= QUIET
        plan.append(("configs/stage1.py:tiny", first, fields))
        for start in STARTS:
            fields = {
                "seed": seed,
                "train.steps": steps,
                "train.eval_every": every,
                "train.save_every": steps,
                "evals.retrieval": False,
                "evals.gallery": 0,
            }
            if start == "stage1":
                fields["train.init_from"] = first
            plan.append(("configs/stage2.py:tiny", workdir / f"{start}-{seed}", fields))
    for config, folder, fields in track(plan, "runs"):
        run(config, folder, fields)


def curves(workdir: Path, start: str, seeds: Sequence[int], metric: str) -> dict[int, list[float]]:
    """step -> the metric of every seed."""
    found: dict[int, list[float]] = {}
    for seed in seeds:
        for row in read_jsonl(workdir / f"{start}-{seed}" / "metrics.jsonl"):
            if metric in row:
                found.setdefault(row["step"], []).append(float(row[metric]))
    return found


def show(workdir: Path, seeds: Sequence[int], console: Console) -> dict[str, dict]:
    """A table of mean and standard deviation over seeds, step by step; returns its figures."""
    figures: dict[str, dict] = {}
    table = Table("metric", "step", *STARTS, "difference", "seeds that gain")
    for metric in METRICS:
        scratch, started = (curves(workdir, s, seeds, metric) for s in STARTS)
        for step in sorted(set(scratch) & set(started)):
            a, b = np.asarray(scratch[step]), np.asarray(started[step])
            better = int(np.sum(b < a if metric == "loss" else b > a))
            cells = [f"{x.mean():.3f} ± {x.std(ddof=1):.3f}" for x in (a, b)]
            difference = f"{np.mean(b - a):+.3f}"
            table.add_row(metric, str(step), *cells, difference, f"{better} of {len(a)}")
            figures.setdefault(metric, {})[step] = {
                "scratch": scratch[step],
                "stage1": started[step],
            }
        table.add_section()
    console.print(table)
    return figures


def plot(figures: dict[str, dict], target: str) -> None:
    """One panel per metric, a line per seed."""
    figure = Figure(figsize=(4.5 * len(figures), 3.4), layout="constrained")
    axes = figure.subplots(1, len(figures), squeeze=False)[0]
    for ax, (metric, rows) in zip(axes, figures.items(), strict=True):
        for start, colour in zip(STARTS, ("tab:grey", "tab:blue"), strict=True):
            lines = np.asarray([rows[step][start] for step in rows]).T
            for number, line in enumerate(lines):
                label = f"from {start}" if number == 0 else None
                ax.plot(list(rows), line, color=colour, alpha=0.7, label=label)
        ax.set_title(metric, fontsize=9)
        ax.set_xlabel("stage 2 steps")
        ax.grid(alpha=0.3)
        ax.legend(fontsize=8)
    figure.savefig(target, dpi=120)


def main() -> None:
    """Runs what is missing, then tells."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", type=Path, default=Path("runs/stage1_to_stage2"))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--every", type=int, default=20, help="steps between evaluations")
    parser.add_argument("--stage1_steps", type=int, default=400)
    parser.add_argument("--json")
    parser.add_argument("--plot")
    args = parser.parse_args()
    seeds = [int(s) for s in args.seeds.split(",")]
    compare(args.workdir, seeds, args.steps, args.every, args.stage1_steps)
    figures = show(args.workdir, seeds, Console(width=120))
    if args.json:
        Path(args.json).write_text(json.dumps(figures, indent=1))
    if args.plot:
        plot(figures, args.plot)


if __name__ == "__main__":
    main()
