"""Trains: python -m cogvit_jax.main --config=configs/stage2.py[:variant] --workdir=DIR

Any field of the config can be set from the command line: --config.train.steps=500. Running the same
command again continues from the newest checkpoint in the workdir.
"""

import difflib
import json
import sys
from pathlib import Path
from typing import Any

import jax
from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags
from rich.console import Console

from cogvit_jax import program, settings, train_loop
from cogvit_jax.checkpoint import CheckpointError, require_writable
from cogvit_jax.data.pipeline import TooManyCorruptRecords
from cogvit_jax.hooks import NonFiniteLoss
from cogvit_jax.programs import stage2

PROGRAMS = {"stage2": stage2.build}

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Config file, such as configs/stage2.py:tiny."
)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder for metrics, plots and checkpoints; continued if it holds a run."
)
DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "Join the other processes of a TPU pod or cluster before starting."
)

# What a user can mend by reading one message; everything else shows its traceback.
EXPECTED_ERRORS = (
    settings.ConfigError,
    CheckpointError,
    NonFiniteLoss,
    TooManyCorruptRecords,
    FileNotFoundError,
    PermissionError,
)


def build(config: ConfigDict) -> program.Program:
    """The program that `config.program` names."""
    return settings.choose(PROGRAMS, config.program, "config.program")(config)


def save_config(config: ConfigDict, workdir: str, console: Console) -> None:
    """Writes `workdir/config.json`; tells how it differs from that of the run so far."""
    path = Path(workdir) / "config.json"
    new = json.dumps(config.to_dict(), indent=2, ensure_ascii=False)
    if path.exists():
        old = path.read_text(encoding="utf-8")
        for line in difflib.unified_diff(old.split("\n"), new.split("\n"), lineterm="", n=0):
            if line[0] in "+-" and line[:3] not in ("+++", "---"):
                console.print(f"config changed since the last run: {line}", markup=False)
    path.write_text(new, encoding="utf-8")


def load_config(workdir: str) -> ConfigDict:
    """The config of a finished or running workdir.

    Raises:
        FileNotFoundError: the folder holds no run.
    """
    path = Path(workdir) / "config.json"
    if not path.exists():
        raise FileNotFoundError(
            f"{path} does not exist: --workdir must name the folder of a run of cogvit_jax.main."
        )
    return ConfigDict(json.loads(path.read_text(encoding="utf-8")))


def main(argv: list[str]) -> None:
    """Entry point under absl."""
    if len(argv) > 1:
        raise app.UsageError(f"unknown argument {argv[1]!r}; fields are set as --config.a.b=value")
    if DISTRIBUTED.value:
        jax.distributed.initialize()
    config, workdir = CONFIG.value, WORKDIR.value
    console = Console(quiet=jax.process_index() > 0)
    try:
        require_writable(workdir)
        console.print(f"{jax.device_count()} × {jax.devices()[0].device_kind}, workdir {workdir}")
        trained = build(config)
        if jax.process_index() == 0:
            save_config(config, workdir, console)
        train_loop.run(trained, config, workdir, console)
    except EXPECTED_ERRORS as error:
        logging.debug("details", exc_info=True)
        sys.exit(f"error: {error}")


def cli() -> None:
    """Parses flags and runs."""
    flags.mark_flags_as_required(["config", "workdir"])
    logging.set_verbosity(logging.WARNING)
    app.run(main)


if __name__ == "__main__":
    cli()
