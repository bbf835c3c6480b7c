"""The vision tower of GLM-4.1V, 4.5V and 4.6V from their files."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from cogvit_jax.interop import glm_vision
from cogvit_jax.interop.files import Weights, WeightsError, open_weights
from cogvit_jax.interop.glm_vision import Leaf
from cogvit_jax.models.glm4v import Glm4vSettings

_MODEL_TYPES = ("glm4v", "glm4v_vision", "glm4v_moe", "glm4v_moe_vision", "glm46v")
_POSITIONS = "embeddings.position_embedding.weight"


def load_glm4v(
    path: str | Path, temporal: bool = False
) -> tuple[dict[str, Any], dict[str, Any], Glm4vSettings]:
    """Parameters and settings of a tower, and its merger.

    Args:
        path: a .safetensors file beside its config.json, or a folder; a whole model or its vision
            tower alone.
        temporal: keep the patch kernel's two frames, for videos; see `interop.cogvit.load_cogvit`.

    Returns:
        (parameters for `models.glm4v.encode`, parameters for `models.merger.merge`, settings).

    Raises:
        FileNotFoundError, WeightsError: see `interop.files`; another kind of model.
    """
    return read_glm4v(open_weights(path), temporal)


def read_glm4v(
    weights: Weights, temporal: bool
) -> tuple[dict[str, Any], dict[str, Any], Glm4vSettings]:
    """`load_glm4v` from files that are open."""
    config = glm_vision.vision_config(
        weights, _MODEL_TYPES, "interop.cogvit reads GLM-OCR's and GLM-5.3-Flash's towers."
    )
    if config.get("attention_bias"):
        raise WeightsError(
            f"{weights.path}: attention_bias is True, expected False: it is another model."
        )
    tower = glm_vision.find_tower(weights)
    width = tower.shape("patch_embed.proj.weight")[0]
    mlp_dim = tower.shape("blocks.0.mlp.gate_proj.weight")[0]
    settings = Glm4vSettings(
        num_heads=config.get("num_heads", Glm4vSettings.num_heads),
        rope_theta=glm_vision.rope_theta(config),
        **glm_vision.pixel_statistics(weights),
    )
    if width % settings.num_heads:
        raise WeightsError(
            f"{weights.path}: width {width} is not divisible by num_heads {settings.num_heads}: "
            "its config.json belongs to another model."
        )
    blocks = glm_vision.block_leaves(
        width, settings.num_heads, mlp_dim, biases=False, qk_norm=False
    )
    params = glm_vision.read_leaves(tower, _outer_leaves(width))
    params["patch_embedding"]["kernel"] = glm_vision.read_patch_kernel(tower, temporal)
    params["positions"] = _read_positions(tower, width)
    params["blocks"] = glm_vision.read_blocks(tower, blocks, glm_vision.count_blocks(tower))
    return params, glm_vision.read_merger(tower), settings


def _read_positions(tower: Weights, width: int) -> np.ndarray:
    """The learned grid of positions `[side, side, width]`."""
    count = tower.shape(_POSITIONS)[0]
    side = math.isqrt(count)
    if side * side != count:
        raise WeightsError(
            f"{tower.path}: {_POSITIONS!r} holds {count} positions, expected a square."
        )
    return tower.take(_POSITIONS, (count, width)).reshape(side, side, width)


def _outer_leaves(width: int) -> dict[str, Leaf]:
    vectors = {
        "patch_embedding/bias": "patch_embed.proj.bias",
        "post_conv_norm/scale": "post_conv_layernorm.weight",
        "norm/scale": "post_layernorm.weight",
    }
    return {path: Leaf(name, (width,), (width,)) for path, name in vectors.items()}
