"""What the packages' `main` share: from flags to a training run."""

import sys
import time
from collections.abc import Callable
from typing import Any

import jax
from absl import app, logging
from rich.console import Console

from cogvit_jax import compilation_cache, processes, run_dir, train_loop
from cogvit_jax.checkpoint import require_writable
from cogvit_jax.config_flag import CONFIG
from cogvit_jax.host_memory import keep_freed_memory
from cogvit_jax.host_threads import room_for_collectives
from cogvit_jax.program import Program


def start(
    argv: list[str], build: Callable[[Any], Program], expected: tuple[type[Exception], ...]
) -> None:
    """Joins the other processes and trains what --config names, in --workdir.

    Args:
        argv: of absl's main; nothing may be left over.
        build: config -> program.
        expected: errors that a user can mend by reading one message.
    """
    if len(argv) > 1:
        raise app.UsageError(f"unknown argument {argv[1]!r}; fields are set as --config.a.b=value")
    room_for_collectives()
    try:
        processes.join()
        with processes.end_together():
            train(str(run_dir.WORKDIR.value), build, expected)
    except expected as error:
        sys.exit(f"error: {error}")


def train(
    workdir: str, build: Callable[[Any], Program], expected: tuple[type[Exception], ...]
) -> None:
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
    except expected as error:
        logging.debug("details", exc_info=True)
        sys.exit(f"error: {error}")
