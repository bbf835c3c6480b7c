"""What a pipelined step of multimodal multi-token prediction sends along each mesh axis.

    pip install -e '.[tpu]' && python -m benchmarks.mmtp_ledger --json=ledger.json

Loss and gradient of a CogViT + GLM decoder + one prediction layer are compiled ahead of time for a
TPU topology, once per design of what the layer is fed at visual places (`mmtp.visual_input`).
Bytes, executions and groups are compiled figures, per device; no chip ran. Along "stage",
collective-permutes in loops are what moves with every microbatch, and everything else is parameters
and their gradients, once per step.
"""

import argparse
import dataclasses
import json
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from rich.console import Console
from rich.table import Table

from cogvit_jax import sharding, topology
from cogvit_jax.models import vit
from configs.common import DECODER_PIPELINE
from mmtp import ledger
from mmtp.data.layout import ARRAYS, nest
from mmtp.models import context, vlm
from mmtp.models.decoder import DecoderSettings, resolve
from mmtp.models.mtp import MTPSettings
from mmtp.models.pipeline_schedule import PipelineSettings, Schedule
from mmtp.models.pipeline_schedule import resolve as make_schedule
from mmtp.models.vlm import VLM
from mmtp.programs import vlm_pipeline
from mmtp.programs.vlm_loss import LossSettings

ARMS = ("image_token", "image_token_frozen", "masked", "visual")

DECODER = DecoderSettings(size="glm_0p5b", dtype="bfloat16", remat="full")
VISION = vit.VisionSettings(size="L", dtype="bfloat16", remat="full")


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Of the model, the batch and the mesh; what `--small` and the tests change.

    Attributes:
        decoder, vision: settings of the towers.
        rows, tokens: of one microbatch on the devices of one batch shard.
        vision_rows, patches: of a group, which is one row here.
        stages, context, repeats, microbatches: how it is split.
    """

    decoder: DecoderSettings = DECODER
    vision: vit.VisionSettings = VISION
    rows: int = 1
    tokens: int = 8192
    vision_rows: int = 2
    patches: int = 4096
    stages: int = 4
    context: int = 2
    repeats: int = 2
    microbatches: int = 8


SMALL = Sizes(
    decoder=DecoderSettings(size="tiny", dtype="bfloat16"),
    vision=vit.VisionSettings(size="tiny", dtype="bfloat16"),
    tokens=256,
    patches=64,
    stages=2,
    microbatches=4,
)


def main() -> None:
    """Prints a table per arm."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--topology", default="v5e:4x4", help="CHIP:SHAPE")
    parser.add_argument("--small", action="store_true", help="a model of a few thousand numbers")
    parser.add_argument("--arms", default=",".join(ARMS), help="of mmtp.visual_input")
    parser.add_argument("--json", help="also write the figures there")
    args = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")
    sizes = SMALL if args.small else Sizes()
    mesh = make_mesh(sizes, topology.devices(args.topology))
    results = []
    for arm in args.arms.split(","):
        rows, schedule = count(sizes, mesh, arm)
        results.append(summary(arm, rows, schedule))
        print_rows(f"{arm}, {args.topology}, {topology.compiler_version()}", rows, schedule)
    print_summary(results, sizes)
    if args.json:
        with open(args.json, "w") as file:
            json.dump(results, file, indent=1)


def make_mesh(sizes: Sizes, devices: Any) -> Mesh:
    """Stages, context, and the rest data-parallel."""
    axes = {"stage": sizes.stages, "context": sizes.context, "data": -1}
    return sharding.make_mesh(sharding.MeshSettings(**axes), devices)


def count(sizes: Sizes, mesh: Mesh, arm: str) -> tuple[list[ledger.Row], Schedule]:
    """The compiled step's collectives."""
    model = make_model(sizes, arm)
    schedule = make_schedule(
        PipelineSettings(sizes.microbatches, sizes.repeats), sizes.stages, model.decoder.depth
    )
    params = jax.eval_shape(partial(vlm.init, model), jax.random.key(0))
    shardings = sharding.param_shardings(mesh, DECODER_PIPELINE, params)
    params = jax.tree.map(lambda x, where: _placed(x.shape, x.dtype, where), params, shardings)
    batch = make_batch(sizes, mesh)

    def loss(params: Any, batch: Any) -> jax.Array:
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            found = vlm_pipeline.pipelined(
                model, LossSettings(), schedule, context.gathered, params, batch
            )
        return found.total / jnp.maximum(found.weight, 1)

    outputs = (NamedSharding(mesh, PartitionSpec()), shardings)
    step = jax.jit(jax.value_and_grad(loss), out_shardings=outputs)
    compiled = step.lower(params, batch).compile()
    return ledger.count(compiled.as_text(), mesh), schedule


def make_model(sizes: Sizes, arm: str) -> VLM:
    """The same parameters in all arms."""
    return VLM(
        vision=vit.build(sizes.vision),
        decoder=resolve(sizes.decoder),
        mtp=MTPSettings(depth=1, visual_input=arm),
        image_token=0,
        patch_dim=3 * sizes.vision.patch_size**2,
    )


def make_batch(sizes: Sizes, mesh: Mesh) -> Any:
    """Shapes of a batch, as the loader places it: split by groups."""
    groups = sizes.rows * sizes.microbatches * sharding.num_batch_shards(mesh)
    dims = {
        "rows": 1,
        "tokens": sizes.tokens,
        "heads": 2,
        "depths": 1,
        "vision_rows": sizes.vision_rows,
        "patches": sizes.patches,
        "patch_dim": 3 * sizes.vision.patch_size**2,
    }
    put = sharding.batch_sharding(mesh)

    def array(dtype: Any, names: tuple[str | int, ...]) -> jax.ShapeDtypeStruct:
        shape = tuple(dims[n] if isinstance(n, str) else n for n in names)
        return _placed((groups, *shape), dtype, put)

    arrays = nest({name: array(*kind) for name, kind in ARRAYS.items()})
    step = _placed((), np.int32, NamedSharding(mesh, PartitionSpec()))
    return arrays | {"statistics": {"step": step}}


def activation(sizes: Sizes) -> int:
    """Bytes of one microbatch's residual stream on one device."""
    config = resolve(sizes.decoder)
    return (
        sizes.rows * sizes.tokens // sizes.context * config.width * np.dtype(config.dtype).itemsize
    )


def summary(arm: str, rows: list[ledger.Row], schedule: Schedule) -> dict[str, Any]:
    """One arm's figures: bytes per device and microbatch."""
    hops = ledger.hops(rows, "stage")
    return {
        "visual_input": arm,
        "stage_bytes_per_microbatch": hops["sent"] / schedule.microbatches,
        "stage_bytes_per_iteration": hops["sent"] / schedule.iterations / 2,
        "iterations": schedule.iterations,
        "bubble": schedule.bubble,
        "axes_bytes_per_step": ledger.per_axis(rows),
        "rows": [dataclasses.asdict(row) for row in rows],
    }


def print_rows(title: str, rows: list[ledger.Row], schedule: Schedule) -> None:
    """Every kind of collective; compiled figures."""
    table = Table(title=title, caption="compiled; per device and step, MB = 1e6 bytes")
    for column in (
        "axes",
        "kind",
        "MB each",
        "count",
        "MB sent",
        "MB per microbatch",
        "in a branch",
    ):
        table.add_column(column, justify="right")
    for row in rows:
        numbers = (row.size, row.count, row.sent, row.sent / schedule.microbatches)
        each, times, sent, per = numbers
        cells = (f"{each / 1e6:.3f}", f"{times:.0f}", f"{sent / 1e6:.2f}", f"{per / 1e6:.2f}")
        table.add_row(row.axes, row.kind, *cells, "at most" if row.in_branch else "")
    Console(width=120).print(table)


def print_summary(results: list[dict[str, Any]], sizes: Sizes) -> None:
    """What goes from stage to stage, arm by arm."""
    one = activation(sizes)
    table = Table(
        title="From stage to stage, per device",
        caption=f"compiled; activations b x t x d = {one / 1e6:.3f} MB, and its gradient back",
    )
    for column in ("visual_input", "MB per hop", "in b x t x d", "MB per microbatch"):
        table.add_column(column, justify="right")
    for found in results:
        hop = found["stage_bytes_per_iteration"]
        per = found["stage_bytes_per_microbatch"]
        table.add_row(
            found["visual_input"], f"{hop / 1e6:.3f}", f"{hop / one:.2f}", f"{per / 1e6:.2f}"
        )
    Console(width=120).print(table)


def _placed(shape: tuple[int, ...], dtype: Any, where: NamedSharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype, sharding=where)


if __name__ == "__main__":
    main()
