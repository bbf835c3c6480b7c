"""A run's folder: the config it was started with, and its trained parameters."""

import difflib
import json
import os
import time
from pathlib import Path
from typing import Any

import jax
from absl import flags
from etils import epath
from jax.sharding import NamedSharding, PartitionSpec
from ml_collections import ConfigDict
from rich.console import Console

from cogvit_jax import sharding
from cogvit_jax.checkpoint import Checkpointer
from cogvit_jax.program import Program

# Here because every command has it, and a process may import several of them.
WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Folder of a run: its config, metrics, plots and checkpoints; local or remote (gs://bucket/run).",
)


def save_config(config: ConfigDict, workdir: str, console: Console) -> None:
    """Writes `workdir/config.json`; tells how it differs from that of the run so far."""
    path = epath.Path(workdir) / "config.json"
    new = json.dumps(config.to_dict(), indent=2, ensure_ascii=False)
    if path.exists():
        old = path.read_text()
        for line in difflib.unified_diff(old.split("\n"), new.split("\n"), lineterm="", n=0):
            if line[0] in "+-" and line[:3] not in ("+++", "---"):
                console.print(f"config changed since the last run: {line}", markup=False)
    path.write_text(new)


def load_config(workdir: str) -> Any:
    """The config of a finished or running workdir.

    Raises:
        FileNotFoundError: the folder holds no run.
    """
    path = epath.Path(workdir) / "config.json"
    if not path.exists():
        raise FileNotFoundError(
            f"{path} does not exist: --workdir must name the folder of a run of cogvit_jax.main."
        )
    return ConfigDict(json.loads(path.read_text()))


def load_params(program: Program, config: Any, workdir: str) -> tuple[Any, int]:
    """(parameters on the program's mesh, step) of the workdir's newest checkpoint.

    Where the program has statistics, they are in the parameters under "statistics".

    Raises:
        CheckpointError: there is none, or it is of another model.
    """
    shapes = jax.eval_shape(program.init, jax.random.key(0))
    shardings = sharding.param_shardings(program.mesh, config.mesh.rules, shapes)
    statistics = None
    if program.statistics is not None:
        everywhere = NamedSharding(program.mesh, PartitionSpec())
        statistics = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere),
            jax.eval_shape(program.statistics.init),
        )
    saved = Checkpointer(workdir)
    try:
        params, found, step = saved.restore_params(shapes, shardings, statistics)
    finally:
        saved.close()
    return (params if found is None else {**params, "statistics": found}), step


def process_age() -> float:
    """Seconds since this process was started, imports included; 0 where the system does not say."""
    try:
        fields = Path("/proc/self/stat").read_text("utf-8").rpartition(")")[2].split()
        started = int(fields[19]) / os.sysconf("SC_CLK_TCK")  # field 22 of proc(5), since boot
        return time.clock_gettime(time.CLOCK_BOOTTIME) - started
    except (OSError, AttributeError):
        return 0.0
