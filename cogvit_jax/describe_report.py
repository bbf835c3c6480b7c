"""The account of a compiled step: memory, FLOPs, collectives, predicted time."""

import dataclasses
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from cogvit_jax import aot, hlo, hlo_cost, topology
from cogvit_jax.collectives import summarize
from cogvit_jax.kernels.cost import call_seconds
from cogvit_jax.topology import GIB

ASSUMPTIONS = (
    "compute: the TPU compiler's cycles per instruction at the chip's clock, loops counted as "
    "often as they run; stalls on memory that it does not foresee are not in it",
    "Pallas kernels: static schedule of the kernel, without stalls; where none is known, their "
    "FLOPs at half of the peak",
    "collectives: bytes over the bandwidth of the torus links that the group spans, plus 1 us per "
    "hop; a synchronous one adds its whole time, an asynchronous one what its window of compute "
    "does not cover",
    "MFU: model FLOPs (recomputation not counted) over predicted time and dense bf16 peak",
    "nothing was run: no figure here is a measurement",
)


@dataclasses.dataclass(frozen=True)
class Report:
    """Figures that go to JSON, and the compiled step that they come from."""

    figures: dict[str, Any]
    step: aot.CompiledStep


def make(step: aot.CompiledStep, name: str) -> Report:
    """Accounts for a compiled step; see the keys of `figures`."""
    program = step.setup.program
    mesh = program.mesh
    device = mesh.devices.flat[0]
    cost = hlo_cost.analyse(step.text)
    limit = hbm_limit(device)
    used = step.memory.total
    groups = aot.parameters_by_group(step.setup)
    figures: dict[str, Any] = {
        "topology": name or device.device_kind,
        "compiler": topology.compiler_version(),
        "num_devices": mesh.size,
        "mesh": dict(mesh.shape),
        "batch": {
            jax.tree_util.keystr(p): x.shape
            for p, x in jax.tree_util.tree_leaves_with_path(step.batch)
        },
        "examples_per_step": program.num_examples(step.batch),
        "parameters": sum(groups.values()),
        "parameters_by_group": groups,
        "hbm_bytes_per_chip": used,
        "hbm_limit_bytes": limit,
        "fits": not step.refused and (limit is None or used <= limit),
        "refused": step.refused,
        "memory": {
            f.name: getattr(step.memory, f.name)
            for f in dataclasses.fields(step.memory)
            if f.name not in ("host", "buffers")
        },
        "host_bytes_per_chip": step.memory.host,
        "flops_per_chip": cost.matmul_flops + sum(cost.kernel_flops.values()),
        "model_flops_per_chip": program.step_flops(step.batch) / mesh.size,
        "hbm_traffic_bytes_per_chip": cost.hbm_bytes,
        "collectives": summarize(cost.collectives, mesh),
        "collective_bytes": sum(c.count * c.wire_bytes for c in cost.collectives),
        "kernels": dict(cost.kernels),
        "unknown_loops": cost.unknown_loops,
        "compile_seconds": step.seconds,
        "assumptions": ASSUMPTIONS,
    }
    figures |= times(cost, step, figures)
    figures["largest_buffers"] = largest_buffers(step)
    figures["suggestions"] = suggestions(figures)
    return Report(figures, step)


def hbm_limit(device: Any) -> int | None:
    """Bytes that a program may use on a device, or None where nobody tells."""
    chip = topology.chip(device)
    if chip is not None:
        return chip.hbm_bytes
    try:
        return (device.memory_stats() or {}).get("bytes_limit")
    except jax.errors.JaxRuntimeError:  # a device that is not there
        return None


def times(cost: hlo_cost.Cost, step: aot.CompiledStep, figures: dict[str, Any]) -> dict[str, Any]:
    """Predicted times of a step; empty on chips whose figures are not known."""
    mesh = step.setup.program.mesh
    chip = topology.chip(mesh.devices.flat[0])
    if chip is None or not cost.cycles:
        return dict.fromkeys(("predicted_step_seconds", "predicted_mfu"))
    compute = cost.cycles / chip.clock
    kernels = sum(
        count * kernel_seconds(name, cost.kernel_flops[name] / count, chip)
        for name, count in cost.kernels.items()
    )
    waiting = hidden = 0.0
    for collective in cost.collectives:
        seconds = collective.seconds(mesh, chip)
        covered = min(seconds, collective.window_cycles / chip.clock)
        waiting += collective.count * (seconds - covered)
        hidden += collective.count * covered
    total = compute + kernels + waiting
    flops, traffic = figures["flops_per_chip"], figures["hbm_traffic_bytes_per_chip"]
    return {
        "predicted_step_seconds": total,
        "predicted_mfu": figures["model_flops_per_chip"] / chip.peak_flops / total,
        "predicted_examples_per_second_per_chip": figures["examples_per_step"] / mesh.size / total,
        "time": {
            "matrix products": cost.matmul_cycles / chip.clock,
            "other compute": (cost.cycles - cost.matmul_cycles) / chip.clock,
            "kernels": kernels,
            "waiting for collectives": waiting,
        },
        "collectives_hidden_seconds": hidden,
        "time_by_part": by_part(cost.cycles_by_op, chip.clock),
        "roofline_seconds": {
            "compute": flops / chip.peak_flops,
            "memory": traffic / chip.hbm_bandwidth,
        },
    }


def kernel_seconds(name: str, flops: float, chip: topology.Chip) -> float:
    """Estimated time of one execution of a Pallas kernel, `scope -> result shapes`."""
    scope_name, _, shapes = name.partition(" -> ")
    seconds = call_seconds(scope_name, [s.dims for s in hlo.shapes(shapes)], chip.name)
    return flops / (0.5 * chip.peak_flops) if seconds is None else seconds


def by_part(cycles_by_op: Mapping[str, float], clock: float) -> dict[str, dict[str, float]]:
    """Seconds of each part of the model: forward, recomputed, backward."""
    parts: dict[str, dict[str, float]] = {}
    for name, cycles in cycles_by_op.items():
        path, direction = scope(name)
        row = parts.setdefault(path, {"forward": 0.0, "recomputed": 0.0, "backward": 0.0})
        row[direction] += cycles / clock
    return dict(sorted(parts.items(), key=lambda item: -sum(item[1].values())))


def scope(op_name: str) -> tuple[str, str]:
    """(`vision/blocks/attention`, "forward" | "recomputed" | "backward") of a JAX scope."""
    backward = "transpose(" in op_name
    direction = "backward" if backward else "forward"
    if "rematted_computation" in op_name:
        direction = "recomputed"
    parts = re.sub(r"\b(?:jit|jvp|transpose|vmap|shard_map|custom_vjp\w*)\(|\)", "", op_name).split(
        "/"
    )
    kept = [p for p in parts[:-1] if re.fullmatch(r"[a-z][a-z0-9_]*", p) and p not in _SKIPPED]
    return "/".join(kept[:3]) or "other", direction


_SKIPPED = {"step", "while", "body", "cond", "closed_call", "checkpoint", "rematted_computation"}


def largest_buffers(step: aot.CompiledStep) -> list[dict[str, Any]]:
    """The largest temporaries with the source lines that made them."""
    module = hlo.parse(step.text)
    by_name = {i.name: i for body in module.computations.values() for i in body}
    rows = []
    for size, name, kind in step.memory.buffers:
        instruction = by_name.get(name)
        lines = module.source(instruction) if instruction else ()
        ours = [line for line in lines if "site-packages" not in line]
        source = (ours or list(lines) or ["?"])[0]
        part, _ = scope(hlo_cost.op_name(instruction)) if instruction else ("", "")
        rows.append({"bytes": size, "type": kind, "source": _relative(source), "part": part})
    return rows


def _relative(source: str) -> str:
    root = str(Path(__file__).resolve().parent.parent) + "/"
    return source.removeprefix(root)


def suggestions(figures: dict[str, Any]) -> list[str]:
    """What to change where a step does not fit, or leaves memory unused."""
    limit, used = figures["hbm_limit_bytes"], figures["hbm_bytes_per_chip"]
    memory = figures["memory"]
    if limit is None:
        return []
    if not figures["fits"]:
        over = max(used - limit, 0)
        state = memory["arguments"] + memory["outputs"]
        parts = max(2, math.ceil(memory["temporaries"] / max(limit - state, GIB)))
        found = [
            f"config.train.microbatches: {parts} times as many; activations are "
            f"{memory['temporaries'] / GIB:.1f} GiB and {over / GIB:.1f} GiB are too much",
            'config.vision.remat, config.text.remat: save less; "full" saves least',
        ]
        if state > limit / 4:
            found.append(
                f"config.mesh.fsdp: more; parameters and optimizer take {state / GIB:.1f} GiB"
            )
        return found
    if used < 0.6 * limit:
        return [
            f"{(limit - used) / GIB:.1f} GiB are free: a remat policy that saves more, fewer "
            "microbatches or more examples per chip use them"
        ]
    return []
