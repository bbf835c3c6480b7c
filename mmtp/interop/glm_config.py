"""GLM's config.json as our decoder and multi-token-prediction settings, and the other way round."""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cogvit_jax import settings
from cogvit_jax.interop.files import WeightsError
from cogvit_jax.settings import ConfigError
from mmtp.data.images import ImageSettings
from mmtp.models.decoder import DecoderConfig, DecoderSettings, resolve
from mmtp.models.mtp_settings import MTPSettings, check

OCR = "glm_ocr"
OUR_KEY = "mmtp"  # of config.json: `MTPSettings` of an exported model; released ones lack it
SECTIONS = (8, 12, 12)  # of a config.json that names none
PROCESSOR = "preprocessor_config.json"
# Budgets of the released image processors, in pixels of both frames of a patch.
PIXELS = {"shortest_edge": 112 * 112, "longest_edge": 28 * 28 * 15000}


@dataclass(frozen=True)
class Family:
    """What a model type says that its config.json does not.

    Attributes:
        cogvit: its vision tower is a CogViT, else GLM-4V's.
        sandwich_norms, rope_interleaved: see `DecoderConfig`.
        qkv_bias: None = what `attention_bias` says.
        partial_rotary: share of a head's dims that turn, where config.json names none.
        image_token: id of `<|image|>`, where config.json names none.
    """

    cogvit: bool = False
    sandwich_norms: bool = True
    rope_interleaved: bool = True
    qkv_bias: bool | None = True
    partial_rotary: float = 1.0
    image_token: int = 151343


_DENSE = Family()
_EXPERTS = Family(
    sandwich_norms=False,
    rope_interleaved=False,
    qkv_bias=None,
    partial_rotary=0.5,
    image_token=151363,
)
# By the model type of the language model; that of the whole model where it is older.
FAMILIES = {
    "glm_ocr_text": Family(cogvit=True, qkv_bias=False, image_token=59280),
    "glm4v_text": _DENSE,
    "glm4v_moe_text": _EXPERTS,
}
MODEL_TYPES = {  # of the whole model -> of its language model, where the file does not say
    OCR: "glm_ocr_text",
    "glm4v": "glm4v_text",
    "glm46v": "glm4v_text",
    "glm4v_moe": "glm4v_moe_text",
}
# What our layers have no other form of; a config.json that lacks an entry means this.
FIXED = {"hidden_act": "silu", "n_group": 1, "topk_group": 1, "norm_topk_prob": True}


@dataclass(frozen=True)
class Described:
    """What a config.json says.

    Attributes:
        family: of the model.
        decoder: sizes and conventions.
        mtp: of its layers behind the decoder's; depth 0 = none.
        image_token: id of `<|image|>`.
        max_length: the longest sequence that it was made for.
    """

    family: Family
    decoder: DecoderConfig
    mtp: MTPSettings
    image_token: int
    max_length: int


def read_config(config: Mapping[str, Any], file: Path, dtype: str) -> Described:
    """The model that a whole model's config.json describes.

    Args:
        config: its content.
        file: where it lies, for errors.
        dtype: of activations.

    Raises:
        WeightsError: another model type, a missing entry, or something that our layers lack.
    """
    kind = config.get("model_type")
    if kind not in MODEL_TYPES:
        raise WeightsError(
            f"{file}: model_type is {kind!r}, expected one of {', '.join(MODEL_TYPES)}: give the "
            "folder of a whole GLM vision-language model."
        )
    text = config.get("text_config", config)
    text_kind = text.get("model_type", MODEL_TYPES[kind])
    if text_kind not in FAMILIES:
        raise WeightsError(
            f"{file}: text_config.model_type is {text_kind!r}, expected one of "
            f"{', '.join(FAMILIES)}: our decoder is no other."
        )
    for name, value in FIXED.items():
        if text.get(name, value) != value:
            raise WeightsError(
                f"{file}: {name} is {text[name]!r}, expected {value!r}: our decoder has no other."
            )
    family = FAMILIES[text_kind]
    tied = bool(config.get("tie_word_embeddings") or text.get("tie_word_embeddings"))
    try:
        decoder = _read_decoder(text, family, tied, dtype, file)
        mtp = _read_mtp(config, text)
    except ConfigError as error:
        raise WeightsError(f"{file}: {error}") from error
    return Described(
        family=family,
        decoder=decoder,
        mtp=mtp,
        image_token=int(config.get("image_token_id", family.image_token)),
        max_length=int(text.get("max_position_embeddings", 32768)),
    )


def write_config(
    decoder: DecoderConfig, mtp: MTPSettings, vision: Mapping[str, Any], tokens: Mapping[str, Any]
) -> dict[str, Any]:
    """config.json of a model in GLM-OCR's format.

    Args:
        decoder: of which GLM-OCR's class must have all conventions (`glm_save`).
        mtp: of the layers behind it.
        vision: config.json of the tower.
        tokens: ids, by their names in the file.
    """
    text = {
        "model_type": f"{OCR}_text",
        "dtype": vision["dtype"],
        "vocab_size": decoder.vocab_size,
        "hidden_size": decoder.width,
        "intermediate_size": decoder.mlp_dim,
        "num_hidden_layers": decoder.depth,
        "num_attention_heads": decoder.num_heads,
        "num_key_value_heads": decoder.num_kv_heads,
        "head_dim": decoder.head_dim,
        "hidden_act": "silu",
        "attention_bias": False,
        "max_position_embeddings": 131072,
        "rms_norm_eps": decoder.norm_eps,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": decoder.rope_theta,
            "mrope_section": list(decoder.mrope_sections),
            "partial_rotary_factor": decoder.rotary_dim / decoder.head_dim,
        },
        "num_nextn_predict_layers": mtp.num_layers,
    }
    text |= {name: tokens[name] for name in ("pad_token_id", "eos_token_id") if name in tokens}
    outer = {name: x for name, x in tokens.items() if name.startswith(("image", "video"))}
    return outer | {
        "architectures": ["GlmOcrForConditionalGeneration"],
        "model_type": OCR,
        "dtype": vision["dtype"],
        "tie_word_embeddings": decoder.tied,
        "text_config": text,
        "vision_config": {k: x for k, x in vision.items() if k != "architectures"},
        OUR_KEY: dataclasses.asdict(mtp),
    }


def read_images(folder: Path, patch_size: int, most_patches: int) -> ImageSettings:
    """How the image processor beside the weights cuts pictures; without one, as released.

    Args:
        folder: of the checkpoint.
        patch_size: of the vision tower.
        most_patches: a lower bound on pictures than the processor's, whose 30,000 patches of 14 x
            14 pixels need far more memory than most pictures are worth.
    """
    path = folder / PROCESSOR
    found = json.loads(path.read_text()).get("size") if path.exists() else None
    pixels = PIXELS | (found or {})
    area = 2 * patch_size**2
    least, most = (int(pixels[name]) // area for name in ("shortest_edge", "longest_edge"))
    return ImageSettings(
        patch_size=patch_size,
        frames_per_patch=2,
        min_patches=max(1, least),
        max_patches=min(most, most_patches),
        max_video_patches=4 * min(most, most_patches),
    )


def patch_size(patch_dim: int) -> int:
    """Side in pixels of a square patch of one or two frames with `patch_dim` numbers.

    Raises:
        WeightsError: there is no such patch.
    """
    for frames in (1, 2):
        side = math.isqrt(patch_dim // (3 * frames))
        if 3 * frames * side**2 == patch_dim:
            return side
    raise WeightsError(
        f"patch_embedding/kernel takes {patch_dim} numbers, expected those of one or two square "
        "frames of three channels."
    )


def write_images(images: ImageSettings) -> dict[str, Any]:
    """The part of preprocessor_config.json that says what `read_images` reads."""
    area = 2 * images.patch_size**2
    edges = (images.min_patches * area, images.max_patches * area)
    return {"size": dict(zip(PIXELS, edges, strict=True))}


def _read_decoder(
    text: Mapping[str, Any], family: Family, tied: bool, dtype: str, file: Path
) -> DecoderConfig:
    def number(name: str) -> Any:
        if name not in text:
            raise WeightsError(f"{file}: {name} is missing: copy the file again.")
        return text[name]

    width, heads = number("hidden_size"), number("num_attention_heads")
    head_dim = text.get("head_dim") or width // heads
    # Older files hold these outside, or under the name of scaled rotations.
    rope = dict(text) | (text.get("rope_scaling") or {}) | (text.get("rope_parameters") or {})
    if rope.get("rope_type", "default") not in ("default", "mrope"):
        raise WeightsError(
            f"{file}: rope_type is {rope['rope_type']!r}, expected 'default': our decoder does not "
            "scale its rotations."
        )
    bias = text.get("attention_bias", True) if family.qkv_bias is None else family.qkv_bias
    chosen = DecoderSettings(
        size="glm_0p5b",
        width=width,
        depth=number("num_hidden_layers"),
        num_heads=heads,
        num_kv_heads=text.get("num_key_value_heads") or heads,
        head_dim=head_dim,
        mlp_dim=number("intermediate_size"),
        vocab_size=number("vocab_size"),
        rope_theta=float(rope.get("rope_theta", 1e4)),
        rotary_dim=int(head_dim * rope.get("partial_rotary_factor", family.partial_rotary)),
        mrope_sections=tuple(rope.get("mrope_section", SECTIONS)),
        rope_interleaved=family.rope_interleaved,
        sandwich_norms=family.sandwich_norms,
        qkv_bias=bool(bias),
        qk_norm=bool(text.get("use_qk_norm", False)),
        tied=tied,
        norm_eps=float(text.get("rms_norm_eps", 1e-5)),
        dtype=dtype,
        remat="none",
    )
    return resolve(dataclasses.replace(chosen, **_experts(text)))


def _experts(text: Mapping[str, Any]) -> dict[str, Any]:
    if not text.get("n_routed_experts"):
        return {}
    return {
        "num_experts": text["n_routed_experts"],
        "num_selected": text["num_experts_per_tok"],
        "expert_dim": text["moe_intermediate_size"],
        "num_shared_experts": text.get("n_shared_experts") or 0,
        "num_dense_layers": text.get("first_k_dense_replace", 0),
        "routed_scale": float(text.get("routed_scaling_factor", 1.0)),
    }


def _read_mtp(config: Mapping[str, Any], text: Mapping[str, Any]) -> MTPSettings:
    """Of an exported model, its own; a released one is fed and chained as GLM trains it."""
    if OUR_KEY in config:
        return check(settings.read(MTPSettings, config[OUR_KEY], OUR_KEY))
    num = int(text.get("num_nextn_predict_layers") or 0)
    return MTPSettings(depth=num, shared=num == 1, conventions="glm")
