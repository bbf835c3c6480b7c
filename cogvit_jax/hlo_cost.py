"""What a compiled step costs: FLOPs, cycles, memory traffic and collectives, loops included.

The compiler's own `cost_analysis()` counts the body of a loop once, and its `optimal_seconds` is
not usable on TPU. Here the scheduled HLO is walked and every `while` body counts as often as it
runs. Cycles are the estimates that the TPU compiler writes next to each instruction
(`"estimated_cycles"`); other backends give none.
"""

import dataclasses
import functools
import json
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from cogvit_jax import hlo
from cogvit_jax.collectives import KINDS, Collective, replica_groups
from cogvit_jax.hlo import Instruction, Module
from cogvit_jax.hlo_traffic import traffic
from cogvit_jax.kernels.cost import splash_flops

_KERNEL = "tpu_custom_call"  # Pallas


def _zeros() -> dict[str, float]:
    return defaultdict(float)


@dataclasses.dataclass
class Cost:
    """Totals per device and step.

    Attributes:
        matmul_flops: of dots and convolutions, two per multiply-add.
        cycles: estimated by the TPU compiler; Pallas kernels and the interconnect are not in it.
        matmul_cycles: the part in instructions with matrix products.
        hbm_bytes: read and written in main memory, from the instructions' operands and results.
        cycles_by_op: operation name (JAX scope) -> cycles.
        collectives: every collective, with how often it runs.
        kernels: scope and result shapes of Pallas kernels -> executions.
        kernel_flops: the same -> FLOPs as the kernels tell of themselves (`pl.CostEstimate`).
        unknown_loops: loops whose trip count could not be read; they count once.
    """

    matmul_flops: float = 0.0
    cycles: float = 0.0
    matmul_cycles: float = 0.0
    hbm_bytes: float = 0.0
    unknown_loops: int = 0
    cycles_by_op: dict[str, float] = dataclasses.field(default_factory=_zeros)
    kernels: dict[str, float] = dataclasses.field(default_factory=_zeros)
    kernel_flops: dict[str, float] = dataclasses.field(default_factory=_zeros)
    collectives: list[Collective] = dataclasses.field(default_factory=list)

    def add(self, other: "Cost", times: float = 1) -> None:
        """Adds `times` executions of another cost."""
        for name in ("matmul_flops", "cycles", "matmul_cycles", "hbm_bytes"):
            setattr(self, name, getattr(self, name) + times * getattr(other, name))
        self.unknown_loops += other.unknown_loops
        for name in ("cycles_by_op", "kernels", "kernel_flops"):
            mine = getattr(self, name)
            for key, value in getattr(other, name).items():
                mine[key] += times * value
        self.collectives += [
            dataclasses.replace(c, count=c.count * times) for c in other.collectives
        ]


def analyse(text: str) -> Cost:
    """Cost of the program whose scheduled HLO is `text`."""
    module = hlo.parse(text)

    @functools.cache
    def of(name: str) -> Cost:
        return _computation(module, module.computations[name], of)

    return of(module.entry)


def _computation(module: Module, instructions: Sequence[Instruction], of: Any) -> Cost:
    total = Cost()
    by_name = {i.name: i for i in instructions}
    started: dict[str, tuple[Collective, float, float]] = {}
    for instruction in instructions:
        if (key := _ends(instruction, by_name)) in started:
            collective, cycles, matmul = started.pop(key)
            window = {
                "window_cycles": total.cycles - cycles,
                "matmul_window_cycles": total.matmul_cycles - matmul,
            }
            total.collectives.append(dataclasses.replace(collective, **window))
        total.add(*_one(module, instruction, by_name, of))
        if collective := _collective(module, instruction, by_name):
            if collective.asynchronous:
                started[instruction.name] = collective, total.cycles, total.matmul_cycles
            else:
                total.collectives.append(collective)
    total.collectives += [c for c, _, _ in started.values()]
    return total


def _one(
    module: Module, instruction: Instruction, by_name: dict[str, Instruction], of: Any
) -> tuple[Cost, float]:
    """(cost, executions) of one instruction."""
    if instruction.opcode == "while":
        trips = _trips(module, instruction)
        body = of(instruction.attribute("body").lstrip("%"))
        return body, trips if trips is not None else 1
    if instruction.opcode == "conditional":
        branches = [of(name) for name in instruction.computations()]
        return max(branches, key=lambda b: (b.cycles, b.matmul_flops), default=Cost()), 1
    if instruction.opcode == "call":
        return of(instruction.computations()[0]), 1
    cost = Cost(hbm_bytes=traffic(module, instruction, by_name))
    cycles = _estimated_cycles(instruction)
    cost.matmul_flops = _flops(instruction, by_name)
    if instruction.opcode in ("fusion", "async-start"):
        for name in instruction.computations():
            cost.matmul_flops += of(name).matmul_flops
    cost.cycles = cycles
    cost.matmul_cycles = cycles if cost.matmul_flops else 0
    if cycles:
        cost.cycles_by_op[op_name(instruction)] = cycles
    if instruction.opcode == "custom-call" and _KERNEL in instruction.rest:
        shapes = ",".join(f"{s.dtype}[{','.join(map(str, s.dims))}]" for s in instruction.shapes)
        scope = op_name(instruction)
        # JAX's own kernels have a name and no scope.
        scope = instruction.name.lstrip("%") if scope == instruction.opcode else scope
        name = f"{scope} -> {shapes}"
        cost.kernels[name] = 1
        cost.kernel_flops[name] = _kernel_flops(instruction, by_name)
    return cost, 1


def op_name(instruction: Instruction) -> str:
    """The JAX scope that made an instruction: `jit(step)/jvp(TwoTowers)/…/dot_general`."""
    match = re.search(r'op_name="([^"]*)"', instruction.rest)
    return match[1] if match else instruction.opcode


def _estimated_cycles(instruction: Instruction) -> float:
    match = re.search(r'"estimated_cycles":"(\d+)"', instruction.rest)
    return float(match[1]) if match else 0.0


def _kernel_flops(instruction: Instruction, by_name: dict[str, Instruction]) -> float:
    if match := re.search(r'"cost_estimate":(\{[^{}]*\})', instruction.rest):
        return float(json.loads(match[1]).get("flops", 0))
    operands = [by_name[name].shapes[0].dims for name in instruction.operands if name in by_name]
    return splash_flops(instruction.name, operands)


def _trips(module: Module, loop: Instruction) -> int | None:
    """How often a loop's body runs: its annotation, or the bound its condition compares with."""
    if match := re.search(r'known_trip_count"?[:=]\{"?n"?[:=]"?(\d+)', loop.rest):
        return int(match[1])
    condition = module.computations[loop.attribute("condition").lstrip("%")]
    bounds = [
        int(i.literal)
        for i in condition
        if i.opcode == "constant" and i.shapes[0].dtype[0] in "su" and i.literal.isdigit()
    ]
    return max(bounds) if bounds else None


def _flops(instruction: Instruction, by_name: dict[str, Instruction]) -> float:
    if instruction.opcode == "dot":
        lhs = by_name[instruction.operands[0]].shapes[0].dims
        contracted = re.findall(r"\d+", instruction.attribute("lhs_contracting_dims"))
        depth = np.prod([lhs[int(d)] for d in contracted], dtype=float)
        return 2 * depth * np.prod(instruction.shapes[0].dims, dtype=float)
    if instruction.opcode == "convolution":
        return _convolution_flops(instruction, by_name)
    return 0.0


def _convolution_flops(instruction: Instruction, by_name: dict[str, Instruction]) -> float:
    """Two per multiply-add with an element that is there: the TPU compiler writes every matrix
    product as a convolution, and those with batch dims as ones that mostly meet padding.
    """
    lhs, rhs = (by_name[name].shapes[0].dims for name in instruction.operands[:2])
    out = instruction.shapes[0].dims
    left, right, result = re.match(
        r"(\w+)_(\w+)->(\w+)", instruction.attribute("dim_labels")
    ).groups()  # type: ignore[union-attr]
    flops = 2.0 * out[result.index("b")] * out[result.index("f")] * rhs[right.index("i")]
    # A batch group sees only its share of the batch.
    flops /= int(instruction.attribute("batch_group_count") or 1)
    window = dict(re.findall(r"(\w+)=(\S+)", instruction.attribute("window").strip("{}")))
    for dim in range(sum(c.isdigit() for c in result)):
        field = functools.partial(_window_field, window, dim)
        size = lhs[left.index(str(dim))]
        taps = rhs[right.index(str(dim))]
        places = out[result.index(str(dim))]
        low = int(field("pad", "0_0").split("_")[0])
        position = (
            np.arange(places)[:, None] * int(field("stride", "1"))
            + np.arange(taps)[None] * int(field("rhs_dilate", "1"))
            - low
        )
        dilation = int(field("lhs_dilate", "1"))
        real = (position >= 0) & (position <= (size - 1) * dilation) & (position % dilation == 0)
        flops *= int(real.sum())
    return flops


def _window_field(window: dict[str, str], dim: int, name: str, default: str) -> str:
    return window[name].split("x")[dim] if name in window else default


def _collective(
    module: Module, instruction: Instruction, by_name: dict[str, Instruction]
) -> Collective | None:
    """The collective that an instruction runs or starts."""
    kind = instruction.opcode.removesuffix("-start")
    if kind in KINDS:
        return _make(kind, instruction, by_name, kind != instruction.opcode)
    if instruction.opcode == "send" and (match := _TRANSFER.search(instruction.rest)):
        kind = match[1].lower().replace("_", "-")
        size = by_name[instruction.operands[0]].size
        name = op_name(instruction)
        return Collective(kind, size, (), True, 0.0, 0.0, name, over_dcn=True)
    starts = instruction.name.startswith("async-collective-start")
    called = instruction.computations()
    # Of the fusions that hold an asynchronous collective only the first starts it; those between,
    # with matrix products in them, move it on. Another kind holds an all-reduce of which each
    # device keeps a part.
    if instruction.opcode == "async-start" or starts or "reduce-scatter" in "".join(called):
        inner = {i.name: i for name in called for i in module.computations[name]}
        for candidate in inner.values():
            if candidate.opcode in KINDS:
                scattered = candidate.opcode == "all-reduce" and "scatter" in called[0]
                kind = "reduce-scatter" if scattered else candidate.opcode
                return _make(kind, candidate, inner, starts or instruction.opcode != "fusion")
    return None


# How the compiler writes what crosses from slice to slice: a send to the host and a receive.
_TRANSFER = re.compile(r'_xla_megascale_transfer_type="(\w+)"')
_RENDEZVOUS = re.compile(r'_xla_host_transfer_rendezvous="([^"]*)"')


def _make(
    kind: str, instruction: Instruction, by_name: dict[str, Instruction], asynchronous: bool
) -> Collective:
    size = sum(by_name[o].size for o in instruction.operands if o in by_name)
    groups = replica_groups(instruction)
    name, one_ring = op_name(instruction), '"emitter":"1D' in instruction.rest
    return Collective(kind, size, groups, asynchronous, 0.0, 0.0, name, one_ring)


def _ends(instruction: Instruction, by_name: dict[str, Instruction]) -> str:
    """Name of the instruction which started what this one waits for."""
    if instruction.name.startswith("async-collective-done"):
        return instruction.name.replace("done", "start")
    if instruction.opcode == "recv-done":
        received = by_name.get(instruction.operands[0])
        meeting = _RENDEZVOUS.search(received.rest) if received else None
        sends = (i for i in by_name.values() if i.opcode == "send")
        same = (i.name for i in sends if meeting and meeting[0] in i.rest)
        return next(same, "")
    if instruction.opcode == "send-done":  # what was sent is still under way
        return ""
    if instruction.opcode.endswith("-done") and instruction.operands:
        return instruction.operands[0]
    return ""
