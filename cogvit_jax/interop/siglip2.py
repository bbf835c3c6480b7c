"""SigLIP2's released weights (transformers' `siglip` and `siglip2`) in our names and layouts.

The vision tower becomes a teacher (`models.siglip2`); the text tower becomes parameters of
`models.two_towers.TwoTowers`, to start stage 2 from.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np

from cogvit_jax import settings
from cogvit_jax.interop import torch_layers
from cogvit_jax.interop.files import Weights, open_weights
from cogvit_jax.models import frozen, siglip2, text
from cogvit_jax.models.teachers import TeacherSettings
from cogvit_jax.settings import ConfigError

BLOCK = {
    "norm1": "layer_norm1",
    "attention/query": "self_attn.q_proj",
    "attention/key": "self_attn.k_proj",
    "attention/value": "self_attn.v_proj",
    "attention/out": "self_attn.out_proj",
    "norm2": "layer_norm2",
    "mlp/up": "mlp.fc1",
    "mlp/down": "mlp.fc2",
}
BLOCKS = {f"blocks/{ours}": f"encoder.layers.{{}}.{name}" for ours, name in BLOCK.items()}
VISION = BLOCKS | {"norm": "post_layernorm", "patch_embedding": "embeddings.patch_embedding"}
TEXT = BLOCKS | {"norm": "final_layer_norm", "projection": "head"}
PATCHES, POSITIONS = "embeddings.patch_embedding.weight", "embeddings.position_embedding.weight"
TOKENS = "embeddings.token_embedding.weight"


def load(
    path: str | Path, config: TeacherSettings, section: str = "config.teachers"
) -> dict[str, Any]:
    """The vision tower's parameters as numpy arrays in `config.dtype`, without the pooling head.

    Args:
        path: a .safetensors file or a folder, see `files.open_weights`; of the whole model, or of
            the vision tower, with and without `vision_model.` in front of its names.
        config: kind "siglip2" or "siglip2_naflex", with its size, image size and patch size.
        section: the config section's name in errors.

    Raises:
        FileNotFoundError: nothing at `path`.
        ConfigError: unknown size; the other kind; a picture whose grid is not the checkpoint's.
        WeightsError: damaged, incomplete, or of another size or model.
    """
    _, _, num_heads, _ = settings.choose(siglip2.SIZES, config.size, f"{section}.size")
    weights = _part(open_weights(path), "vision_model.")
    entries = weights.config.get("vision_config", weights.config)
    torch_layers.require_config(weights, entries, _expected(num_heads))
    _require_kind(weights, config, section)
    num_positions = _require_positions(weights, config, section)
    shapes = siglip2.shapes(config.size, config.patch_size, num_positions, config.dtype)
    positions = shapes.pop("positions")
    convolution = {} if _is_naflex(config) else {"patch_embedding": shapes.pop("patch_embedding")}
    params = torch_layers.read(weights, shapes, VISION)
    for name, part in convolution.items():
        params[name] = torch_layers.read_convolution(weights, part, VISION[name], config.patch_size)
    params["positions"] = weights.take(POSITIONS, positions.shape).astype(config.dtype)
    model = f"SigLIP2 {config.size} ({section})"
    torch_layers.require_all_used(weights, ("head.", "embeddings.position_ids"), model)
    return params


def load_text(path: str | Path, config: text.TextSettings, length: int) -> dict[str, Any]:
    """`text` and `text_projection` of TwoTowers, float32, from the text tower and its projection.

    The tower is SigLIP2's exactly where `config.attend_padding` is True; its captions must be
    tokenized as SigLIP2's are.

    Args:
        path: a .safetensors file or a folder; of the whole model, or of the text tower.
        config: `config.text`; a `vocab_size` of 0 takes the checkpoint's.
        length: `config.data.text_length`.

    Raises:
        FileNotFoundError: nothing at `path`.
        ConfigError: `qk_norm`, which SigLIP2 lacks; another text length.
        WeightsError: damaged, incomplete, or of another size or model.
    """
    if config.qk_norm:
        raise ConfigError("config.text.qk_norm = True, but SigLIP2's tower has none: set it False.")
    weights = _part(open_weights(path), "text_model.")
    width, depth, num_heads, mlp_dim = text.dimensions(config)
    entries = weights.config.get("text_config", weights.config)
    torch_layers.require_config(weights, entries, _expected(num_heads))
    found = weights.shape(POSITIONS)[0]
    if found != length:
        raise ConfigError(
            f"config.data.text_length = {length}, but {weights.path} has {found} positions of "
            f"text: set it to {found}."
        )
    table = weights.shape(TOKENS)[0]
    embed_dim = weights.shape("head.weight")[0]
    shapes = frozen.structs(_text_shapes(width, depth, mlp_dim, embed_dim), "float32")
    params = torch_layers.read(weights, shapes, TEXT)
    projection = params.pop("projection")
    params["blocks"]["attention"] = _split_heads(params["blocks"]["attention"], num_heads)
    params["embedding"] = {"embedding": weights.take(TOKENS, (config.vocab_size or table, width))}
    params["positions"] = weights.take(POSITIONS, (length, width))
    torch_layers.require_all_used(weights, ("embeddings.position_ids",), f"text {config.size}")
    return {"text": params, "text_projection": projection}


def _text_shapes(width: int, depth: int, mlp_dim: int, embed_dim: int) -> dict[str, Any]:
    block = siglip2.block_shapes(width, mlp_dim)
    return {
        "blocks": frozen.stacked(block, depth),
        "norm": block["norm1"],
        "projection": frozen.linear_shapes(width, embed_dim),
    }


def _split_heads(params: dict[str, Any], num_heads: int) -> dict[str, Any]:
    """Our trained towers' attention: one kernel for query, key and value, and a dim of heads."""
    parts = [params[name] for name in ("query", "key", "value")]
    kernel = np.stack([p["kernel"] for p in parts], axis=2)  # layer in 3 out
    bias = np.stack([p["bias"] for p in parts], axis=1)
    depth, width = params["out"]["kernel"].shape[:2]
    heads = (num_heads, width // num_heads)
    return {
        "qkv": {
            "kernel": kernel.reshape(depth, width, 3, *heads),
            "bias": bias.reshape(depth, 3, *heads),
        },
        "out": {
            "kernel": params["out"]["kernel"].reshape(depth, *heads, width),
            "bias": params["out"]["bias"],
        },
    }


def _expected(num_heads: int) -> dict[str, Any]:
    """What a config.json of this size says and shapes do not."""
    return {
        "num_attention_heads": num_heads,
        "layer_norm_eps": siglip2.EPS,
        "hidden_act": "gelu_pytorch_tanh",
    }


def _part(weights: Weights, prefix: str) -> Weights:
    """The tower whose names start with `prefix`; all of a file that has no such prefix."""
    if not any(name.startswith(prefix) for name in weights.names()):
        return weights
    return weights.renamed(
        lambda name: name.removeprefix(prefix) if name.startswith(prefix) else None
    )


def _is_naflex(config: TeacherSettings) -> bool:
    return config.kind == "siglip2_naflex"


def _require_kind(weights: Weights, config: TeacherSettings, section: str) -> None:
    """NaFlex checkpoints embed patches with a matrix, the others with a convolution."""
    found = "siglip2_naflex" if len(weights.shape(PATCHES)) == 2 else "siglip2"
    if found != config.kind:
        raise ConfigError(
            f"{section}.kind = {config.kind!r}, but {PATCHES!r} of {weights.path} has shape "
            f"{weights.shape(PATCHES)}, as of a {found!r}: set kind to that."
        )


def _require_positions(weights: Weights, config: TeacherSettings, section: str) -> int:
    found = weights.shape(POSITIONS)[0]
    side = math.isqrt(found)
    if not _is_naflex(config) and found != config.grid**2:
        raise ConfigError(
            f"{section}.image_size = {config.image_size} with patch_size = {config.patch_size} "
            f"gives {config.grid} x {config.grid} patches, but {weights.path} has {found} "
            f"positions ({side} x {side}): set image_size to {side * config.patch_size}, or take "
            "the checkpoint of that resolution."
        )
    return siglip2.NAFLEX_POSITIONS if _is_naflex(config) else found
