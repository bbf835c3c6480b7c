"""CogViT in the files of GLM-OCR and GLM-5.3-Flash, whose vision tower it is.

Exported towers load with transformers' `GlmOcrVisionModel.from_pretrained`, or
`Glm5NextVisionModel` where the MLP has a limit. A freshly pretrained encoder has no downsampling
and no merger: transformers then reports them as missing and draws them at random. They come after
the encoder, so its own features, the output of `post_layernorm`, are unaffected, whereas
`last_hidden_state` and `pooler_output` of such a model mean nothing.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from cogvit_jax import settings, tree
from cogvit_jax.interop import glm_vision
from cogvit_jax.interop.files import Weights, WeightsError, open_weights, write_weights
from cogvit_jax.interop.glm_vision import Leaf
from cogvit_jax.models import vit

GLM_OCR, GLM5_NEXT = "glm_ocr", "glm5_next"
DTYPES = {"float32": np.float32, "bfloat16": ml_dtypes.bfloat16}
_MODEL_TYPES = tuple(
    f"{kind}{suffix}" for kind in (GLM_OCR, GLM5_NEXT) for suffix in ("", "_vision")
)
_CLASSES = {  # kind -> transformers' tower and image processor
    GLM_OCR: ("GlmOcrVisionModel", "Glm46VImageProcessor"),
    GLM5_NEXT: ("Glm5NextVisionModel", "Glm5NextImageProcessor"),
}
_LIMIT = 10.0  # of GLM-5.3-Flash, where its config.json names none


def load_cogvit(path: str | Path, temporal: bool = False) -> tuple[dict[str, Any], dict[str, Any]]:
    """CogViT's parameters and settings from a GLM-OCR or GLM-5.3-Flash checkpoint.

    Args:
        path: a .safetensors file beside its config.json, or a folder; a whole model or its vision
            tower alone.
        temporal: keep the patch kernel's two frames, for videos: a patch is then `2 * 3 * p * p`
            numbers in (frame, row, column, channel) order. Otherwise the kernel is that of
            images, whose two frames are the same: `3 * p * p`.

    Returns:
        (parameters, f32, with the names of `models.vit.CogViT`; fields of `VisionSettings`).

    Raises:
        FileNotFoundError, WeightsError: see `interop.files`; another kind of model.
    """
    return read_cogvit(open_weights(path), temporal)


def load_merger(path: str | Path) -> dict[str, Any]:
    """Parameters of `models.merger` from the same checkpoints."""
    return glm_vision.read_merger(glm_vision.find_tower(open_weights(path)))


def read_cogvit(weights: Weights, temporal: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """`load_cogvit` from opened weights."""
    config = glm_vision.vision_config(
        weights, _MODEL_TYPES, "only these towers are CogViTs; interop.glm4v reads GLM-4V's."
    )
    tower = glm_vision.find_tower(weights)
    fields = _read_fields(weights, tower, config)
    width, depth, num_heads, mlp_dim = (
        fields[n] for n in ("width", "depth", "num_heads", "mlp_dim")
    )
    blocks = _block_leaves(width, num_heads, mlp_dim)
    params = glm_vision.read_leaves(tower, _outer_leaves(width))
    params["patch_embedding"]["kernel"] = glm_vision.read_patch_kernel(tower, temporal)
    params["blocks"] = glm_vision.read_blocks(tower, blocks, depth)
    return params, fields


def save_cogvit(
    folder: str | Path,
    params: Mapping[str, Any],
    fields: Mapping[str, Any],
    merger: Mapping[str, Any] | None = None,
    dtype: str = "float32",
) -> None:
    """Writes a new folder that transformers loads: weights, config.json, preprocessor_config.json.

    Args:
        folder: new or empty.
        params: of `models.vit.CogViT`; a `mask_token` is left out. A patch kernel of one frame
            goes half into each of the two that the format has.
        fields: of `VisionSettings`; with a `swiglu_limit` the format is GLM-5.3-Flash's, else
            GLM-OCR's.
        merger: of `models.merger`, left out where None.
        dtype: of the arrays, a key of DTYPES.

    Raises:
        FileExistsError: the folder is not empty.
        WeightsError: a model that the format cannot hold, or parameters that are not the model's.
        ConfigError: unknown fields or dtype.
    """
    vision = settings.read(vit.VisionSettings, fields, "vision")
    stored = settings.choose(DTYPES, dtype, "dtype")
    if not vision.qk_norm:
        raise WeightsError(
            "vision.qk_norm is False, but the format has QK-norm in every block: only models "
            "trained with qk_norm can be exported."
        )
    arrays = _tower_arrays(params, vision)
    if merger is not None:
        arrays |= _merger_arrays(merger, vision)
    config = _config(vision, merger, dtype)
    write_weights(folder, {n: np.asarray(x, stored) for n, x in arrays.items()}, config)
    processor = Path(folder).expanduser() / "preprocessor_config.json"
    processor.write_text(json.dumps(_processor_config(vision), indent=2) + "\n")


def kind(swiglu_limit: float) -> str:
    """The format of a CogViT: GLM_OCR, or GLM5_NEXT where its MLP has a limit."""
    return GLM5_NEXT if swiglu_limit else GLM_OCR


def _read_fields(weights: Weights, tower: Weights, config: Mapping[str, Any]) -> dict[str, Any]:
    width, _, _, patch_size, _ = tower.shape("patch_embed.proj.weight")
    (head_dim,) = tower.shape("blocks.0.attn.q_norm.weight")
    limited = config["model_type"].startswith(GLM5_NEXT)
    return {
        "width": width,
        "depth": glm_vision.count_blocks(tower),
        "num_heads": width // head_dim,
        "mlp_dim": tower.shape("blocks.0.mlp.gate_proj.weight")[0],
        "patch_size": patch_size,
        "rope_theta": glm_vision.rope_theta(config),
        "qk_norm": True,
        "swiglu_limit": float(config.get("swiglu_limit", _LIMIT)) if limited else 0.0,
        **glm_vision.pixel_statistics(weights),
    }


def _outer_leaves(width: int) -> dict[str, Leaf]:
    return {
        "patch_embedding/bias": Leaf("patch_embed.proj.bias", (width,), (width,)),
        "norm/scale": Leaf("post_layernorm.weight", (width,), (width,)),
    }


def _block_leaves(width: int, num_heads: int, mlp_dim: int) -> dict[str, Leaf]:
    return glm_vision.block_leaves(width, num_heads, mlp_dim, biases=True, qk_norm=True)


def _tower_arrays(params: Mapping[str, Any], vision: vit.VisionSettings) -> dict[str, np.ndarray]:
    width, depth, num_heads, mlp_dim = vit.dimensions(vision)
    outer, blocks = _outer_leaves(width), _block_leaves(width, num_heads, mlp_dim)
    shapes = {path: leaf.ours for path, leaf in outer.items()}
    shapes |= {f"blocks/{path}": (depth, *leaf.ours) for path, leaf in blocks.items()}
    found = {n: np.asarray(x) for n, x in tree.named_leaves(params) if n != "mask_token"}
    kernel = found.pop("patch_embedding/kernel", np.zeros((0, width)))
    _check(found, shapes, "the encoder")
    name, array = glm_vision.write_patch_kernel(kernel, vision.patch_size)
    arrays = {name: array}
    for path, leaf in outer.items():
        arrays[leaf.name] = glm_vision.to_torch(found[path], leaf.shape)
    for path, leaf in blocks.items():
        for layer, x in enumerate(found[f"blocks/{path}"]):
            arrays[f"blocks.{layer}.{leaf.name}"] = glm_vision.to_torch(x, leaf.shape)
    return arrays


def _merger_arrays(merger: Mapping[str, Any], vision: vit.VisionSettings) -> dict[str, np.ndarray]:
    width = vit.dimensions(vision)[0]
    out_dim, mlp_dim = _merger_sizes(merger)
    if not vision.swiglu_limit and mlp_dim != glm_vision.CHANNELS * out_dim:
        raise WeightsError(
            f"merger: gate/kernel has shape {(out_dim, mlp_dim)}, expected "
            f"{(out_dim, 3 * out_dim)}: GLM-OCR's format fixes the hidden width at 3 times the "
            "language model's."
        )
    leaves = glm_vision.merger_leaves(width, out_dim, mlp_dim)
    found = {n: np.asarray(x) for n, x in tree.named_leaves(merger)}
    _check(found, {path: leaf.ours for path, leaf in leaves.items()}, "the merger")
    return {x.name: glm_vision.to_torch(found[path], x.shape) for path, x in leaves.items()}


def _merger_sizes(merger: Mapping[str, Any]) -> tuple[int, int]:
    """(width of the language model, hidden width of the MLP)."""
    out_dim, mlp_dim = merger["gate"]["kernel"].shape
    return out_dim, mlp_dim


def _check(found: Mapping[str, np.ndarray], shapes: Mapping[str, Any], what: str) -> None:
    for name in sorted(found.keys() | shapes.keys()):
        shape = found[name].shape if name in found else None
        if shape != shapes.get(name):
            raise WeightsError(
                f"{what}: parameter {name!r} has shape {shape}, expected {shapes.get(name)} (None: "
                "there is none): the parameters do not belong to these settings."
            )


def _config(
    vision: vit.VisionSettings, merger: Mapping[str, Any] | None, dtype: str
) -> dict[str, Any]:
    """config.json, with transformers' names."""
    width, depth, num_heads, mlp_dim = vit.dimensions(vision)
    # L's is the released models'.
    out_dim, merger_dim = _merger_sizes(merger) if merger else (width * 3 // 2, width * 10)
    which = kind(vision.swiglu_limit)
    limited = {"projection_intermediate_size": merger_dim, "swiglu_limit": vision.swiglu_limit}
    return {
        "architectures": [_CLASSES[which][0]],
        "model_type": f"{which}_vision",
        "attention_bias": True,
        "depth": depth,
        "dtype": dtype,
        "hidden_act": "silu",
        "hidden_size": width,
        "in_channels": glm_vision.CHANNELS,
        "intermediate_size": mlp_dim,
        "num_heads": num_heads,
        "out_hidden_size": out_dim,
        "patch_size": vision.patch_size,
        "rms_norm_eps": glm_vision.NORM_EPS,
        "rope_parameters": {"rope_theta": vision.rope_theta, "rope_type": "axial"},
        "spatial_merge_size": 2,
        "temporal_patch_size": glm_vision.FRAMES,
    } | (limited if which == GLM5_NEXT else {})


def _processor_config(vision: vit.VisionSettings) -> dict[str, Any]:
    """preprocessor_config.json: how transformers makes patches as we do, except for resizing."""
    return {
        "image_processor_type": _CLASSES[kind(vision.swiglu_limit)][1],
        "image_mean": list(vision.pixel_mean),
        "image_std": list(vision.pixel_std),
        "merge_size": 2,
        "patch_size": vision.patch_size,
        "temporal_patch_size": glm_vision.FRAMES,
    }
