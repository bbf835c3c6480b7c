"""GLM-OCR's vision tower (transformers' `GlmOcrVisionModel`) in our names and layouts."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from cogvit_jax.data.packing import RowPlan, pack, pad, plan_rows
from cogvit_jax.data.transforms import patchify
from cogvit_jax.models.vit import CogViT

# Two f32 programs of the same function; the largest difference seen is 1.3e-5, at 24 x 1024.
TOLERANCE = {"atol": 5e-5, "rtol": 1e-5}


def params_from_torch(state: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """CogViT's parameters from the tower's state dict; merger and downsample are left out.

    The tower reads two frames per patch. An image repeats its only frame, so the two frames'
    kernels add up to ours.
    """
    frames = state["patch_embed.proj.weight"]  # d channel frame row column
    kernel = frames.sum(axis=2).transpose(2, 3, 1, 0)
    depth = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks."))
    blocks = [_block(state, f"blocks.{layer}.") for layer in range(depth)]
    return {
        "patch_embedding": {
            "kernel": kernel.reshape(-1, kernel.shape[-1]),
            "bias": state["patch_embed.proj.bias"],
        },
        "blocks": jax.tree.map(lambda *layers: np.stack(layers), *blocks),
        "norm": {"scale": state["post_layernorm.weight"]},
    }


def model_for(params: Any, pixel_mean: Sequence[float], pixel_std: Sequence[float]) -> CogViT:
    """The encoder that parameters from `params_from_torch` belong to."""
    depth, width, _, num_heads, _ = params["blocks"]["attention"]["qkv"]["kernel"].shape
    mlp_dim = params["blocks"]["mlp"]["up"]["bias"].shape[-1]
    mean, std = (tuple(float(x) for x in values) for values in (pixel_mean, pixel_std))
    return CogViT(width, depth, num_heads, mlp_dim, pixel_mean=mean, pixel_std=std)


def features(
    model: CogViT, params: Any, pictures: Sequence[np.ndarray], patch_size: int, packed: bool
) -> list[np.ndarray]:
    """Our features of each picture `[n, d]`, from one batch, in the tower's order of tokens.

    Packed rows hold about half of all tokens, so that they hold several pictures each; both
    layouts have padding.
    """
    patches, positions = zip(*(patchify(p, patch_size) for p in pictures), strict=True)
    sizes = [len(p) for p in patches]
    if packed:
        row_length = max(max(sizes), -(-sum(sizes) // 2)) + 5
        plan = plan_rows(sizes, row_length)
        batch = pack(patches, positions, plan, row_length, plan.max_slots)
    else:
        plan = RowPlan(tuple(range(len(sizes))), (1,) * len(sizes), len(sizes), 1)
        batch = pad(patches, positions, max(sizes) + 3)
    inputs = (batch["patches"], batch["positions"], batch["segments"])
    with jax.default_matmul_precision("highest"):
        rows = np.asarray(jax.jit(model.apply)({"params": params}, *inputs))
    places = zip(plan.rows, plan.slots, positions, strict=True)
    return [
        rows[row][batch["segments"][row] == slot][_merge_order(*(position.max(axis=0) + 1))]
        for row, slot, position in places
    ]


def _merge_order(rows: int, columns: int, merge: int = 2) -> np.ndarray:
    """Row-major index of each of the tower's tokens, which go through 2 x 2 blocks in turn."""
    grid = np.arange(rows * columns).reshape(rows // merge, merge, columns // merge, merge)
    return grid.transpose(0, 2, 1, 3).reshape(-1)


def _block(state: Mapping[str, np.ndarray], prefix: str) -> dict[str, Any]:
    head_dim = state[f"{prefix}attn.q_norm.weight"].shape[0]
    qkv, out = state[f"{prefix}attn.qkv.weight"], state[f"{prefix}attn.proj.weight"]
    dim = qkv.shape[1]

    def dense(name: str) -> dict[str, np.ndarray]:
        return {"kernel": state[f"{name}.weight"].T, "bias": state[f"{name}.bias"]}

    return {
        "norm1": {"scale": state[f"{prefix}norm1.weight"]},
        "norm2": {"scale": state[f"{prefix}norm2.weight"]},
        "attention": {
            "qkv": {
                "kernel": qkv.T.reshape(dim, 3, -1, head_dim),
                "bias": state[f"{prefix}attn.qkv.bias"].reshape(3, -1, head_dim),
            },
            "q_norm": {"scale": state[f"{prefix}attn.q_norm.weight"]},
            "k_norm": {"scale": state[f"{prefix}attn.k_norm.weight"]},
            "out": {
                "kernel": out.T.reshape(-1, head_dim, dim),
                "bias": state[f"{prefix}attn.proj.bias"],
            },
        },
        "mlp": {name: dense(f"{prefix}mlp.{name}_proj") for name in ("gate", "up", "down")},
    }
