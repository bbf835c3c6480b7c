"""What the vision towers of GLM-OCR, GLM-5.3-Flash and GLM-4V share in their files.

Arrays of torch are (out, in, *kernel), ours (*kernel, in, out), and our `in` or `out` may be split
into heads: one rule brings each into the other, without any loss.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cogvit_jax import tree
from cogvit_jax.interop.files import Weights, WeightsError
from cogvit_jax.models.glm4v import CLIP_MEAN, CLIP_STD

Shape = tuple[int, ...]

NORM_EPS = 1e-5
CHANNELS = 3
FRAMES = 2  # that one patch of a video spans
_PATCH_KERNEL = "patch_embed.proj.weight"


@dataclass(frozen=True)
class Leaf:
    """One parameter in both layouts.

    Attributes:
        name: in the file.
        shape: in the file.
        ours: shape in our tree.
    """

    name: str
    shape: Shape
    ours: Shape


def from_torch(array: np.ndarray, shape: Shape) -> np.ndarray:
    """(out, in, *kernel) -> (*kernel, in, out), then `shape`; vectors keep their order."""
    if array.ndim > 1:
        array = array.transpose(*range(2, array.ndim), 1, 0)
    return array.reshape(shape)


def to_torch(array: np.ndarray, shape: Shape) -> np.ndarray:
    """The inverse of `from_torch`: back to `shape`, which is (out, in, *kernel)."""
    rank = len(shape)
    if rank > 1:
        array = array.reshape(*shape[2:], shape[1], shape[0])
        array = array.transpose(rank - 1, rank - 2, *range(rank - 2))
    return array.reshape(shape)


def block_leaves(
    width: int, num_heads: int, mlp_dim: int, biases: bool, qk_norm: bool
) -> dict[str, Leaf]:
    """Path in our block -> leaf, whose name lacks `blocks.N.`."""
    head_dim = width // num_heads
    qkv, out = (3, num_heads, head_dim), (num_heads, head_dim, width)
    leaves = {
        "norm1/scale": Leaf("norm1.weight", (width,), (width,)),
        "norm2/scale": Leaf("norm2.weight", (width,), (width,)),
        "attention/qkv/kernel": Leaf("attn.qkv.weight", (3 * width, width), (width, *qkv)),
        "attention/out/kernel": Leaf("attn.proj.weight", (width, width), out),
    }
    for name, shape in {"gate": (width, mlp_dim), "up": (width, mlp_dim)}.items():
        leaves[f"mlp/{name}/kernel"] = Leaf(f"mlp.{name}_proj.weight", shape[::-1], shape)
    leaves["mlp/down/kernel"] = Leaf("mlp.down_proj.weight", (width, mlp_dim), (mlp_dim, width))
    if qk_norm:
        for name in ("q_norm", "k_norm"):
            leaves[f"attention/{name}/scale"] = Leaf(
                f"attn.{name}.weight", (head_dim,), (head_dim,)
            )
    if biases:
        leaves["attention/qkv/bias"] = Leaf("attn.qkv.bias", (3 * width,), qkv)
        leaves["attention/out/bias"] = Leaf("attn.proj.bias", (width,), (width,))
        for name, size in {"gate": mlp_dim, "up": mlp_dim, "down": width}.items():
            leaves[f"mlp/{name}/bias"] = Leaf(f"mlp.{name}_proj.bias", (size,), (size,))
    return leaves


def merger_leaves(width: int, out_dim: int, mlp_dim: int) -> dict[str, Leaf]:
    """Path in `models.merger`'s parameters -> leaf."""
    kernels = {
        "proj": (out_dim, out_dim),
        "gate": (out_dim, mlp_dim),
        "up": (out_dim, mlp_dim),
        "down": (mlp_dim, out_dim),
    }
    names = {"proj": "merger.proj"} | {n: f"merger.{n}_proj" for n in ("gate", "up", "down")}
    norm, vector = "merger.post_projection_norm", (out_dim,)
    return {
        "downsample/kernel": Leaf(
            "downsample.weight", (out_dim, width, 2, 2), (2, 2, width, out_dim)
        ),
        "downsample/bias": Leaf("downsample.bias", vector, vector),
        "norm/scale": Leaf(f"{norm}.weight", vector, vector),
        "norm/bias": Leaf(f"{norm}.bias", vector, vector),
    } | {
        f"{name}/kernel": Leaf(f"{names[name]}.weight", shape[::-1], shape)
        for name, shape in kernels.items()
    }


def read_leaves(weights: Weights, leaves: Mapping[str, Leaf]) -> dict[str, Any]:
    """Our tree of the arrays that `leaves` name."""
    return tree.unflatten(
        {p: from_torch(weights.take(x.name, x.shape), x.ours) for p, x in leaves.items()}
    )


def read_blocks(weights: Weights, leaves: Mapping[str, Leaf], depth: int) -> dict[str, Any]:
    """Our tree of all blocks, stacked on axis 0."""
    return tree.unflatten(
        {
            path: np.stack(
                [
                    from_torch(weights.take(f"blocks.{layer}.{x.name}", x.shape), x.ours)
                    for layer in range(depth)
                ]
            )
            for path, x in leaves.items()
        }
    )


def read_patch_kernel(weights: Weights, temporal: bool) -> np.ndarray:
    """The patch embedding's kernel `[frames * rows * columns * 3, d]`.

    An image is a video of two equal frames, so its kernel is the sum over frames; with `temporal`
    both frames are kept.
    """
    shape = weights.shape(_PATCH_KERNEL)
    kernel = np.moveaxis(weights.take(_PATCH_KERNEL, shape), (1, 0), (-2, -1))  # t row column c d
    if not temporal:
        kernel = kernel.sum(axis=0)
    return kernel.reshape(-1, shape[0])


def write_patch_kernel(kernel: np.ndarray, patch_size: int) -> tuple[str, np.ndarray]:
    """(name, Conv3d kernel) of ours; one of images goes half into each frame, which is exact."""
    width = kernel.shape[-1]
    frame = patch_size**2 * CHANNELS
    if len(kernel) not in (frame, FRAMES * frame):
        raise WeightsError(
            f"patch_embedding/kernel has shape {kernel.shape}; patches of {patch_size} x "
            f"{patch_size} pixels need ({frame}, {width}), or ({FRAMES * frame}, {width}) for "
            f"{FRAMES} frames: correct vision.patch_size."
        )
    if len(kernel) == frame:
        kernel = np.concatenate([kernel / FRAMES] * FRAMES)
    return _PATCH_KERNEL, to_torch(kernel, (width, CHANNELS, FRAMES, patch_size, patch_size))


def read_merger(weights: Weights) -> dict[str, Any]:
    """Parameters of `models.merger` from a tower's weights."""
    out_dim, width = weights.shape("downsample.weight")[:2]
    mlp_dim = weights.shape("merger.gate_proj.weight")[0]
    return read_leaves(weights, merger_leaves(width, out_dim, mlp_dim))


def find_tower(weights: Weights) -> Weights:
    """The vision tower inside a checkpoint, under names without its prefix.

    Raises:
        WeightsError: there is no such tower, or more than one.
    """
    found = [n.removesuffix(_PATCH_KERNEL) for n in weights.names() if n.endswith(_PATCH_KERNEL)]
    if len(found) != 1:
        raise WeightsError(
            f"{weights.path}: {len(found)} keys end in {_PATCH_KERNEL!r}, expected one, as in "
            "'model.visual.patch_embed.proj.weight': give the checkpoint of a GLM vision tower."
        )
    prefix = found[0]
    return weights.renamed(lambda n: n.removeprefix(prefix) if n.startswith(prefix) else None)


def vision_config(weights: Weights, model_types: tuple[str, ...], remedy: str) -> dict[str, Any]:
    """The tower's part of `config.json`; all of it where it is the tower's own.

    Raises:
        WeightsError: no config.json, a model type that is not among `model_types`, or a number
            that our model does not have.
    """
    config = weights.config.get("vision_config", weights.config)
    kind = config.get("model_type", weights.config.get("model_type"))
    file = _folder(weights) / "config.json"
    if kind not in model_types:
        raise WeightsError(
            f"{file}: model_type is {kind!r}, expected one of {', '.join(model_types)}: {remedy}"
        )
    fixed = {
        "hidden_act": "silu",
        "rms_norm_eps": NORM_EPS,
        "in_channels": CHANNELS,
        "spatial_merge_size": 2,
        "temporal_patch_size": FRAMES,
    }
    for name, value in fixed.items():
        if config.get(name, value) != value:
            raise WeightsError(
                f"{file}: {name} is {config[name]!r}, expected {value!r}: our model has no other."
            )
    return config | {"model_type": kind}


def rope_theta(config: Mapping[str, Any]) -> float:
    """Base of the rotary frequencies, which older files hold outside `rope_parameters`."""
    parameters = config.get("rope_parameters") or {}
    return float(parameters.get("rope_theta", config.get("rope_theta", 1e4)))


def pixel_statistics(weights: Weights) -> dict[str, Any]:
    """pixel_mean and pixel_std of the image processor saved beside the weights, else CLIP's."""
    for name in ("preprocessor_config.json", "processor_config.json"):
        path = _folder(weights) / name
        if not path.exists():
            continue
        content = json.loads(path.read_text())
        content = content.get("image_processor", content)
        if "image_mean" in content and "image_std" in content:
            return {f"pixel_{n}": tuple(content[f"image_{n}"]) for n in ("mean", "std")}
    return {"pixel_mean": CLIP_MEAN, "pixel_std": CLIP_STD}


def count_blocks(weights: Weights) -> int:
    """Number of blocks of a tower."""
    numbers = {int(n.split(".")[1]) for n in weights.names() if n.startswith("blocks.")}
    return 1 + max(numbers, default=-1)


def _folder(weights: Weights) -> Path:
    return weights.path if weights.path.is_dir() else weights.path.parent
