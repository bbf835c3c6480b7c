"""What a training step costs on a TPU topology, without that TPU.

    python -m cogvit_jax.describe --config=configs/stage2.py --topology=v5e:16x16

Compiles the step that `main` would run with the real TPU compiler, without a TPU, and reports
parameters, memory per chip, FLOPs, collectives, and a predicted step time with its assumptions.
Without --topology it compiles for the devices of this machine. A pod's own compiler options take
four times as long to compile; --quick leaves them out.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
from absl import app, flags
from rich.console import Console

from cogvit_jax import (
    aot,
    commands,
    describe_report,
    describe_show,
    programs,
    settings,
    sharding,
    topology,
)
from cogvit_jax.config_flag import CONFIG
from cogvit_jax.program import Program

TOPOLOGY = flags.DEFINE_string(
    "topology",
    "",
    "Chip and shape to compile for, such as v5e:16x16, v5p:8x8x8 or v5e:16x16*2 for two slices; "
    "empty = this machine's devices.",
)
JSON = flags.DEFINE_string("json", None, "File for the figures.")
PLOT = flags.DEFINE_string("plot", None, "Picture (.png) of memory and time by kind.")
BATCH = flags.DEFINE_integer(
    "batch", 0, "Which of the batch shapes to compile for; 0 = the longest."
)
QUICK = flags.DEFINE_bool(
    "quick",
    False,
    "Leaves out config.train.tpu_compiler_options; memory and predicted times then are those of "
    "the compiler's own settings.",
)
OPTIONS = flags.DEFINE_list(
    "compiler_options", [], "Of XLA: name=value,name=value; added to config.train.compiler_options."
)


Build = Callable[[Any, Any], Program]
# Programs of the packages that stand on this one, and the module that describes them.
ELSEWHERE = {"vlm": "mmtp.describe", "rl": "rl.describe"}


def describe(
    config: Any,
    topology_name: str = "",
    batch_index: int = 0,
    compiler_options: Mapping[str, str] | None = None,
    build: Build = programs.build,
) -> describe_report.Report:
    """Compiles the step of `config` for a topology and accounts for it.

    Raises:
        ConfigError: a field or the topology is wrong.
    """
    mesh_settings = settings.read(sharding.MeshSettings, config.mesh, "config.mesh")
    mesh = sharding.make_mesh(mesh_settings, topology.devices(topology_name))
    program = build(config, mesh)
    shapes = program.batch_shapes()
    if not 0 <= batch_index < len(shapes):
        raise settings.ConfigError(
            f"--batch={batch_index}: this config has {len(shapes)} batch shapes, from 0."
        )
    step = aot.compile_step(program, config, shapes[batch_index], compiler_options)
    return describe_report.make(step, topology_name)


def main(argv: list[str]) -> None:
    """Entry point under absl."""
    if CONFIG.value.program in ELSEWHERE:  # imports go the other way
        module = ELSEWHERE[CONFIG.value.program]
        os.execv(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]])
    start(argv, programs.build)


def start(argv: list[str], build: Build) -> None:
    """Describes what --config names.

    Args:
        argv: of absl's main; nothing may be left over.
        build: (config, mesh) -> program.
    """
    if len(argv) > 1:
        raise app.UsageError(f"unknown argument {argv[1]!r}; fields are set as --config.a.b=value")
    console = Console()
    console.width = max(console.width, 110)  # tables that are cut off tell nothing
    options = dict(pair.split("=", 1) for pair in OPTIONS.value if "=" in pair)
    if len(options) < len(OPTIONS.value):
        sys.exit("error: --compiler_options: write name=value,name=value.")
    if QUICK.value:
        CONFIG.value.train.tpu_compiler_options = ()
    try:
        with console.status(f"compiling for {TOPOLOGY.value or jax.default_backend()} …"):
            report = describe(CONFIG.value, TOPOLOGY.value, BATCH.value, options, build)
    except programs.EXPECTED_ERRORS as error:
        sys.exit(f"error: {error}")
    describe_show.show(report, console)
    if JSON.value:
        Path(JSON.value).write_text(json.dumps(report.figures, indent=1) + "\n", encoding="utf-8")
    if PLOT.value:
        describe_show.plot(report, PLOT.value)


def cli(main: Callable[[list[str]], None] = main) -> None:
    """Parses flags and runs."""
    if any(arg.startswith("--topology") for arg in sys.argv):
        # Nothing runs here: a TPU or GPU of this machine is not needed.
        jax.config.update("jax_platforms", "cpu")
    # Deep enough that a buffer's line is in the model, not in what the model calls.
    jax.config.update("jax_traceback_in_locations_limit", 30)
    commands.run(main, required=["config"])


if __name__ == "__main__":
    cli()
