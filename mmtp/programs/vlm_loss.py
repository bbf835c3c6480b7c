"""The training loss of the vision-language model: pictures, text, layers, all heads, sums.

Three pieces, so that they can lie on one device or on the stages of a pipeline:

    first: a batch -> the decoder's input        (vision encoder, projector, embedding table)
    last:  the decoder's output -> sums          (final norm, multi-token prediction, losses)

and the decoder's layers between them.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from cogvit_jax.program import Loss
from cogvit_jax.settings import ConfigError
from mmtp.data.records import CATEGORIES
from mmtp.losses import mtp as mtp_loss
from mmtp.losses.cross_entropy import TokenLosses, head_losses
from mmtp.models import decoder, mtp, vlm
from mmtp.models.attend import Attend, Inputs
from mmtp.models.vlm import VLM
from mmtp.programs.vlm_statistics import with_router_bias

Gather = Callable[[jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True)
class LossSettings:
    """`config.loss`.

    Attributes:
        vocab_block: columns of the output matrix whose logits exist at a time.
        z_loss: factor of the squared log of the softmax's normaliser.
        router_bias_rate: step of the experts' balancing bias; without experts it plays no part.
    """

    vocab_block: int = 2048
    z_loss: float = 0.0
    router_bias_rate: float = 1e-3


def check(config: LossSettings) -> None:
    """Raises ConfigError where a field is out of range."""
    if config.vocab_block < 1:
        raise ConfigError(f"config.loss.vocab_block = {config.vocab_block} must be 1 or more.")
    for name in ("z_loss", "router_bias_rate"):
        if getattr(config, name) < 0:
            raise ConfigError(f"config.loss.{name} = {getattr(config, name)} must be 0 or more.")


def make_loss(
    model: VLM, config: LossSettings, attend: Attend
) -> Callable[[Any, Any, dict[str, Any], jax.Array], Loss]:
    """(params, frozen, batch, key) -> Loss over the main head's tokens; see `losses.mtp`."""

    def loss(params: Any, frozen: Any, batch: dict[str, Any], key: jax.Array) -> Loss:
        statistics = batch["statistics"]
        params = with_router_bias(params, statistics)
        x = first(model, params, batch)
        rows = join_groups(batch)
        inputs = make_inputs(model, rows)
        hidden, _, loads = decoder.run_counting(
            params["decoder"], model.decoder, x, inputs, attend=attend
        )
        found = last(model, config, params, hidden, x, rows, inputs, statistics["step"], attend)
        return found._replace(sums={} if loads is None else {"loads": loads})

    return loss


def first(
    model: VLM, params: Any, batch: dict[str, Any], gather_images: Gather = lambda x: x
) -> jax.Array:
    """The decoder's input `[rows, tokens, width]`: embedded text, pictures in their places.

    Args:
        model, params, batch: as in `make_loss`.
        gather_images: visual tokens `[groups, m, width]` of all devices that share a row.
    """
    features = gather_images(vlm.encode_images(model, params, batch["image"]))
    return vlm.embed(model, params, batch["tokens"], batch["visual"], features)


def last(
    model: VLM,
    config: LossSettings,
    params: Any,
    hidden: jax.Array,
    x: jax.Array | None,
    rows: dict[str, Any],
    inputs: Inputs,
    step: jax.Array,
    attend: Attend,
    gather_rows: Gather = lambda x: x,
) -> Loss:
    """Sums of all heads' losses.

    Args:
        model, config, params: as in `make_loss`.
        hidden: output of the decoder's layers, before the final norm.
        x: their input, or None; only `visual_input = "visual"` reads it.
        rows: the batch with groups joined.
        inputs: of the rows.
        step: of training, for the weight of multi-token prediction.
        attend: attention of a row to itself.
        gather_rows: whole rows `[rows, tokens, …]`, where devices that share them look for
            themselves what is where.
    """
    found = all_heads(model, config, params, hidden, x, rows, inputs, attend, gather_rows)
    settings = model.mtp
    weights = rows["weights"]
    if settings.path_mask:
        weights = mtp_loss.mask_paths(weights, rows["path"])
    factor = mtp_loss.scheduled_weight(
        step, settings.weight_start, settings.weight_end, settings.weight_steps
    )
    total, weight = mtp_loss.total_loss(found, weights, factor)
    metrics = mtp_loss.metrics(
        found,
        weights,
        categories=rows["category"],
        names=CATEGORIES,
        sources=rows["mtp_sources"],
        path=rows["path"],
        gather_rows=gather_rows,
    )
    return Loss(total, weight, metrics)


def all_heads(
    model: VLM,
    config: LossSettings,
    params: Any,
    hidden: jax.Array,
    x: jax.Array | None,
    rows: dict[str, Any],
    inputs: Inputs,
    attend: Attend,
    gather_rows: Gather = lambda x: x,
) -> TokenLosses:
    """Losses per token of the main head and of every depth, `[rows, 1 + D, tokens]`; see `last`."""
    settings = model.mtp
    heads = [decoder.final_norm(params["decoder"], model.decoder, hidden)]
    if settings.depth:
        seen = hidden if x is None or settings.visual_input != "visual" else gather_rows(x)
        heads += mtp.run(
            params["mtp"],
            params["decoder"],
            settings,
            model.decoder,
            hidden,
            seen,
            rows,
            inputs,
            model.image_token,
            attend,
        )
    return head_losses(
        jnp.stack(heads, axis=1),
        decoder.output_matrix(params["decoder"], model.decoder),
        rows["labels"],
        block=config.vocab_block,
        z_loss=config.z_loss,
        num_training=mtp.num_training_heads(settings),
    )


def join_groups(batch: dict[str, Any]) -> dict[str, Any]:
    """Text arrays of a batch as rows `[groups * rows, …]`; without MTP layers some are empty."""
    rows = {n: x for n, x in batch.items() if n not in ("image", "statistics", "shared")}
    return {n: x.reshape(x.shape[0] * x.shape[1], *x.shape[2:]) for n, x in rows.items()}


def make_inputs(model: VLM, rows: dict[str, Any]) -> Inputs:
    """What the decoder's layers know of the rows."""
    return decoder.make_inputs(model.decoder, rows["positions"], rows["segments"], rows["order"])
