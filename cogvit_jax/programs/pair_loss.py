"""The sigmoid loss of a batch of images and texts, spread over the mesh and over microbatches.

Texts come first and are embedded once per step: an image's loss needs of the others only their
texts, so images can follow in microbatches, each embedded once, forward and backward, and still
meet every text of the global batch. Open_clip's accumulation and GradCache (arXiv:2101.06983)
embed every image twice for that; a softmax, unlike the sigmoid, would have to.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from absl import logging
from jax.sharding import Mesh, PartitionSpec

from cogvit_jax import settings, sharding
from cogvit_jax.losses.auto import choose_method
from cogvit_jax.losses.gather import gather_texts
from cogvit_jax.losses.siglip import METHODS, sigmoid_loss
from cogvit_jax.models.two_towers import TwoTowers
from cogvit_jax.program import BatchArrays, Loss, Params


@dataclasses.dataclass(frozen=True)
class LossSettings:
    """`config.loss`.

    Attributes:
        method: how the N × N logits are spread over devices, see `losses.siglip`; "all_pairs" is
            the whole matrix at once, placed by the compiler; "auto" takes the fastest that fits,
            by `losses.auto`.
        chunk_size: images per tile of logits; 0 = all of a device's.
        init_scale, init_bias: at step 0.
        positives: "concept": records that share a concept or caption are positives of each other;
            "pair": only an image and its own caption.
    """

    method: str = "auto"
    chunk_size: int = 0
    init_scale: float = 10.0
    init_bias: float = -10.0
    positives: str = "concept"


def resolve_method(config: LossSettings, mesh: Mesh, batch: int, dim: int) -> str:
    """The method that `config.loss.method` stands for; raises ConfigError on a wrong field."""
    settings.choose(dict.fromkeys(("concept", "pair")), config.positives, "config.loss.positives")
    settings.choose(dict.fromkeys(("auto", *METHODS)), config.method, "config.loss.method")
    if config.method == "all_pairs" and config.chunk_size:
        raise settings.ConfigError(
            f"config.loss.chunk_size = {config.chunk_size} has no effect with method 'all_pairs': "
            "set it to 0, or choose another config.loss.method."
        )
    if config.method != "auto":
        return config.method
    kind = mesh.devices.flat[0].device_kind
    method, reason = choose_method(sharding.num_batch_shards(mesh), kind, batch, dim)
    logging.info("config.loss.method: auto -> %s: %s", method, reason)
    return method


def make_share_texts(model: TwoTowers, method: str, mesh: Mesh) -> Callable[..., Any]:
    """`Program.shared`: all texts' embeddings, and the images that are still to come."""
    axes = sharding.BATCH_AXES
    rows = PartitionSpec(axes)
    gather = jax.shard_map(
        partial(gather_texts, axis_name=axes), mesh=mesh, in_specs=(rows, rows), out_specs=rows
    )

    def share(
        params: Params, frozen: Any, batch: BatchArrays, key: jax.Array
    ) -> tuple[Any, BatchArrays]:
        texts: Any = model.apply({"params": params}, batch["text"], method=TwoTowers.embed_texts)
        if method == "all_gather":
            shared = gather(texts, batch["text_ids"])
        else:  # f32, so that the gradients of microbatches add up in f32
            shared = texts.astype(jnp.float32), batch["text_ids"]
        return shared, {name: batch[name] for name in ("image", "image_ids")}

    return share


def make_pair_loss(
    model: TwoTowers, method: str, chunk_size: int, mesh: Mesh
) -> Callable[..., Loss]:
    """`Program.loss`: images of a microbatch against all texts."""
    sigmoid = _make_sigmoid(method, chunk_size, mesh)

    def loss(params: Params, frozen: Any, batch: BatchArrays, key: jax.Array) -> Loss:
        images = model.apply({"params": params}, batch["image"], method=TwoTowers.embed_images)
        log_scale, bias = params["log_scale"], params["bias"]
        texts, text_ids = batch["shared"]
        image_ids = batch["image_ids"].reshape(-1)
        total, weight, sums = sigmoid(images, image_ids, texts, text_ids, log_scale, bias)
        one = jnp.ones(())
        metrics = {
            "logit/positive": (sums["positive_logit_sum"], sums["num_positives"]),
            "logit/negative": (sums["negative_logit_sum"], sums["num_negatives"]),
            "logit/scale": (jnp.exp(log_scale), one),
            "logit/bias": (bias, one),
        }
        return Loss(total, weight, metrics)

    return loss


def _make_sigmoid(method: str, chunk_size: int, mesh: Mesh) -> Callable[..., Any]:
    """(images, ids, texts, ids, log_scale, bias) -> (total, weight, metrics) over all devices."""
    axes = sharding.BATCH_AXES
    whole = method == "all_pairs"
    gathered = method == "all_gather"  # then each device already has all texts

    def compare(
        images: Any, image_ids: Any, texts: Any, text_ids: Any, log_scale: Any, bias: Any
    ) -> Any:
        sums = sigmoid_loss(
            images,
            texts,
            log_scale,
            bias,
            image_ids=image_ids,
            text_ids=text_ids,
            axis_name=None if whole or gathered else axes,
            method=method,
            chunk_size=chunk_size or None,
        )
        return sums if whole else jax.tree.map(lambda x: jax.lax.psum(x, axes), sums)

    if whole:
        return compare
    rows, replicated = PartitionSpec(axes), PartitionSpec()
    return jax.shard_map(
        compare,
        mesh=mesh,
        in_specs=(rows, rows, rows, rows, replicated, replicated),
        out_specs=replicated,
    )
