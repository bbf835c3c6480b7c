"""Compiles the training step ahead of time, for devices that need not be there.

It is the step that `main` would run: same program, mesh, shardings, donation and optimizer. What
does not fit the chip is compiled as far as the compiler goes: its schedule and buffers are there.
"""

import dataclasses
import math
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from cogvit_jax import settings, train_loop, tree
from cogvit_jax.program import Program


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes per device.

    Attributes:
        arguments: parameters, optimizer state, frozen weights, one batch.
        outputs: what is returned in memory of its own; the state reuses that of the arguments.
        temporaries: activations, gradients, work space.
        code: the program itself.
        waiting_batches: batches that the pipeline has put on the device ahead of the step.
        host: activations that wait in the host's memory, which is not the device's.
        buffers: the largest temporaries: bytes and the instruction that makes them.
    """

    arguments: int
    outputs: int
    temporaries: int
    code: int
    waiting_batches: int
    host: int = 0
    buffers: tuple[tuple[int, str, str], ...] = ()

    @property
    def total(self) -> int:
        """All of it that is the device's."""
        parts = (self.arguments, self.outputs, self.temporaries, self.code, self.waiting_batches)
        return sum(parts)


@dataclasses.dataclass(frozen=True)
class CompiledStep:
    """A compiled training step.

    Attributes:
        setup: program, optimizer, shapes and shardings of the state.
        batch: shapes of the batch it was compiled for.
        text: scheduled HLO.
        memory: per device.
        refused: the compiler's words where it does not fit, else "".
        seconds: what compiling took.
    """

    setup: train_loop.Setup
    batch: Any
    text: str
    memory: Memory
    refused: str
    seconds: float


def compile_step(
    program: Program, config: Any, batch: Any, compiler_options: Mapping[str, str] | None = None
) -> CompiledStep:
    """Lowers and compiles the step of `program` for the devices of its mesh.

    Args:
        program: from `programs.build(config, mesh)`; its mesh may be of `topology.devices`.
        config: with sections `train`, `optim`, `mesh` and the number `seed`.
        batch: shapes with shardings, one of `program.batch_shapes()`.
        compiler_options: of XLA, such as {"xla_tpu_scoped_vmem_limit_kib": "65536"}.
    """
    options = settings.read(train_loop.TrainSettings, config.train, "config.train")
    setup = train_loop.prepare(program, config, options, Console(quiet=True))
    state = jax.tree.map(_placed, setup.shapes, setup.shardings)
    frozen = program.frozen_shapes()
    lowered = setup.step_fn.lower(state, frozen, batch)  # type: ignore[attr-defined]
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        text, stats, refused = _compile(lowered, folder, dict(compiler_options or {}))
        buffers, temporaries = _buffers(Path(folder))
    seconds = time.perf_counter() - began
    waiting = config.data.get("prefetch", 0) * bytes_per_device(batch)
    if stats is None:
        arguments = bytes_per_device((state, frozen, batch))
        memory = Memory(arguments, 0, temporaries, 0, waiting, buffers=buffers)
    else:
        memory = Memory(
            stats.argument_size_in_bytes,
            stats.output_size_in_bytes - stats.alias_size_in_bytes,
            stats.temp_size_in_bytes,
            stats.generated_code_size_in_bytes,
            waiting,
            stats.host_temp_size_in_bytes,
            buffers,
        )
    return CompiledStep(setup, batch, text, memory, refused, seconds)


def bytes_per_device(tree_of_shapes: Any) -> int:
    """Bytes of each device's share of arrays, given by shape and sharding."""

    def size(x: Any) -> int:
        shape = x.sharding.shard_shape(x.shape)
        # Random keys have a dtype of their own: two 32-bit words.
        width = x.dtype.itemsize if isinstance(x.dtype, np.dtype) else 8
        return math.prod(shape) * width

    return sum(map(size, jax.tree.leaves(tree_of_shapes)))


def parameters_by_group(setup: train_loop.Setup) -> dict[str, int]:
    """How many parameters each group of the optimizer has."""
    counts: dict[str, int] = {}
    groups = jax.tree.leaves(setup.optimizer.groups)
    for group, (_, x) in zip(groups, tree.named_leaves(setup.shapes.params), strict=True):
        counts[group] = counts.get(group, 0) + math.prod(x.shape)
    return counts


def _placed(x: Any, sharding: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)


def _compile(lowered: Any, folder: str, options: dict[str, str]) -> tuple[str, Any, str]:
    """(scheduled HLO, memory statistics or None, the compiler's refusal)."""
    try:
        compiled = lowered.compile({**options, "xla_dump_to": folder})
        return compiled.as_text(), compiled.memory_analysis(), ""
    except jax.errors.JaxRuntimeError as error:
        dumped = sorted(Path(folder).glob("*.after_optimizations.txt"))
        if "RESOURCE_EXHAUSTED" not in str(error) or not dumped:
            raise
        return dumped[-1].read_text(), None, str(error).strip().splitlines()[0]


def _buffers(folder: Path, most: int = 12) -> tuple[tuple[tuple[int, str, str], ...], int]:
    """The largest (bytes, instruction, type) of the buffer assignment, and its size in HBM."""
    files = sorted(folder.glob("*after_optimizations-buffer-assignment.txt"))
    if not files:
        return (), 0
    found: dict[int, tuple[int, str, str]] = {}
    total, inside = 0, False
    for line in files[-1].read_text().splitlines():
        if line.startswith("allocation"):
            inside = "preallocated-temp" in line and ", color" not in line
            match = re.search(r"size (\d+)", line)
            total += int(match[1]) if inside and match else 0
        elif inside and (match := _VALUE.match(line)):
            name, size, offset, kind = match.groups()
            found.setdefault(int(offset), (int(size), name, kind))
    largest: Sequence[tuple[int, str, str]] = sorted(found.values(), reverse=True)[:most]
    return tuple(largest), total


# value: <12 fusion.3{0} @0> (size=1610612736,offset=6445957120): bf16[3,256]{1,0}
_VALUE = re.compile(r" value: <\d+ ([^\s{]+)\S* @\d+> \(size=(\d+),offset=(\d+)\): ([^{]+)")
