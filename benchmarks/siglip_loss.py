"""Variants of the 64K sigmoid loss: what the TPU compiler makes of them, and 8 CPU devices.

    pip install -e '.[tpu]' && python -m benchmarks.siglip_loss
    python -m benchmarks.siglip_loss --cpu

Each row is the value and all gradients (images, texts, scale, bias) of the mean loss. Without
--cpu: compiled ahead of time for each topology, bf16 embeddings; temporaries, FLOPs, cycles,
collectives and windows are compiled figures, ICI times are estimated from bytes, and no chip ran.
With --cpu: f32, memory compiled, time measured, variants in turns. `checkpoint_ring` is the
textbook form: a scan over `ppermute` that `jax.checkpoint` differentiates.
"""

import argparse
import json
import math
import statistics
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from rich.console import Console
from rich.table import Table

from cogvit_jax import collectives, hlo_cost, topology
from cogvit_jax.losses.siglip import sigmoid_loss
from cogvit_jax.losses.tiles import Side, compare

AXES = ("x", "y", "z")
TOPOLOGIES = "v5e:16x16,v6e:16x16,v5p:8x8x8"
# (variant, mesh): "flat" is one mesh axis, "torus" one per axis of the interconnect.
VARIANTS = (
    ("all_pairs", "flat"),
    ("ring", "flat"),
    ("bidirectional", "flat"),
    ("checkpoint_ring", "flat"),
    ("all_gather", "flat"),
    ("all_gather", "torus"),
    ("dual_gather", "flat"),
    ("dual_gather", "torus"),
)


def main() -> None:
    """Prints one table per topology."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--topology", default=TOPOLOGIES, help="comma-separated; CHIP:SHAPE")
    parser.add_argument("--cpu", action="store_true", help="run on 8 CPU devices instead")
    parser.add_argument("--batch", type=int, default=0, help="default: 65536, with --cpu 4096")
    parser.add_argument("--dim", type=int, default=0, help="default: 1152, with --cpu 256")
    parser.add_argument("--rounds", type=int, default=5, help="with --cpu; all variants in turns")
    parser.add_argument("--json", help="also write the figures there")
    args = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")
    if args.cpu:
        rows = run_on_cpu(args.batch or 4096, args.dim or 256, args.rounds)
        print_table(f"8 CPU devices, jax {jax.__version__}", rows, "compiled: MB; measured: ms")
    else:
        rows = []
        for name in args.topology.split(","):
            found = compile_for(name, args.batch or 65536, args.dim or 1152)
            caption = "per chip and step; compiled, except ici_ms: estimated from bytes"
            print_table(f"{name}, {topology.compiler_version()}", found, caption)
            rows += [{"topology": name} | row for row in found]
    if args.json:
        with open(args.json, "w") as file:
            json.dump(rows, file, indent=1)


def make_mesh(devices: list[Any], shape: tuple[int, ...]) -> Mesh:
    """Mesh of the given shape whose axes follow the interconnect where they can."""
    placed = mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
    return Mesh(placed, AXES[: len(shape)], axis_types=(AxisType.Auto,) * len(shape))


def make_loss(variant: str, mesh: Mesh) -> Callable[..., jax.Array]:
    """(images, texts, log_scale, bias) -> mean loss over the global batch."""
    if variant == "all_pairs":
        return lambda *args: _mean(*sigmoid_loss(*args, method=variant)[:2])
    axes = mesh.axis_names
    local = (
        partial(checkpoint_ring, axes)
        if variant == "checkpoint_ring"
        else partial(sigmoid_loss, axis_name=axes, method=variant)
    )

    def share(*args: jax.Array) -> jax.Array:
        return _mean(*jax.lax.psum(local(*args)[:2], axes))

    rows, scalar = PartitionSpec(axes), PartitionSpec()
    specs = (rows, rows, scalar, scalar)
    return jax.shard_map(share, mesh=mesh, in_specs=specs, out_specs=scalar)


def _mean(total: jax.Array, weight: jax.Array) -> jax.Array:
    return total / weight


def checkpoint_ring(axes: tuple[str, ...], images, texts, log_scale, bias) -> tuple[Any, Any]:
    """One-way ring by automatic differentiation, with each visit's logits recomputed."""
    size = jax.lax.axis_size(axes)
    route = [(i, (i + 1) % size) for i in range(size)]
    b = len(images)
    rows = Side(images, jnp.arange(b) + b * jax.lax.axis_index(axes))
    zero = jnp.zeros_like(images[0, 0], jnp.float32)  # varies over the axes, as the sums do

    @jax.checkpoint
    def visit(carry: Any, _: None) -> tuple[Any, None]:
        total, block = carry
        found = compare(
            rows, block, log_scale=log_scale, bias=bias, chunk_size=None, with_grads=False
        )
        block = jax.tree.map(lambda x: jax.lax.ppermute(x, axes, route), block)
        return (total + found.sums["total"], block), None

    carry = (zero, Side(texts, rows.ids))
    (total, _), _ = jax.lax.scan(visit, carry, length=size)
    return total, zero + b


def compiled_loss(variant: str, mesh: Mesh, batch: int, dim: int, dtype: Any) -> Any:
    """The executable of value and gradients."""
    rows = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
    scalar = NamedSharding(mesh, PartitionSpec())
    x = jax.ShapeDtypeStruct((batch, dim), dtype, sharding=rows)
    s = jax.ShapeDtypeStruct((), jnp.float32, sharding=scalar)
    function = jax.jit(
        jax.value_and_grad(make_loss(variant, mesh), argnums=(0, 1, 2, 3)),
        out_shardings=(scalar, (rows, rows, scalar, scalar)),
    )
    return function.lower(x, x, s, s).compile()


def compile_for(name: str, batch: int, dim: int) -> list[dict[str, Any]]:
    """Figures of every variant for a topology."""
    devices = topology.devices(name)
    shapes = {
        "flat": (len(devices),),
        "torus": tuple(int(n) for n in name.partition(":")[2].split("x")),
    }
    return [
        {"variant": variant, "mesh": layout}
        | figures(variant, make_mesh(devices, shapes[layout]), batch, dim)
        for variant, layout in VARIANTS
    ]


def figures(variant: str, mesh: Mesh, batch: int, dim: int) -> dict[str, Any]:
    """What a variant costs per chip."""
    executable = compiled_loss(variant, mesh, batch, dim, jnp.bfloat16)
    cost = hlo_cost.analyse(executable.as_text())
    chip = topology.chip(mesh.devices.flat[0])
    assert chip is not None
    permutes = [c for c in cost.collectives if c.kind == "collective-permute"]
    ideal = 6 * batch**2 * dim / mesh.size
    return {
        "temp_mb": executable.memory_analysis().temp_size_in_bytes / 1e6,
        "matmul_gflop": cost.matmul_flops / 1e9,
        "matmul_ratio": cost.matmul_flops / ideal,
        "compute_ms": cost.cycles / chip.clock * 1e3,
        "ici_mb": sum(c.count * c.wire_bytes for c in cost.collectives) / 1e6,
        "ici_ms": ici_seconds(cost.collectives, mesh, chip) * 1e3,
        "synchronous_permutes": _count(permutes, lambda c: not c.asynchronous),
        "asynchronous_permutes": _count(permutes, lambda c: c.asynchronous),
        "permutes_beside_matmuls": _count(permutes, lambda c: c.matmul_window_cycles > 0),
    }


def ici_seconds(found: list[collectives.Collective], mesh: Mesh, chip: topology.Chip) -> float:
    """One collective after the other, except that asynchronous permutes in opposite directions use
    different links at the same time.
    """
    total = 0.0
    routes: Counter[Any] = Counter()
    for c in found:
        seconds = c.count * c.seconds(mesh, chip)
        if c.kind == "collective-permute" and c.asynchronous:
            routes[tuple(sorted(c.groups))] += seconds
        else:
            total += seconds
    while routes:
        route, seconds = routes.popitem()
        opposite = tuple(sorted((target, source) for source, target in route))
        total += max(seconds, routes.pop(opposite, 0.0))
    return total


def _count(
    permutes: list[collectives.Collective], keep: Callable[[collectives.Collective], bool]
) -> int:
    return round(math.fsum(c.count for c in permutes if keep(c)))


def run_on_cpu(batch: int, dim: int, rounds: int) -> list[dict[str, Any]]:
    """Compiled memory and measured time on 8 CPU devices."""
    jax.config.update("jax_num_cpu_devices", 8)
    devices = jax.devices()
    shapes = {"flat": (8,), "torus": (4, 2)}
    meshes = {layout: make_mesh(devices, shape) for layout, shape in shapes.items()}
    rng = np.random.default_rng(0)
    pair = rng.standard_normal((2, batch, dim), np.float32)
    pair /= np.linalg.norm(pair, axis=2, keepdims=True)
    runs = []
    for variant, layout in VARIANTS:
        mesh = meshes[layout]
        executable = compiled_loss(variant, mesh, batch, dim, jnp.float32)
        spread = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
        scalars = jax.device_put(
            (jnp.log(10.0), jnp.float32(-10)), NamedSharding(mesh, PartitionSpec())
        )
        runs.append((executable, (*jax.device_put((pair[0], pair[1]), spread), *scalars)))
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds + 1):  # the first round warms up
        for (executable, inputs), seconds in zip(runs, times, strict=True):
            began = time.perf_counter()
            jax.block_until_ready(executable(*inputs))
            seconds.append(time.perf_counter() - began)
    return [
        {
            "variant": variant,
            "mesh": layout,
            "temp_mb": executable.memory_analysis().temp_size_in_bytes / 1e6,
            "best_ms": min(seconds[1:]) * 1e3,
            "median_ms": statistics.median(seconds[1:]) * 1e3,
        }
        for (variant, layout), (executable, _), seconds in zip(VARIANTS, runs, times, strict=True)
    ]


def print_table(title: str, rows: list[dict[str, Any]], caption: str) -> None:
    """One row per variant."""
    table = Table(*rows[0], title=title, caption=caption)
    for row in rows:
        table.add_row(*(f"{x:.4g}" if isinstance(x, float) else str(x) for x in row.values()))
    Console(width=180).print(table)


if __name__ == "__main__":
    main()
