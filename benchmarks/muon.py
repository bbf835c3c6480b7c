"""What an optimizer update costs: AdamW, optax's Muon and ours, replicated and under FSDP.

    pip install -e '.[tpu]' && python -m benchmarks.muon                # compiled for TPU pods
    python -m benchmarks.muon --cpu                                     # measured on 8 CPU devices

The whole update of CogViT-L, alone and with stage 2's text tower: momentum, Newton-Schulz, weight
decay, new parameters. Matrix products, cycles, memory and bytes are the TPU compiler's, found
without a TPU; the interconnect's time is estimated from the bytes (`cogvit_jax.collectives`) and
added as if nothing overlapped. The share is of an assumed forward and backward pass.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from rich.console import Console
from rich.table import Table

from cogvit_jax import hlo_cost, optim, programs, sharding, topology, tree
from configs import stage2

TOPOLOGIES = "v5e:16x16,v6e:16x16,v5p:8x8x8"
# Forward and backward of a 303M ViT-L at 65,536 tokens per chip, compiler-predicted, in ms; the
# 403M of CogViT-L and the text tower add to it, so that the shares below are upper bounds.
STEP_MS = {"v5e": 1162.0, "v6e": 538.0, "v5p": 488.0}
REPLICATED = ((".*", ()),)
# name -> (optimizer, FSDP)
VARIANTS = {
    "adamw, replicated": ("adamw", False),
    "adamw, FSDP": ("adamw", True),
    "optax muon, replicated": ("optax", False),
    "optax muon, FSDP": ("optax", True),
    "muon, replicated": ("muon", False),
    "muon, FSDP": ("muon", True),
}


def main() -> None:
    """Prints one table per topology and tree, or one for the CPU."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--topology", default=TOPOLOGIES, help="comma-separated")
    parser.add_argument("--trees", default="vision,stage2", help="vision, stage2 or both")
    parser.add_argument("--variants", default="", help="comma-free substring of the names below")
    parser.add_argument("--fsdp", type=int, default=8, help="chips over which FSDP splits")
    parser.add_argument("--coefficients", default="quintic")
    parser.add_argument("--step_ms", type=float, default=0.0, help="0 = STEP_MS of the chip")
    parser.add_argument("--cpu", action="store_true", help="measure on 8 CPU devices")
    parser.add_argument("--rounds", type=int, default=5, help="of --cpu; variants take turns")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", 8)
    console = Console(width=150)
    rows = measure(args, console) if args.cpu else compile_all(args, console)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def compile_all(args: argparse.Namespace, console: Console) -> list[dict[str, Any]]:
    """Compiles every variant for every topology."""
    rows = []
    for name in args.topology.split(","):
        devices = topology.devices(name)
        for tree_name in args.trees.split(","):
            found = [
                compile_one(args, devices, tree_name, variant)
                for variant in VARIANTS
                if args.variants in variant
            ]
            show(found, f"{name}, {tree_name}, {topology.compiler_version()}", console)
            rows += [{"topology": name, "tree": tree_name} | row for row in found]
    return rows


def compile_one(
    args: argparse.Namespace, devices: list[Any], tree_name: str, variant: str
) -> dict[str, Any]:
    """Figures of one variant, per chip."""
    fsdp = args.fsdp if VARIANTS[variant][1] else 1
    mesh = sharding.make_mesh(sharding.MeshSettings(data=-1, fsdp=fsdp), devices)
    update, shapes = make_update(variant, stage2.get_config(), mesh, tree_name, args.coefficients)
    began = time.perf_counter()
    compiled = update.lower(*shapes).compile()
    seconds = time.perf_counter() - began
    cost, chip = hlo_cost.analyse(compiled.as_text()), topology.chip(devices[0])
    sent: dict[str, float] = {}
    for c in cost.collectives:
        sent[c.kind] = sent.get(c.kind, 0.0) + c.count * c.wire_bytes / 1e6
    cycles_ms = 1e3 * cost.cycles / chip.clock
    ici_ms = 1e3 * sum(c.count * c.seconds(mesh, chip) for c in cost.collectives)
    step_ms = args.step_ms or STEP_MS[chip.name]
    return {
        "variant": variant,
        "matmul_tflop": cost.matmul_flops / 1e12,
        "cycles_ms": cycles_ms,
        "temporary_mb": compiled.memory_analysis().temp_size_in_bytes / 1e6,
        "collective_mb": sent,
        "ici_ms": ici_ms,
        "total_ms": cycles_ms + ici_ms,
        "share_of_step": (cycles_ms + ici_ms) / step_ms,
        "step_ms": step_ms,
        "compile_seconds": seconds,
    }


def make_update(
    variant: str, config: Any, mesh: Mesh, tree_name: str, coefficients: str
) -> tuple[Any, tuple[Any, Any, Any]]:
    """(jitted (params, state, grads) -> (params, state), shapes of its arguments)."""
    algorithm, fsdp = VARIANTS[variant]
    params = jax.eval_shape(programs.build(config, mesh).init, jax.random.key(0))
    rules = config.mesh.rules if fsdp else REPLICATED
    placed = sharding.param_shardings(mesh, rules, params)
    options = config.optim.to_dict()
    options |= {"clip_norm": 0.0, "muon_coefficients": coefficients}
    if tree_name == "vision":
        params, placed = {"vision": params["vision"]}, {"vision": placed["vision"]}
        options["group_rules"] = ((".*", "vision"),)
    if algorithm == "adamw":
        options["algorithm_rules"] = ((".*", "adamw"),)
    if algorithm == "optax":
        transform = optax_muon(options)
    else:
        transform = optim.build(options, params, config.train.steps, placed).transform
    state = jax.eval_shape(transform.init, params)
    state_placed = sharding.like_params(mesh, params, placed, state)

    def update(params: Any, state: Any, grads: Any) -> tuple[Any, Any]:
        updates, state = transform.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    def shape(x: Any, s: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s)

    params, state = (jax.tree.map(shape, *t) for t in ((params, placed), (state, state_placed)))
    jitted = jax.jit(update, donate_argnums=(0, 1), out_shardings=(placed, state_placed))
    return jitted, (params, state, params)


def optax_muon(options: dict[str, Any]) -> optax.GradientTransformation:
    """optax's Muon for the same matrices, told which dims are theirs."""

    def dims(params: Any) -> Any:
        def one(name: str, x: Any) -> Any:
            if tree.match(options["algorithm_rules"], name, "algorithm_rules") != "muon":
                return None
            return optax.contrib.MuonDimensionNumbers(*optim.matrix_dims(name, x))

        return tree.map_named(one, params)

    return optax.contrib.muon(
        options["groups"]["vision"]["lr"],
        weight_decay=0.1,
        consistent_rms=options["muon_rms"],
        adam_b2=options["adam_b2"],
        adam_weight_decay=0.1,
        muon_weight_dimension_numbers=dims,
    )


def show(rows: list[dict[str, Any]], title: str, console: Console) -> None:
    """The compiled figures of one topology and tree."""
    table = Table(title=f"{title}: per chip and update", title_justify="left")
    columns = ("variant", "matmul TFLOP", "cycles ms", "temp MB", "sent MB", "ICI ms (est.)")
    for column in (*columns, "total ms", "% of step (assumed)", "compile s (measured)"):
        table.add_column(column, justify="left" if column in ("variant", "sent MB") else "right")
    for row in rows:
        sent = ", ".join(f"{k} {v:,.0f}" for k, v in sorted(row["collective_mb"].items()))
        table.add_row(
            row["variant"],
            f"{row['matmul_tflop']:.2f}",
            f"{row['cycles_ms']:.1f}",
            f"{row['temporary_mb']:,.0f}",
            sent or "none",
            f"{row['ici_ms']:.1f}",
            f"{row['total_ms']:.1f}",
            f"{100 * row['share_of_step']:.2f}% of {row['step_ms']:.0f} ms",
            f"{row['compile_seconds']:.0f}",
        )
    console.print(table)


def small_config() -> Any:
    """Stage 2 at a width that 8 devices of one CPU can train."""
    config = stage2.get_config("tiny").unlock()
    for tower in (config.vision, config.text):
        tower.width, tower.depth, tower.num_heads, tower.mlp_dim = 256, 6, 4, 1024
    config.mesh.fsdp = 4
    config.mesh.rules = stage2.get_config().mesh.rules
    return config


def measure(args: argparse.Namespace, console: Console) -> list[dict[str, Any]]:
    """Milliseconds per update; variants take turns, so that the machine's drift hits all alike."""
    config = small_config()
    runs = {v: prepare(v, config, args.coefficients) for v in VARIANTS if args.variants in v}
    times: dict[str, list[float]] = {variant: [] for variant in runs}
    for _ in range(args.rounds):
        for variant, run in runs.items():
            times[variant].append(run())
    table = Table(title="8 CPU devices, width 256, 6+6 layers, f32: measured", title_justify="left")
    for column in ("variant", "median ms", "all"):
        table.add_column(column)
    for variant, values in times.items():
        every = " ".join(f"{v:.0f}" for v in values)
        table.add_row(variant, f"{statistics.median(values):.0f}", every)
    console.print(table)
    return [{"variant": v, "milliseconds": t} for v, t in times.items()]


def prepare(variant: str, config: Any, coefficients: str) -> Callable[[], float]:
    """A function that runs one update and returns its milliseconds."""
    fsdp = config.mesh.fsdp if VARIANTS[variant][1] else 1
    mesh = sharding.make_mesh(sharding.MeshSettings(data=-1, fsdp=fsdp), jax.devices())
    update, shapes = make_update(variant, config, mesh, "stage2", coefficients)
    rng = np.random.default_rng(0)

    def fill(x: Any) -> jax.Array:
        values = rng.standard_normal(x.shape).astype(x.dtype)
        return jax.device_put(values if x.ndim else jnp.zeros((), x.dtype), x.sharding)

    params, _, grads = (jax.tree.map(fill, shapes[i]) for i in (0, 0, 2))
    state = jax.tree.map(
        lambda x: jax.device_put(jnp.zeros(x.shape, x.dtype), x.sharding), shapes[1]
    )
    kept = {"arrays": jax.block_until_ready(update(params, state, grads))}

    def run() -> float:
        began = time.perf_counter()
        kept["arrays"] = jax.block_until_ready(update(*kept["arrays"], grads))
        return 1e3 * (time.perf_counter() - began)

    return run


if __name__ == "__main__":
    main()
