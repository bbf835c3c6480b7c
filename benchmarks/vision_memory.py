"""Activation memory of the vision side for 1 to 64 pictures, as the TPU compiler lays it out.

    pip install -e '.[tpu]' && python -m benchmarks.vision_memory
    python -m benchmarks.vision_memory --images=1,8,64 --plans=chunks,offload --json=FILE --plot=PNG

CogViT-L and the merger to a 0.5B decoder's width, forward and backward in bf16 with f32 parameters,
pictures of 448 x 448 pixels (1024 patches, one vision row each), on one chip. Nothing runs and no
TPU is needed. `temporaries` are everything in HBM but parameters, pixels, tokens' gradients and the
results; `host` waits in the host's memory. FLOPs are those that are executed.
"""

import argparse
import dataclasses
import json
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import SingleDeviceSharding
from matplotlib.figure import Figure
from rich.progress import track

from cogvit_jax import hlo_cost, topology
from cogvit_jax.models import merger, vit
from cogvit_jax.topology import GIB
from mmtp.models.projector import VisionMemory, encode_images

WIDTH = 1536  # of GLM-OCR's decoder
MLP_DIM = 4608  # of its merger
# name -> (config.vision.remat, config.vision_memory)
PLANS = {
    "none": ("none", VisionMemory()),
    "remat": ("full", VisionMemory()),
    "chunks": ("full", VisionMemory(chunk_rows=1)),
    "offload": ("full", VisionMemory(chunk_rows=1, offload=("block_input",))),
}


@dataclasses.dataclass(frozen=True)
class Row:
    """A compiled program.

    Attributes:
        plan: a key of PLANS.
        images: pictures in it.
        temporaries: bytes of HBM; where it does not fit, all that the compiler says it needs.
        host: bytes in the host's memory.
        fits: whether it fits the chip.
        flops: executed, matrix products and attention; 0 where it does not fit.
    """

    plan: str
    images: int
    temporaries: int
    host: int
    fits: bool
    flops: float


def measure(plan: str, images: int, device: Any, side: int = 32, depth: int = 0) -> Row:
    """Compiles value and gradients for a device that need not be there.

    Args:
        plan: a key of PLANS.
        images: pictures, in one group.
        device: of `topology.devices`.
        side: patches per side of a picture.
        depth: blocks; 0 = CogViT-L's.
    """
    remat, memory = PLANS[plan]
    settings = vit.VisionSettings(size="L", depth=depth, remat=remat, attention="pallas")
    model = vit.build(settings)
    shapes = _shapes(settings, images, side**2)
    sharding = SingleDeviceSharding(device)
    placed = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes
    )
    lowered = jax.jit(jax.value_and_grad(partial(_loss, model, memory))).lower(*placed)
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        return Row(plan, images, _needed(str(error)), 0, False, 0.0)
    found, cost = compiled.memory_analysis(), hlo_cost.analyse(compiled.as_text())
    flops = cost.matmul_flops + sum(cost.kernel_flops.values())
    host = found.host_temp_size_in_bytes
    return Row(plan, images, found.temp_size_in_bytes, host, True, flops)


def table(rows: Sequence[Row]) -> str:
    """Markdown: a line per number of pictures, GiB and FLOPs relative to one forward-and-backward
    pass without recomputation, where that was compiled.
    """
    known = {(row.plan, row.images): row for row in rows}
    plans = [plan for plan in PLANS if any(row.plan == plan for row in rows)]
    lines = ["| pictures | " + " | ".join(plans) + " |", "|---:" * (len(plans) + 1) + "|"]
    for images in sorted({row.images for row in rows}):
        cells = [_cell(known.get((plan, images))) for plan in plans]
        lines.append(f"| {images} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def costs(rows: Sequence[Row]) -> dict[str, float]:
    """plan -> executed FLOPs per picture over those of the plan "none"."""
    per_picture = {row.plan: row.flops / row.images for row in rows if row.fits}
    whole = per_picture.get("none")
    return {plan: value / whole for plan, value in per_picture.items()} if whole else {}


def plot(rows: Sequence[Row], limit: int, path: str) -> None:
    """Memory over pictures, a line per plan."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    ax = figure.subplots()
    for plan in PLANS:
        points = sorted((row.images, row.temporaries / GIB) for row in rows if row.plan == plan)
        if points:
            ax.plot(*zip(*points, strict=True), marker="o", label=plan)
    ax.axhline(limit / GIB, color="grey", linestyle=":", label="HBM of the chip")
    ax.set(xscale="log", yscale="log", xlabel="pictures", ylabel="temporaries, GiB")
    ax.set_xticks(sorted({row.images for row in rows}), minor=False)
    ax.get_xaxis().set_major_formatter("{x:.0f}")
    ax.legend(frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Compiles every plan for every number of pictures and prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--topology", default="v5e:2x2", help="its first chip is compiled for")
    parser.add_argument("--images", default="1,2,4,8,16,32,64")
    parser.add_argument("--plans", default=",".join(PLANS))
    parser.add_argument("--json", help="file for the figures, written after every one")
    parser.add_argument("--plot", help="picture (.png)")
    args = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")
    device = topology.devices(args.topology)[0]
    cases = [(plan, int(n)) for n in args.images.split(",") for plan in args.plans.split(",")]
    rows: list[Row] = []
    for plan, images in track(cases, "compiling"):
        rows.append(measure(plan, images, device))
        if args.json:
            Path(args.json).write_text(json.dumps([dataclasses.asdict(r) for r in rows], indent=1))
    print(f"{topology.compiler_version()}, one chip of {args.topology}: GiB of HBM (+ on the host)")
    print(table(rows))
    for plan, ratio in costs(rows).items():
        print(f"{plan}: {ratio:.2f} times the FLOPs of no recomputation")
    chip = topology.chip(device)
    if args.plot and chip:
        plot(rows, chip.hbm_bytes, args.plot)


def _shapes(settings: vit.VisionSettings, images: int, patches: int) -> tuple[Any, Any, Any]:
    dim = 3 * settings.patch_size**2
    width = vit.dimensions(settings)[0]
    encoder = vit.build(dataclasses.replace(settings, attention="xla"))

    def init() -> Any:
        places, ones = jnp.zeros((1, 4, 2), jnp.int32), jnp.ones((1, 4), jnp.int32)
        pixels = jnp.zeros((1, 4, dim), jnp.uint8)
        return {
            "vision": encoder.init(jax.random.key(0), pixels, places, ones)["params"],
            "projector": merger.init(jax.random.key(1), width, WIDTH, MLP_DIM),
        }

    image = {
        "patches": jax.ShapeDtypeStruct((1, images, patches, dim), jnp.uint8),
        "positions": jax.ShapeDtypeStruct((1, images, patches, 2), jnp.int32),
        "segments": jax.ShapeDtypeStruct((1, images, patches), jnp.int32),
    }
    weights = jax.ShapeDtypeStruct((1, images, patches // 4, WIDTH), jnp.bfloat16)
    return jax.eval_shape(init), image, weights


def _loss(model: Any, memory: VisionMemory, params: Any, image: Any, weights: Any) -> jax.Array:
    """Of all tokens, so that none is left out; what a decoder would do is not counted."""
    tokens = encode_images(model, params, image, memory)
    return jnp.sum(tokens.astype(jnp.float32) * weights.astype(jnp.float32))


def _needed(message: str) -> int:
    """Bytes that the compiler names when it refuses: "Used 30.53G of 15.75G hbm", or "required for
    HLO temporaries (36.29G) exceeds" where it does not even try.
    """
    match = re.search(r"Used ([\d.]+)([MGT]) of|temporaries \(([\d.]+)([MGT])\) exceeds", message)
    if not match:
        raise ValueError(f"the compiler refused for another reason than memory: {message[:500]}")
    size, unit = (found for found in match.groups() if found)
    return int(float(size) * {"M": 2**20, "G": 2**30, "T": 2**40}[unit])


def _cell(row: Row | None) -> str:
    if row is None:
        return ""
    if not row.fits:
        return f"does not fit ({row.temporaries / GIB:.1f})"
    host = f" + {row.host / GIB:.2f}" if row.host else ""
    return f"{row.temporaries / GIB:.2f}{host}"


if __name__ == "__main__":
    main()
