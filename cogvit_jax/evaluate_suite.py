"""Runs a published zero-shot suite (evals/suite/) on a stage 2 run; part of `evaluate`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from etils import epath
from rich.console import Console

from cogvit_jax import run_dir, sharding
from cogvit_jax.evals.suite import results, tasks
from cogvit_jax.evals.suite.run import Outcome, run_tasks, show
from cogvit_jax.programs import build, stage2
from cogvit_jax.settings import ConfigError


def evaluate_suite(
    workdir: str,
    suite: str,
    data_dir: str | None,
    names: str | None,
    output: str | None,
    console: Console,
) -> Outcome:
    """Runs the tasks of a suite that have data, on the newest checkpoint; writes and shows figures.

    Args:
        workdir: of a stage 2 run.
        suite: one of `tasks.SUITES`.
        data_dir: folder of the local copies.
        names: tasks, separated by commas; None = all.
        output: the CSV; None = `workdir/SUITE.csv`.
        console: where to.

    Raises:
        ConfigError: an unknown suite or task, no folder, a run without a text tower, or an output
            with other columns.
        FileNotFoundError: no task has data.
    """
    chosen, every = tasks.choose(suite, names), tasks.SUITES[suite]
    folder = Path(data_dir or "").expanduser()
    if not data_dir or not folder.is_dir():
        raise ConfigError(
            f"--data_dir={data_dir} is no folder: name that of the suite's data sets."
        )
    config = load_config(workdir)
    table, figures = epath.Path(output or f"{workdir}/{suite}.csv"), _figures(workdir, suite)
    results.read_csv(table, every)  # a file with other columns is refused before the work
    program = build(config)
    params, step = run_dir.load_params(program, config, workdir)
    model = describe_model(config, workdir, params, step)

    def save(found: Mapping[str, results.Result]) -> None:
        if jax.process_index() == 0:
            results.save(figures, step, every, found)
            results.write_csv(table, model, every, found)

    earlier = results.load(figures, step)
    embedder = stage2.make_embedder(config, program.mesh)
    outcome = run_tasks(chosen, folder, embedder, params, earlier, save, console)
    show(every, outcome, console)
    if not outcome.results and not outcome.failed:
        raise FileNotFoundError(
            f"--data_dir={data_dir} holds no data of {suite}: none of {len(chosen)} tasks has a "
            f"folder there, such as {data_dir}/{chosen[0].folders[0]}."
        )
    if outcome.results:
        save(outcome.results)  # --output may be another one than that of an earlier call
        console.print(f"written: {table} and {figures}", soft_wrap=True)
    return outcome


def load_config(workdir: str) -> Any:
    """The config of a stage 2 run, for evaluating on these devices.

    Raises:
        ConfigError: a run of another program.
    """
    config = run_dir.load_config(workdir)
    if config.program != "stage2":
        raise ConfigError(
            f"--suite embeds captions and class names, but {workdir} is a run of "
            f"{config.program!r}, without a text tower: name one of stage2."
        )
    config.mesh.update(sharding.data_parallel())
    config.data.heldout = ""  # it need not be on this machine
    return config


def describe_model(config: Any, workdir: str, params: Any, step: int) -> results.Model:
    """What a row of the CSV says of a stage 2 run; FLOPs of a picture at `eval_length`."""
    length = config.data.eval_length or max(config.data.lengths)
    pair = {
        "text_ids": np.zeros(1),
        "image": {"segments": np.zeros((1, length))},
        "text": {"tokens": np.zeros((1, config.data.text_length))},
    }
    return results.Model(
        name=Path(workdir).name,
        pretrained=f"step_{step}",
        num_params=sum(leaf.size for leaf in jax.tree.leaves(params)),
        flops=stage2.step_flops(config, pair) / 3,  # forward only
    )


def _figures(workdir: str, suite: str) -> epath.Path:
    return epath.Path(workdir) / f"{suite}.json"
