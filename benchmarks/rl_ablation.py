"""What design choices of reinforcement learning are worth: runs, tables and plots.

    python -m benchmarks.rl_ablation --init_from=runs/vlm_gym
    python -m benchmarks.rl_ablation --init_from=runs/vlm_gym --ask=staleness --out=plots

Variants, model and tasks are those of `configs/ablations/rl.py`; `--ask` picks questions, or
`--variants` variants by name. Every run is `rl.main` in a process of its own, one after the other.
What is complete is not repeated, what was stopped goes on, and variants that are the same run are
trained once, so the command can be stopped and started again.

    categories   does training on all categories at once teach each as much as training on it
                 alone, and what carries over from one to another
    staleness    what is gained in time, and lost in learning, by training on older replies
    hierarchy    does it help to learn elements before steps
    teacher      is a teacher's word on every token worth more than a reward at the end; the
                 teacher is --teacher, or else the run `multi` of the same seed

Seeds are of the order of tasks and of what is drawn; all runs begin with the same parameters and
are asked the same held-out tasks. Training rewards of `single_…` are of other tasks than those of
`multi`: compare held-out ones. Steps per second count the waits for rollouts and are of whatever
else the machine was doing; compare runs made side by side.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown

from benchmarks import ablations
from benchmarks.ablations import REPOSITORY, Run
from benchmarks.rl_ablation_plots import drawings
from benchmarks.rl_ablation_tables import START, markdown, summarise, transfer
from configs import rl
from configs.ablations.rl import VARIANTS, get_config

BASE = "multi"
QUESTIONS = {
    "categories": (BASE, *(f"single_{name}" for name in rl.TINY_CATEGORIES)),
    "staleness": ("sync", "async", "partial"),
    "hierarchy": ("flat", "hierarchy"),
    "teacher": ("reward", "distill", "mixed"),
}
TAUGHT = ("distill", "mixed")


def plan(
    variants: Sequence[str],
    seeds: Sequence[int],
    root: Path,
    init_from: str = "",
    teacher: str = "",
    steps: int = 0,
    smoke: bool = False,
) -> list[Run]:
    """The runs of these variants and of `start`, seed after seed.

    Args:
        variants: of `configs.ablations.rl.VARIANTS`.
        seeds: of the tasks' order and of what is drawn.
        root: workdirs are root/rl/variant-seed; variants that are the same run share one.
        init_from: workdir that all begin with; "" only with `smoke`.
        teacher: workdir; "" = the base run of the same seed, which is then trained first.
        steps: in the place of the config's; 0 = those.
        smoke: two steps of the smallest model, from scratch.

    Raises:
        ValueError: an unknown variant, no parameters to begin with, or a workdir that holds a run
            of another config.
    """
    unknown = sorted(set(variants) - set(VARIANTS))
    if unknown:
        raise ValueError(f"--variants={','.join(unknown)}: choose of {', '.join(VARIANTS)}.")
    if not init_from and not smoke:
        raise ValueError("--init_from is empty: a model that cannot read is taught nothing here.")
    wanted = [START, *(v for v in variants if v != START)]
    if not teacher and set(TAUGHT) & set(variants) and same(BASE) not in map(same, variants):
        wanted.insert(1, BASE)
    wanted.sort(key=lambda variant: variant in TAUGHT)  # stable: teachers before pupils
    return [
        _make(variant, seed, root, init_from, teacher, steps, smoke)
        for seed in seeds
        for variant in wanted
    ]


def same(variant: str) -> str:
    """The first variant that is the same run."""
    return next(name for name, fields in VARIANTS.items() if fields == VARIANTS[variant])


def _make(
    variant: str, seed: int, root: Path, init_from: str, teacher: str, steps: int, smoke: bool
) -> Run:
    arg = same(variant) + (":smoke" if smoke else "")
    config = get_config(arg).unlock()
    options = {"config": f"{REPOSITORY}/configs/ablations/rl.py:{arg}"}
    config.seed = options["config.seed"] = seed
    if init_from:
        source = str(Path(init_from).absolute())
        config.train.init_from = options["config.train.init_from"] = source
    if variant in TAUGHT:
        by = Path(teacher) if teacher else root / "rl" / f"{BASE}-{seed}"
        config.teachers = options["config.teachers"] = (str(by.absolute()),)
    if steps and variant != START:
        config.train.steps = options["config.train.steps"] = steps
    flags = tuple(f"--{name}={value}" for name, value in options.items())
    workdir = root / "rl" / f"{same(variant)}-{seed}"
    return ablations.place(Run("rl", variant, seed, config.lock(), flags, workdir), {})


def run_all(runs: Sequence[Run], console: Console) -> None:
    """Trains what is not complete, once where variants are the same run."""
    distinct = {run.workdir: run for run in runs}
    ablations.run_all(list(distinct.values()), console)


def main() -> None:
    """Runs what is missing, prints the tables, writes tables, figures and plots to --out."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--ask", default=",".join(QUESTIONS), help=f"of {', '.join(QUESTIONS)}")
    parser.add_argument("--variants", default="", help="comma-separated, in the place of --ask")
    parser.add_argument("--seeds", default="0", help="comma-separated")
    parser.add_argument("--steps", type=int, default=0, help="0 = the config's")
    parser.add_argument("--init_from", default="", help="workdir that all begin with")
    parser.add_argument("--teacher", default="", help="workdir; default: the run of multi")
    parser.add_argument("--workdir", type=Path, default=Path("runs/ablations"))
    parser.add_argument("--smoke", action="store_true", help="two steps of the smallest model")
    parser.add_argument("--out", type=Path, help="folder for rl_*.md, rl_*.json and rl_*.png")
    args = parser.parse_args()
    console = Console()
    asked = {"chosen": tuple(args.variants.split(","))} if args.variants else {}
    asked = asked or {name: QUESTIONS[name] for name in args.ask.split(",")}
    seeds = [int(seed) for seed in args.seeds.split(",")]
    for name, variants in asked.items():
        runs = plan(
            variants, seeds, args.workdir, args.init_from, args.teacher, args.steps, args.smoke
        )
        run_all(runs, console)
        console.print(Markdown(f"# {name}\n\n{markdown(runs)}"))
        if args.out:
            write(runs, args.out, name)


def write(runs: Sequence[Run], out: Path, name: str) -> None:
    """out/rl_NAME.md, .json and, of each drawing, rl_NAME_DRAWING.png."""
    out.mkdir(parents=True, exist_ok=True)
    (out / f"rl_{name}.md").write_text(markdown(runs), encoding="utf-8")
    found = {"figures": summarise(runs), "transfer": transfer(summarise(runs))}
    (out / f"rl_{name}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for drawing, figure in drawings(runs).items():
        figure.savefig(out / f"rl_{name}_{drawing}.png", dpi=110)


if __name__ == "__main__":
    main()
