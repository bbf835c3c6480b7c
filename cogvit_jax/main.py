"""Trains: python -m cogvit_jax.main --config=configs/stage2.py[:variant] --workdir=DIR

Any field of the config can be set from the command line: --config.train.steps=500. Running the same
command again continues from the newest checkpoint in the workdir. DIR may be remote (gs://bucket/run).
"""

import sys
import time

import jax
from absl import app, logging
from rich.console import Console

from cogvit_jax import commands, compilation_cache, processes, run_dir, train_loop
from cogvit_jax.checkpoint import require_writable
from cogvit_jax.config_flag import CONFIG
from cogvit_jax.host_memory import keep_freed_memory
from cogvit_jax.host_threads import room_for_collectives
from cogvit_jax.programs import EXPECTED_ERRORS, build


def main(argv: list[str]) -> None:
    """Entry point under absl."""
    if len(argv) > 1:
        raise app.UsageError(f"unknown argument {argv[1]!r}; fields are set as --config.a.b=value")
    room_for_collectives()
    try:
        processes.join()
        with processes.end_together():
            train(str(run_dir.WORKDIR.value))
    except EXPECTED_ERRORS as error:
        sys.exit(f"error: {error}")


def train(workdir: str) -> None:
    """Builds what the config names and trains it."""
    config = CONFIG.value
    started = time.perf_counter() - run_dir.process_age()
    if jax.default_backend() == "cpu":
        keep_freed_memory()
    console = Console(quiet=jax.process_index() > 0)
    try:
        require_writable(workdir)
        compilation_cache.enable(compilation_cache.FLAG.value, workdir)
        console.print(f"{jax.device_count()} × {jax.devices()[0].device_kind}, workdir {workdir}")
        trained = build(config)
        if jax.process_index() == 0:
            run_dir.save_config(config, workdir, console)
        train_loop.run(trained, config, workdir, console, started)
    except EXPECTED_ERRORS as error:
        logging.debug("details", exc_info=True)
        sys.exit(f"error: {error}")


def cli() -> None:
    """Parses flags and runs."""
    commands.run(main, required=("config", "workdir"))


if __name__ == "__main__":
    cli()
