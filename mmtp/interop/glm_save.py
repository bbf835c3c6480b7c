"""Our models in GLM-OCR's files, which transformers' GlmOcrForConditionalGeneration loads.

The layers for multi-token prediction are written as released: behind the decoder's, with copies of
the embedding table and the output matrix. transformers leaves out the released model's 17th layer
and reports such layers of other depths as unexpected; its generation does not use them.
"""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cogvit_jax import settings
from cogvit_jax.interop import cogvit
from cogvit_jax.interop.files import WeightsError, open_weights, write_weights
from cogvit_jax.models.vit import CogViT
from mmtp.data.chat import STOPS
from mmtp.data.images import ImageSettings
from mmtp.data.tokenizer import Tokenizer, load_tokenizer
from mmtp.interop.glm import COPIES, DTYPES
from mmtp.interop.glm_chat import chat_files
from mmtp.interop.glm_config import PROCESSOR, patch_size, write_config, write_images
from mmtp.interop.glm_names import layer_arrays, layer_leaves, mtp_leaves
from mmtp.models.mtp_settings import conventions
from mmtp.models.vlm import VLM

LANGUAGE, VISUAL = "model.language_model.", "model.visual."
TOKEN_FIELDS = {  # of config.json
    "image_token_id": "<|image|>",
    "video_token_id": "<|video|>",
    "image_start_token_id": "<|begin_of_image|>",
    "image_end_token_id": "<|end_of_image|>",
    "video_start_token_id": "<|begin_of_video|>",
    "video_end_token_id": "<|end_of_video|>",
    "pad_token_id": "<|endoftext|>",
}


def save_glm(
    folder: str | Path,
    model: VLM,
    params: Mapping[str, Any],
    tokenizer_json: str | Path | None = None,
    images: ImageSettings | None = None,
    dtype: str = "",
) -> None:
    """Writes a new folder: safetensors, config.json, preprocessor_config.json.

    Args:
        folder: new or empty.
        model: with a CogViT.
        params: its parameters; a patch kernel of one frame goes half into each of the two that the
            format has, which is exact.
        tokenizer_json: also write this vocabulary and the files with which transformers makes
            prompts as we do; "" = the embedded one, None = none.
        images: budgets for preprocessor_config.json; None = what transformers' processor has.
        dtype: of the arrays, a key of `glm.DTYPES`; "" = that of the embedding table.

    Raises:
        FileExistsError: the folder is not empty.
        WeightsError: a model that the format cannot hold; names what.
        ConfigError: another dtype.
    """
    require_expressible(model)
    tokenizer = None if tokenizer_json is None else load_tokenizer(str(tokenizer_json))
    dtype = dtype or str(np.dtype(params["decoder"]["embedding"]["table"].dtype))
    kind = settings.choose(DTYPES, dtype, "dtype")
    arrays = {n: np.asarray(x, kind) for n, x in _language_arrays(model, params).items()}
    tower, vision, processor = _vision_files(model, params, dtype)
    arrays |= {n: np.asarray(x, kind) for n, x in tower.items()}
    config = write_config(model.decoder, model.mtp, vision, _token_ids(model, tokenizer))
    write_weights(folder, arrays, config)
    files = {PROCESSOR: processor | (write_images(images) if images else {})}
    if tokenizer is not None:
        files |= chat_files(tokenizer, str(tokenizer_json))
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content, indent=2) + "\n"
        (Path(folder).expanduser() / name).write_text(text, "utf-8")


def require_expressible(model: VLM) -> None:
    """Raises WeightsError where GLM-OCR's format has no form for a convention of the model."""
    config, mtp = model.decoder, conventions(model.mtp)
    needed: dict[str, tuple[Any, Any]] = {
        "decoder.num_experts": (config.moe.num_experts if config.moe else 0, 0),
        "decoder.sandwich_norms": (config.sandwich_norms, True),
        "decoder.rope_interleaved": (config.rope_interleaved, True),
        "decoder.qkv_bias": (config.qkv_bias, False),
        "decoder.qk_norm": (config.qk_norm, False),
    }
    if model.mtp.depth:
        needed |= {
            "mmtp.own_norm": (mtp.own_norm, True),
            "mmtp.concat": (mtp.concat, "embedding_first"),
            "mmtp.image_embed": (model.mtp.image_embed, "table"),
        }
    if not isinstance(model.vision, CogViT):
        raise WeightsError("vision: it is GLM-4V's tower, and GLM-OCR's format holds a CogViT.")
    needed["vision.swiglu_limit"] = (model.vision.swiglu_limit, 0.0)
    needed["vision.qk_norm"] = (model.vision.qk_norm, True)
    for name, (found, expected) in needed.items():
        if found != expected:
            raise WeightsError(
                f"{name} is {found!r}, expected {expected!r}: GLM-OCR's format has no other, and "
                "the exported model would compute something else."
            )


def _language_arrays(model: VLM, params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    config, own = model.decoder, params["decoder"]
    prefixes = [f"{LANGUAGE}layers.{i}." for i in range(config.depth + model.mtp.num_layers)]
    table = np.asarray(own["embedding"]["table"])
    arrays = {
        f"{LANGUAGE}embed_tokens.weight": table,
        f"{LANGUAGE}norm.weight": np.asarray(own["norm"]["scale"]),
    }
    arrays |= layer_arrays(own["blocks"], layer_leaves(config), prefixes[: config.depth])
    head = table if config.tied else np.asarray(own["head"]["kernel"]).T
    if not config.tied:
        arrays["lm_head.weight"] = head
    if model.mtp.depth:
        behind = prefixes[config.depth :]
        arrays |= layer_arrays(params["mtp"]["blocks"], mtp_leaves(config), behind)
        arrays |= {
            p + name: x for p in behind for name, x in zip(COPIES, (table, head), strict=True)
        }
    return arrays


def _vision_files(
    model: VLM, params: Mapping[str, Any], dtype: str
) -> tuple[dict[str, np.ndarray], dict[str, Any], dict[str, Any]]:
    """(arrays, config.json, preprocessor_config.json) of the tower, through `save_cogvit`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tower"
        fields = vision_fields(model)
        cogvit.save_cogvit(path, params["vision"], fields, params["projector"], dtype)
        weights = open_weights(path)
        arrays = {VISUAL + n: weights.take(n, weights.shape(n)) for n in weights.names()}
        return arrays, weights.config, json.loads((path / PROCESSOR).read_text())


def vision_fields(model: VLM) -> dict[str, Any]:
    """Fields of `VisionSettings` of the model's CogViT, as `load_cogvit` returns them."""
    names = ("width", "depth", "num_heads", "mlp_dim", "rope_theta", "qk_norm", "swiglu_limit")
    names += ("pixel_mean", "pixel_std")
    fields = {name: getattr(model.vision, name) for name in names}
    return fields | {"patch_size": patch_size(model.patch_dim)}


def _token_ids(model: VLM, tokenizer: Tokenizer | None) -> dict[str, Any]:
    if tokenizer is None:
        return {"image_token_id": model.image_token}
    found = {field: tokenizer.special.get(name) for field, name in TOKEN_FIELDS.items()}
    ids: dict[str, Any] = {field: i for field, i in found.items() if i is not None}
    if ids["image_token_id"] != model.image_token:
        raise WeightsError(
            f"the vocabulary has <|image|> at {ids['image_token_id']}, the model at "
            f"{model.image_token}: give the tokenizer.json that the model was trained with."
        )
    ids["eos_token_id"] = [tokenizer.id(n) for n in STOPS]
    return ids
