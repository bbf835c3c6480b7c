"""GLM-OCR, GLM-4.1V, 4.5V and 4.6V from their files, as one of our models.

GLM-OCR's vision tower is a CogViT; the others' is `models.glm4v_tower`. Behind the last layer of
GLM-OCR's decoder lies its layer for multi-token prediction, `layers.16`, with copies of the
embedding table and of the output matrix, which this package takes from the decoder.

Every array is asked for by name and shape; what is missing, of another shape or left over is an
error that names file, key, expected and found.
"""

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np

from cogvit_jax import settings
from cogvit_jax.interop import cogvit, glm4v, glm_vision
from cogvit_jax.interop.files import CONFIG, Weights, WeightsError, open_weights
from cogvit_jax.models import vit
from mmtp.interop.glm_config import Described, read_config
from mmtp.interop.glm_names import layer_leaves, mtp_leaves, read_layers
from mmtp.models import decoder
from mmtp.models.decoder import DecoderConfig
from mmtp.models.glm4v_tower import Glm4vTower
from mmtp.models.mtp_settings import MTPSettings
from mmtp.models.vlm import VLM

DTYPES = {"float32": np.float32, "bfloat16": ml_dtypes.bfloat16}
COPIES = ("embed_tokens.weight", "shared_head.head.weight")  # in a layer of MTP
_TABLE, _HEAD = "embed_tokens.weight", "lm_head.weight"


def load_glm(folder: str | Path, dtype: str = "") -> tuple[VLM, dict[str, Any]]:
    """A released model, or one that `save_glm` or transformers' `save_pretrained` wrote.

    Its MTP layers' conventions are GLM's (`mtp_settings.PRESETS`), which the files do not say.
    A checkpoint whose config.json promises such layers and that holds none of them, as transformers
    saves it, gives a model without.

    Args:
        folder: safetensors, whole or in shards, beside their config.json.
        dtype: of parameters and activations, a key of DTYPES; "" = that of the files. Experts'
            routers are f32.

    Returns:
        the model, and its parameters as NumPy arrays. A patch holds two frames, for videos.

    Raises:
        FileNotFoundError, WeightsError: see `cogvit_jax.interop.files`; another kind of model.
    """
    weights = open_weights(folder)
    described = _describe(weights, dtype)
    dtype = described.decoder.dtype
    kind = DTYPES[dtype]
    vision, params = _read_vision(weights, described, dtype)
    params["decoder"] = _read_decoder(_language(weights), described.decoder, kind)
    mtp, own = _read_mtp(_language(weights), described, kind, params["decoder"])
    if own:
        params["mtp"] = own
    _require_all_used(weights)
    model = VLM(
        vision=vision,
        decoder=described.decoder,
        mtp=mtp,
        image_token=described.image_token,
        patch_dim=params["vision"]["patch_embedding"]["kernel"].shape[0],
        projector_dim=params["projector"]["gate"]["kernel"].shape[-1],
    )
    return model, params


def describe(folder: str | Path, dtype: str = "") -> Described:
    """What the config.json of a checkpoint says; see `load_glm`."""
    return _describe(open_weights(folder), dtype)


def _describe(weights: Weights, dtype: str) -> Described:
    text = weights.config.get("text_config", {})
    names = [c.get(n) for c in (weights.config, text) for n in ("dtype", "torch_dtype")]
    dtype = dtype or next((n for n in names if n), "bfloat16")
    settings.choose(DTYPES, dtype, "dtype")
    path = weights.path if weights.path.is_dir() else weights.path.parent
    return read_config(weights.config, path / CONFIG, dtype)


def _read_vision(weights: Weights, described: Described, dtype: str) -> tuple[Any, dict[str, Any]]:
    """The tower, and {"vision", "projector"}."""
    if described.family.cogvit:
        params, fields = cogvit.read_cogvit(weights, temporal=True)
        merger = glm_vision.read_merger(glm_vision.find_tower(weights))
        tower: Any = vit.build(vit.VisionSettings(**fields, dtype=dtype, remat="none"))
    else:
        params, merger, chosen = glm4v.read_glm4v(weights, temporal=True)
        gate = params["blocks"]["mlp"]["gate"]["kernel"]
        side, _, width = params["positions"].shape
        chosen = dataclasses.replace(chosen, dtype=dtype)
        tower = Glm4vTower(chosen, width, depth=len(gate), mlp_dim=gate.shape[-1], side=side)
    kind = DTYPES[dtype]
    cast = {"vision": params, "projector": merger}
    return tower, jax.tree.map(lambda x: np.asarray(x, kind), cast)


def _language(weights: Weights) -> Weights:
    """The language model, without the prefix of its names.

    Raises:
        WeightsError: there is none, or more than one.
    """
    found = [n for n in weights.names() if n.endswith(_TABLE) and ".layers." not in n]
    if len(found) != 1:
        raise WeightsError(
            f"{weights.path}: {len(found)} keys end in {_TABLE!r}, expected one, as in "
            "'model.language_model.embed_tokens.weight': give the folder of a whole model."
        )
    prefix = found[0].removesuffix(_TABLE)

    def rename(name: str) -> str | None:
        return _HEAD if name.endswith(_HEAD) else _without(name, prefix)

    return weights.renamed(rename)


def _without(name: str, prefix: str) -> str | None:
    return name.removeprefix(prefix) if name.startswith(prefix) else None


def _read_decoder(weights: Weights, config: DecoderConfig, dtype: Any) -> dict[str, Any]:
    size = (config.vocab_size, config.width)
    dense = config.num_dense_layers if config.moe else 0
    prefixes = [f"layers.{i}." for i in range(config.depth)]
    params: dict[str, Any] = {
        "embedding": {"table": weights.take(_TABLE, size).astype(dtype)},
        "blocks": read_layers(weights, layer_leaves(config), prefixes[dense:], dtype),
        "norm": {"scale": weights.take("norm.weight", size[1:]).astype(dtype)},
    }
    if dense:
        leaves = layer_leaves(decoder.dense_layers(config))
        params["dense_blocks"] = read_layers(weights, leaves, prefixes[:dense], dtype)
    if not config.tied:
        head = weights.take(_HEAD, size).astype(dtype)
        params["head"] = {"kernel": np.ascontiguousarray(head.T)}
    return params


def _read_mtp(
    weights: Weights, described: Described, dtype: Any, trunk: dict[str, Any]
) -> tuple[MTPSettings, dict[str, Any] | None]:
    """(settings, parameters); without any layer, depth 0 and None."""
    config, mtp = described.decoder, described.mtp
    prefixes = [f"layers.{config.depth + i}." for i in range(mtp.num_layers)]
    if not any(n.startswith(tuple(prefixes)) for n in weights.names()):
        return dataclasses.replace(mtp, depth=0), None
    for prefix in prefixes:
        table = trunk["embedding"]["table"]
        matrices = (table, table if config.tied else trunk["head"]["kernel"].T)
        for name, matrix in zip(COPIES, matrices, strict=True):
            if prefix + name in weights.names():
                _check_copy(weights, prefix + name, matrix)
    return mtp, {"blocks": read_layers(weights, mtp_leaves(config), prefixes, dtype)}


def _check_copy(weights: Weights, name: str, matrix: np.ndarray) -> None:
    """Warns where a copy differs from what it is a copy of."""
    copy = weights.take(name, matrix.shape).astype(matrix.dtype)
    if not np.array_equal(copy, matrix):
        warnings.warn(
            f"{weights.path}: {name!r} differs from the decoder's array, which is used in its "
            "place: drafts will be accepted less often.",
            stacklevel=2,
        )


def _require_all_used(weights: Weights) -> None:
    if left := list(weights.unused()):
        raise WeightsError(
            f"{weights.path}: {len(left)} arrays are no part of the model that its config.json "
            f"describes, such as {left[0]!r} {weights.shape(left[0])}: the two do not belong "
            "together."
        )
