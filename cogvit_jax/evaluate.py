"""Evaluates a run: python -m cogvit_jax.evaluate --workdir=DIR [--heldout=folder:/pictures]

Restores the newest checkpoint and runs what `config.evals` names on `config.data.heldout` or on the
sources given. Prints the figures and writes them to DIR/evaluation.json, pictures to DIR/plots.
"""

import json
import sys

import jax
from absl import flags
from etils import epath
from rich.console import Console

from cogvit_jax import commands, compilation_cache, hooks, processes, run_dir, sharding
from cogvit_jax.metrics import save_picture
from cogvit_jax.programs import EXPECTED_ERRORS, build

HELDOUT = flags.DEFINE_string(
    "heldout", None, "Sources to evaluate on instead of the run's own, such as folder:/pictures."
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
            evaluate(workdir, HELDOUT.value, Console(quiet=jax.process_index() > 0))
    except EXPECTED_ERRORS as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    commands.run(main, required=("workdir",))
