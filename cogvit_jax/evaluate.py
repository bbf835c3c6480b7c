"""Evaluates a run: python -m cogvit_jax.evaluate --workdir=DIR [--heldout=folder:/pictures]

Restores the newest checkpoint and runs what `config.evals` names on `config.data.heldout` or on the
sources given. Prints the figures and writes them to DIR/evaluation.json, pictures to DIR/plots.

With --suite=clip38 --data_dir=/data it runs a published zero-shot suite on local copies of its data
sets instead (evaluate_suite.py): writes a row of DIR/clip38.csv in open_clip's columns and all
figures to DIR/clip38.json, and names the tasks that had no data. A later call goes on from there.
"""

import json
import sys

import jax
from absl import flags
from etils import epath
from rich.console import Console

from cogvit_jax import commands, compilation_cache, hooks, processes, run_dir, sharding
from cogvit_jax.evals.suite.tasks import SUITES
from cogvit_jax.evaluate_suite import evaluate_suite
from cogvit_jax.metrics import save_picture
from cogvit_jax.programs import EXPECTED_ERRORS, build
from cogvit_jax.settings import ConfigError

HELDOUT = flags.DEFINE_string(
    "heldout", None, "Sources to evaluate on instead of the run's own, such as folder:/pictures."
)
SUITE = flags.DEFINE_string("suite", None, "A published suite: clip38 or chinese.")
DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "Folder of the suite's data sets, e.g. wds_cifar10_test/ and cifar10/ in it."
)
TASKS = flags.DEFINE_string(
    "tasks", None, "Tasks of the suite, separated by commas, e.g. mnist,cifar10; default: all."
)
# embed has a flag of this name too, and a process may import both.
OUTPUT = flags.DEFINE_string(
    "output", None, "CSV of the suite; default: DIR/SUITE.csv.", allow_override=True
)


def evaluate(workdir: str, heldout: str | None, console: Console) -> dict[str, float]:
    """Runs every evaluator of a run on its newest checkpoint; returns and writes the figures."""
    config = run_dir.load_config(workdir)
    config.mesh.update(sharding.data_parallel())
    if heldout is not None:
        config.data.heldout = heldout
    program = build(config)
    params, step = run_dir.load_params(program, config, workdir)
    values = hooks.run_evaluators(program.evaluators, params, console, f"step {step}")
    numbers = {k: v for k, v in values.items() if isinstance(v, float)}
    if jax.process_index() == 0:
        result = {"step": step, "heldout": config.data.heldout, **numbers}
        folder = epath.Path(workdir)
        (folder / "evaluation.json").write_text(json.dumps(result, indent=2))
        (folder / "plots").mkdir(exist_ok=True)
        for name in values.keys() - numbers.keys():
            picture = folder / "plots" / f"evaluation_{name.replace('/', '_')}.png"
            save_picture(picture, values[name])
    return numbers


def main(argv: list[str]) -> None:
    """Entry point under absl."""
    del argv
    workdir = str(run_dir.WORKDIR.value)
    try:
        processes.join()
        with processes.end_together():
            compilation_cache.enable(compilation_cache.FLAG.value, workdir)
            console = Console(quiet=jax.process_index() > 0)
            if SUITE.value is None:
                _refuse_without_suite()
                evaluate(workdir, HELDOUT.value, console)
                return
            outcome = evaluate_suite(
                workdir, SUITE.value, DATA_DIR.value, TASKS.value, OUTPUT.value, console
            )
            if outcome.failed:
                sys.exit(f"error: wrong data of {len(outcome.failed)}: {', '.join(outcome.failed)}")
    except EXPECTED_ERRORS as error:
        sys.exit(f"error: {error}")


def _refuse_without_suite() -> None:
    for flag in (DATA_DIR, TASKS, OUTPUT):
        if flag.value is not None:
            raise ConfigError(f"--{flag.name} needs --suite: {', '.join(SUITES)}.")


if __name__ == "__main__":
    commands.run(main, required=("workdir",))
