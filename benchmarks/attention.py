"""Attention with QK-norm, RoPE and segments at 65,536 tokens: XLA, our kernel, JAX's kernels.

    python -m benchmarks.attention                       compiled for v5e, v6e, v5p; no TPU needed
    python -m benchmarks.attention --topologies= --device=gpu        measured on this GPU
    python -m benchmarks.attention --record              the table of cogvit_jax/kernels/cost.py

Forward and backward of one layer from the fused projection `[b, t, 3d]` to `[b, t, d]`, bf16,
without the projections. Temporaries are what the compiler allots beyond arguments and outputs; what
it puts into the memory of outputs still to come is not counted, so that 0 is possible. Time of a
compiled variant is that of XLA's instructions by the compiler's cost model plus, for our kernel,
its static schedule (cogvit_jax/kernels/cost.py): two different estimators, the second a lower
bound. JAX's kernels have loops, so that their schedule says nothing of their time; only the XLA
part is shown.
"""

import argparse
import functools
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import SingleDeviceSharding
from rich.console import Console
from rich.table import Table

from cogvit_jax import attention, hlo_cost, topology
from cogvit_jax.kernels import attention as kernel
from cogvit_jax.kernels import attention_tile, cost

HEADS, HEAD_DIM = 16, 64
TOKENS_PER_CHIP = 65_536
# One device is compiled for: the smallest slice of each chip.
SLICES = {"v4": "v4:2x2x1", "v5e": "v5e:2x2", "v5p": "v5p:2x2x1", "v6e": "v6e:2x2"}
DUMP = "--xla_jf_dump_to={} --xla_jf_dump_llo_text=true"


def main() -> None:
    """Prints the table that the options ask for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--topologies", default="v5e,v6e,v5p", help="chips, by commas; '' for none")
    parser.add_argument("--tokens", default="256,512,1024", help="row lengths, by commas")
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--device", default="", help="'gpu': measure xla and cudnn on this machine")
    parser.add_argument("--json", default="", help="also write rows to this file")
    parser.add_argument("--record", action="store_true", help="count bundles of our kernel instead")
    parser.add_argument("--count", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    lengths = [int(t) for t in args.tokens.split(",")]
    chips = [c for c in args.topologies.split(",") if c]
    if args.count:
        print(json.dumps(count_bundles(args.count[0], *map(int, args.count[1:]))))
        return
    if args.record:
        record(chips, lengths)
        return
    rows = [compiled(c, t, v) for c in chips for t in lengths for v in args.variants.split(",")]
    if args.device:
        rows += [measured(t, v) for t in lengths for v in ("xla", "cudnn")]
    show(rows)
    if args.json:
        Path(args.json).write_text(json.dumps(rows, indent=1))


def plain(qkv: Any, segments: Any, rope: Any, gains: Any, implementation: str = "xla") -> Any:
    """The way of `attention.Attention` without the kernel."""
    q, k, v = normed_heads(qkv, rope, gains)
    mask = attention.same_segment(segments, segments)
    out = jax.nn.dot_product_attention(q, k, v, mask=mask, implementation=implementation)
    return out.reshape(*qkv.shape[:2], -1)


def normed_heads(qkv: Any, rope: Any, gains: Any) -> tuple[Any, Any, Any]:
    """q, k, v `[b, t, h, k]` after QK-norm and RoPE."""
    heads = qkv.reshape(*qkv.shape[:2], 3, HEADS, HEAD_DIM)
    norm = attention.RMSNorm(dtype=str(qkv.dtype), parent=None)
    q, k = (
        attention.apply_rope(norm.apply({"params": {"scale": g}}, heads[:, :, i]), rope)
        for i, g in enumerate(gains)
    )
    return q, k, heads[:, :, 2]


def ours(qkv: Any, segments: Any, rope: Any, gains: Any) -> Any:
    """The kernel of this project."""
    return kernel.attend((qkv,), segments, rope, gains, num_heads=HEADS)


def flash(qkv: Any, segments: Any, rope: Any, gains: Any) -> Any:
    """`jax.experimental.pallas.ops.tpu.flash_attention`."""
    from jax.experimental.pallas.ops.tpu import flash_attention as module

    q, k, v = (x.swapaxes(1, 2) for x in normed_heads(qkv, rope, gains))
    ids = module.SegmentIds(segments, segments)
    out = module.flash_attention(q, k, v, segment_ids=ids, sm_scale=HEAD_DIM**-0.5)
    return out.swapaxes(1, 2).reshape(*qkv.shape[:2], -1)


def splash(qkv: Any, segments: Any, rope: Any, gains: Any) -> Any:
    """`jax.experimental.pallas.ops.tpu.splash_attention`."""
    from jax.experimental.pallas.ops.tpu import splash_attention as module

    q, k, v = (x.swapaxes(1, 2) for x in normed_heads(qkv, rope, gains))
    mask = module.MultiHeadMask([module.FullMask((q.shape[2],) * 2)] * HEADS)
    attend = module.make_splash_mha_single_device(mask)
    out = jax.vmap(lambda q, k, v, s: attend(q, k, v, segment_ids=module.SegmentIds(s, s)))(
        q * HEAD_DIM**-0.5, k, v, segments
    )
    return out.swapaxes(1, 2).reshape(*qkv.shape[:2], -1)


VARIANTS: dict[str, Callable[..., Any]] = {
    "xla": plain,
    "kernel": ours,
    "jax flash": flash,
    "jax splash": splash,
}


def step(variant: Callable[..., Any], qkv: Any, segments: Any, rope: Any, gains: Any, dout: Any):
    """Output and gradients of qkv and gains."""
    out, vjp = jax.vjp(lambda qkv, gains: variant(qkv, segments, rope, gains), qkv, gains)
    return out, vjp(dout)


def shapes(tokens: int, rows: int, width: int, head_dim: int, sharding: Any = None) -> tuple:
    """Arguments of `step` after the variant."""

    def array(shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

    angles = array((rows, tokens, head_dim), jnp.float32)
    gain = array((head_dim,), jnp.float32)
    return (
        array((rows, tokens, 3 * width), jnp.bfloat16),
        array((rows, tokens), jnp.int32),
        (angles, angles),
        (gain, gain),
        array((rows, tokens, width), jnp.bfloat16),
    )


def compiled(chip_name: str, tokens: int, name: str) -> dict[str, Any]:
    """A row of the table, compiled ahead of time."""
    device = topology.devices(SLICES[chip_name])[0]
    rows = TOKENS_PER_CHIP // tokens
    args = shapes(tokens, rows, HEADS * HEAD_DIM, HEAD_DIM, SingleDeviceSharding(device))
    row: dict[str, Any] = {"chip": chip_name, "tokens": tokens, "variant": name, "how": "compiled"}
    try:
        program = jax.jit(functools.partial(step, VARIANTS[name])).lower(*args).compile()
    except Exception as error:  # kernels and compiler raise what they like
        return row | {"error": str(error).strip().splitlines()[0][:90]}
    clock = topology.chip(device).clock
    row["temporaries"] = program.memory_analysis().temp_size_in_bytes
    row["xla_ms"] = hlo_cost.analyse(program.as_text()).cycles / clock * 1e3
    if name == "xla":
        row["kernel_ms"] = 0.0
    if name == "kernel":
        row["kernel_ms"] = 1e3 * sum(
            cost.estimated_seconds(rows, tokens, HEADS, HEAD_DIM, chip_name, backward)
            for backward in (False, True)
        )
    return row


def measured(tokens: int, name: str, repeats: int = 20) -> dict[str, Any]:
    """A row of the table, timed on this machine."""
    rows = TOKENS_PER_CHIP // tokens
    qkv, _, _, gains, dout = jax.tree.map(
        lambda s: jax.random.normal(jax.random.key(0), s.shape).astype(s.dtype),
        shapes(tokens, rows, HEADS * HEAD_DIM, HEAD_DIM),
    )
    ids = jnp.broadcast_to(1 + 4 * jnp.arange(tokens) // tokens, (rows, tokens))
    positions = jnp.stack(jnp.divmod(jnp.arange(tokens), 32), axis=-1)
    rope = attention.axial_rope(jnp.broadcast_to(positions, (rows, tokens, 2)), HEAD_DIM)
    variant = functools.partial(plain, implementation=name)
    run = jax.jit(functools.partial(step, variant))
    args = qkv, ids, rope, gains, dout
    jax.block_until_ready(run(*args))
    start = time.perf_counter()
    for _ in range(repeats):
        found = run(*args)
    jax.block_until_ready(found)
    milliseconds = (time.perf_counter() - start) / repeats * 1e3
    kind = jax.devices()[0].device_kind
    memory = run.lower(*args).compile().memory_analysis().temp_size_in_bytes
    return {"chip": kind, "tokens": tokens, "variant": name, "how": "measured"} | {
        "temporaries": memory,
        "xla_ms": milliseconds,
        "kernel_ms": 0.0,
    }


def show(rows: list[dict[str, Any]]) -> None:
    """The table, with ratios to XLA of the same chip and length."""
    table = Table(title=f"Attention, forward + backward, {TOKENS_PER_CHIP} tokens, 16 x 64 heads")
    for column in ("chip", "tokens", "variant", "temp MB", "/ xla", "XLA ms", "kernel ms", "/ xla"):
        table.add_column(column, justify="left" if column in ("chip", "variant") else "right")
    table.add_column("figures")
    for row in rows:
        first = [row["chip"], str(row["tokens"]), row["variant"]]
        if "error" in row:
            table.add_row(*first, *[""] * 5, row["error"])
            continue
        same = (row["chip"], row["tokens"])
        base = next(r for r in rows if (r["chip"], r["tokens"]) == same and r["variant"] == "xla")
        row["temporaries_ratio"] = row["temporaries"] / base["temporaries"]
        cells = [f"{row['temporaries'] / 1e6:.0f}", f"{row['temporaries_ratio']:.3f}"]
        cells += [f"{row['xla_ms']:.1f}", "n/a", ""]
        if "kernel_ms" in row:
            row["time_ratio"] = (row["xla_ms"] + row["kernel_ms"]) / base["xla_ms"]
            cells[3:] = [f"{row['kernel_ms']:.1f}", f"{row['time_ratio']:.3f}"]
        table.add_row(*first, *cells, row["how"])
    Console(width=110).print(table)


def record(chips: list[str], lengths: list[int]) -> None:
    """Counts bundles in a process per kernel: the dump is asked for before libtpu is loaded."""
    for chip_name in chips:
        for head_dim in kernel.HEAD_DIMS:
            found = {}
            for tokens in lengths:
                command = [sys.executable, __file__, "--count", chip_name, str(head_dim)]
                with tempfile.TemporaryDirectory() as folder:
                    done = subprocess.run(
                        [*command, str(tokens)],
                        env=os.environ | {"LIBTPU_INIT_ARGS": DUMP.format(folder)},
                        stdout=subprocess.PIPE,
                        text=True,
                        check=True,
                    )
                found[tokens] = tuple(json.loads(done.stdout.splitlines()[-1]))
            print(f'    ("{chip_name}", {head_dim}): {found},', flush=True)


def count_bundles(chip_name: str, head_dim: int, tokens: int) -> tuple[float, float]:
    """Bundles of forward and backward per row and tile, from the dump of this process."""
    folder = re.search(r"--xla_jf_dump_to=(\S+)", os.environ["LIBTPU_INIT_ARGS"])[1]
    tiles = max(1, attention_tile.TOKENS_AT_ONCE // tokens)
    width = tiles * kernel.LANES
    device = topology.devices(SLICES[chip_name])[0]
    args = shapes(tokens, 8, width, head_dim, SingleDeviceSharding(device))

    def variant(qkv: Any, *rest: Any) -> Any:
        return kernel.attend((qkv,), *rest, num_heads=width // head_dim)

    jax.jit(functools.partial(step, variant)).lower(*args).compile()
    counts = []
    for name in ("forward", "backward"):
        (file,) = Path(folder).glob(f"*attention_{name}*schedule-analysis_final_bundles.txt")
        total = re.search(r"total scheduled bundles:\s+(\d+)", file.read_text())[1]
        counts.append(math.ceil(int(total) / tiles))
    return counts[0], counts[1]


if __name__ == "__main__":
    main()
