"""The training loss of the vision-language model on the stages of a pipeline.

Stage 0 encodes pictures and embeds text, the last stage has the final norm, the layers of
multi-token prediction and the losses. What travels between them is the residual stream, and the
decoder's input beside it where `mmtp.visual_input` is "visual": only there the last stage needs
what stage 0 made of the pictures.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh, PartitionSpec

from cogvit_jax import settings, sharding
from cogvit_jax.models.scan import REMAT_POLICIES
from cogvit_jax.program import Loss
from cogvit_jax.settings import ConfigError
from cogvit_jax.sharding import BATCH_AXES
from mmtp.data.layout import ARRAYS
from mmtp.models import context, decoder, pipeline
from mmtp.models.attend import Attend
from mmtp.models.pipeline import Ends, Stages
from mmtp.models.pipeline_schedule import PipelineSettings, Schedule, resolve
from mmtp.models.vlm import VLM
from mmtp.programs import vlm_loss
from mmtp.programs.vlm_loss import LossSettings


def make_pipelined_loss(
    model: VLM, loss: LossSettings, config: Any, mesh: Mesh
) -> Callable[[Any, Any, dict[str, Any], jax.Array], Loss]:
    """`vlm_loss.make_loss`, with the decoder's layers split over "stage".

    Raises:
        ConfigError: stages do not divide the layers, the decoder has experts, or the mesh splits
            layers over "tensor" too.
    """
    schedule = read_schedule(config, model, mesh)
    attend = choose_attention(config.attention, mesh)

    def run(params: Any, frozen: Any, batch: dict[str, Any], key: jax.Array) -> Loss:
        return pipelined(model, loss, schedule, attend, params, batch)

    return run


def read_schedule(config: Any, model: VLM, mesh: Mesh) -> Schedule:
    """What `config.pipeline` and `config.mesh.stage` mean for the model.

    Raises:
        ConfigError: as `make_pipelined_loss`.
    """
    options = settings.read(PipelineSettings, config.pipeline, "config.pipeline")
    schedule = resolve(options, mesh.shape["stage"], model.decoder.depth)
    if model.decoder.moe:
        raise ConfigError(
            f"config.mesh.stage = {schedule.stages} with experts: their balancing needs counts "
            "that do not travel through the stages; set stage to 1, or take a decoder without them."
        )
    pipeline.check_mesh(dict(mesh.shape))
    return schedule


def choose_attention(name: str, mesh: Mesh) -> Attend:
    """The attention of a stage's layers to rows that lie on the devices of "context"."""
    whole = mesh.shape["context"] == 1
    if name in ("auto", "blockwise", "xla"):
        return context.local if whole else context.gathered
    return settings.choose(context.METHODS, name, "config.attention")


def pipelined(
    model: VLM,
    loss: LossSettings,
    schedule: Schedule,
    attend: Attend,
    params: Any,
    batch: dict[str, Any],
    mesh: Mesh | None = None,
    ends: Ends = "branch",
) -> Loss:
    """Loss of a batch, whose groups are cut into the schedule's microbatches.

    Args:
        model, loss: as in `vlm_loss.make_loss`.
        schedule, mesh, ends: as in `pipeline.run`.
        attend: of the decoder's layers, to rows whose tokens are split over "context".
        params, batch: as `vlm_loss.make_loss` takes them.
    """
    arrays = {k: x for k, x in batch.items() if k not in ("statistics", "shared")}
    text = {k: x for k, x in params["decoder"].items() if k != "blocks"}
    shape = (mesh or jax.sharding.get_abstract_mesh()).shape
    split_images = arrays["image"]["segments"].shape[1] % shape["context"] == 0
    return pipeline.run(
        make_stages(model, loss, attend, split_images),
        schedule,
        params["decoder"]["blocks"],
        {**params, "decoder": text, "step": batch["statistics"]["step"]},
        sharding.split_microbatches(arrays, schedule.microbatches),
        make_specs(arrays, split_images),
        mesh=mesh,
        ends=ends,
    )


def make_stages(model: VLM, loss: LossSettings, attend: Attend, split_images: bool) -> Stages:
    """The model's pieces.

    Args:
        model, loss: as in `vlm_loss.make_loss`.
        attend: of the decoder's layers; those of the last stage gather their keys.
        split_images: each device of "context" has some of a group's vision rows, instead of all.
    """
    travels = model.mtp.depth > 0 and model.mtp.visual_input == "visual"
    policy = settings.choose(REMAT_POLICIES, model.decoder.remat, "config.decoder.remat")
    gather = context.whole_rows if split_images else lambda x: x

    def first(params: Any, batch: Any) -> Any:
        x = vlm_loss.first(model, params, batch, gather)
        return {"hidden": x, "input": x} if travels else {"hidden": x}

    def block(params: Any, state: Any, batch: Any) -> Any:
        def layer(params: Any, x: jax.Array) -> jax.Array:
            inputs = vlm_loss.make_inputs(model, vlm_loss.join_groups(batch))
            run = decoder.Block(model.decoder, attend).apply
            return run({"params": params}, x, inputs)[0]

        if policy is not None:
            layer = jax.checkpoint(layer, policy=policy, prevent_cse=False)
        return {**state, "hidden": layer(params, state["hidden"])}

    def last(params: Any, state: Any, batch: Any) -> Loss:
        rows = vlm_loss.join_groups(batch)
        return vlm_loss.last(
            *(model, loss, params, state["hidden"], state.get("input"), rows),
            *(vlm_loss.make_inputs(model, rows), params["step"], context.gathered),
            context.whole_rows,
        )

    return Stages(first, block, last)


def make_specs(arrays: dict[str, Any], split_images: bool) -> Any:
    """How the arrays of a microbatch are split: rows' tokens over "context"; vision rows too."""
    image = PartitionSpec(BATCH_AXES, "context" if split_images else None)

    def spec(name: str) -> PartitionSpec:
        dims = ARRAYS[name][1]
        return PartitionSpec(BATCH_AXES, *("context" if d == "tokens" else None for d in dims))

    text = {name: spec(name) for name in arrays if name != "image"}
    return text | {"image": dict.fromkeys(arrays["image"], image)}
