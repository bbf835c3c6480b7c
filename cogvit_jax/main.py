"""Trains: python -m cogvit_jax.main --config=configs/stage2.py[:variant] --workdir=DIR

Any field of the config can be set from the command line: --config.train.steps=500. Running the same
command again continues from the newest checkpoint in the workdir.
"""

import sys
from typing import Any

import jax
from absl import app, flags, logging
from ml_collections import config_flags
from rich.console import Console

from cogvit_jax import run_dir, train_loop
from cogvit_jax.checkpoint import require_writable
from cogvit_jax.host_memory import keep_freed_memory
from cogvit_jax.programs import EXPECTED_ERRORS, build

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Config file, such as configs/stage2.py:tiny."
)
DISTRIBUTED = flags.DEFINE_bool(
    "distributed",
    False,
    "Join the other processes first. TPU pods, Slurm and GKE tell the rest; elsewhere give "
    "--coordinator, --num_processes and --process_id.",
)
COORDINATOR = flags.DEFINE_string("coordinator", None, "host:port of process 0.")
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many processes there are.")
PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.")


def main(argv: list[str]) -> None:
    """Entry point under absl."""
    if len(argv) > 1:
        raise app.UsageError(f"unknown argument {argv[1]!r}; fields are set as --config.a.b=value")
    if DISTRIBUTED.value:
        jax.distributed.initialize(COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value)
    config, workdir = CONFIG.value, str(run_dir.WORKDIR.value)
    if jax.default_backend() == "cpu":
        keep_freed_memory()
    console = Console(quiet=jax.process_index() > 0)
    try:
        require_writable(workdir)
        console.print(f"{jax.device_count()} × {jax.devices()[0].device_kind}, workdir {workdir}")
        trained = build(config)
        if jax.process_index() == 0:
            run_dir.save_config(config, workdir, console)
        train_loop.run(trained, config, workdir, console)
    except EXPECTED_ERRORS as error:
        logging.debug("details", exc_info=True)
        sys.exit(f"error: {error}")


def parse_flags(argv: list[str]) -> list[str]:
    """The arguments that are no flags; ends with one line if a flag or the config is wrong."""
    try:
        rest = flags.FLAGS(argv)
        _ = CONFIG.value.program  # a file that is not there only shows when it is asked for
        return rest
    except (AttributeError, KeyError) as error:
        # ml_collections wraps one error in another for a field that is not there.
        reason: Any = error
        while isinstance(reason, BaseException):
            reason = reason.args[0]
        sys.exit(f"error: --config: not found: {' '.join(str(reason).split())}")
    except (flags.Error, OSError) as error:  # the reason stands last, after other code's traceback
        sys.exit(f"error: {str(error).strip().splitlines()[-1].strip()}")


def cli() -> None:
    """Parses flags and runs."""
    flags.mark_flags_as_required(["config", "workdir"])
    logging.set_verbosity(logging.WARNING)
    app.run(main, flags_parser=parse_flags)


if __name__ == "__main__":
    cli()
