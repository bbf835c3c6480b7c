"""DINOv3's released weights (transformers' `DINOv3ViTModel`) as parameters of `models.dinov3`."""

from pathlib import Path
from typing import Any

from cogvit_jax import settings
from cogvit_jax.interop import torch_layers
from cogvit_jax.interop.files import Weights, open_weights
from cogvit_jax.models import dinov3
from cogvit_jax.models.teachers import TeacherSettings

BLOCK = {
    "norm1": "norm1",
    "attention/query": "attention.q_proj",
    "attention/key": "attention.k_proj",
    "attention/value": "attention.v_proj",
    "attention/out": "attention.o_proj",
    "norm2": "norm2",
    "mlp/up": "mlp.up_proj",
    "mlp/gate": "mlp.gate_proj",
    "mlp/down": "mlp.down_proj",
}
MODULES = {"norm": "norm"} | {
    f"blocks/{ours}": f"layer.{{}}.{name}" for ours, name in BLOCK.items()
}


def load(
    path: str | Path, config: TeacherSettings, section: str = "config.teachers"
) -> dict[str, Any]:
    """Parameters as numpy arrays in `config.dtype`.

    Args:
        path: a .safetensors file or a folder, see `files.open_weights`; blocks may be named
            `layer.N` (released files) or `model.layer.N` (transformers 5 in memory).
        config: kind "dinov3", with its size and patch size.
        section: the config section's name in errors.

    Raises:
        FileNotFoundError: nothing at `path`.
        ConfigError: unknown size.
        WeightsError: damaged, incomplete, or of another size or model.
    """
    size = settings.choose(dinov3.SIZES, config.size, f"{section}.size")
    weights = open_weights(path).renamed(lambda name: name.removeprefix("model."))
    _require_config(weights, size)
    shapes = dinov3.shapes(config.size, config.patch_size, config.dtype)
    blocks = shapes["blocks"]
    params = torch_layers.read(
        weights,
        {"blocks": {n: x for n, x in blocks.items() if "scale" not in n}, "norm": shapes["norm"]},
        MODULES,
    )
    for name in ("layer_scale1", "layer_scale2"):
        gain = torch_layers.read_blocks(
            weights, blocks[name]["scale"], f"layer.{{}}.{name}.lambda1"
        )
        params["blocks"][name] = {"scale": gain}
    params |= _embeddings(weights, shapes, config.patch_size)
    model = f"DINOv3 {config.size} ({section})"
    torch_layers.require_all_used(weights, ("embeddings.mask_token",), model)
    return params


def _embeddings(weights: Weights, shapes: Any, patch_size: int) -> dict[str, Any]:
    tokens = {}
    for name in ("cls_token", "register_tokens"):
        struct = shapes[name]
        tokens[name] = weights.take(f"embeddings.{name}", (1, *struct.shape))[0].astype(
            struct.dtype
        )
    patches = torch_layers.read_convolution(
        weights, shapes["patch_embedding"], "embeddings.patch_embeddings", patch_size
    )
    return {"patch_embedding": patches, **tokens}


def _require_config(weights: Weights, size: dinov3.Size) -> None:
    expected = {
        "model_type": "dinov3_vit",
        "num_attention_heads": size.num_heads,
        "rope_theta": dinov3.ROPE_THETA,
        "layer_norm_eps": dinov3.EPS,
        "hidden_act": "silu" if size.gated else "gelu",
    }
    torch_layers.require_config(weights, weights.config, expected)
