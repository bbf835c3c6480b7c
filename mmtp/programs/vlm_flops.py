"""Model FLOPs of a training step of the vision-language model."""

from typing import Any

from cogvit_jax import settings
from cogvit_jax.models import vit
from mmtp.models.decoder import DecoderConfig
from mmtp.models.vlm import PROJECTOR_RATIO, VLM


def step_flops(config: Any, model: VLM, batch: dict[str, Any]) -> float:
    """Forward and twice that backward; recomputation does not count, padding does.

    The count is the same for every `mmtp.visual_input`: the arms differ in what they are fed, not
    in what they compute.
    """
    vision = settings.read(vit.VisionSettings, config.vision, "config.vision")
    patches = batch["image"]["segments"].size
    row = batch["image"]["segments"].shape[-1]
    tokens, length = batch["tokens"].size, batch["tokens"].shape[-1]
    return 3 * (
        vit.forward_flops(vision, patches, float(row))
        + projector_flops(model, patches // 4)
        + decoder_flops(model, tokens, length)
    )


def projector_flops(model: VLM, tokens: int) -> float:
    """Of the merger, forward."""
    width = model.decoder.width
    hidden = model.projector_dim or PROJECTOR_RATIO * width
    return 2.0 * tokens * (4 * model.vision.width * width + width**2 + 3 * width * hidden)


def decoder_flops(model: VLM, tokens: int, length: int) -> float:
    """Of the layers, the multi-token-prediction layers and all heads' logits, forward."""
    config = model.decoder
    layer = layer_flops(config, length)
    dense = layer_flops(config, length, dense=True)
    layers = config.num_dense_layers * dense + (config.depth - config.num_dense_layers) * layer
    logits = 2 * config.width * config.vocab_size
    drafts = model.mtp.depth * (layer + 4 * config.width**2 + logits)
    return float(tokens * (layers + logits + drafts))


def layer_flops(config: DecoderConfig, length: int, dense: bool = False) -> float:
    """Per token of one layer; causal attention over a whole row."""
    heads = 2 * config.num_heads + 2 * config.num_kv_heads
    projections = 2 * config.width * heads * config.head_dim
    attention = 2 * length * config.num_heads * config.head_dim  # half of the row on average
    mlp = 6 * config.width * config.mlp_dim
    if config.moe and not dense:
        busy = config.moe.num_selected + config.moe.num_shared
        mlp = 6 * config.width * config.moe.expert_dim * busy
        mlp += 2 * config.width * config.moe.num_experts
    return float(projections + attention + mlp)
