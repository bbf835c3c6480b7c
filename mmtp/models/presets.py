"""Decoders by name, and the config section that chooses one and changes some of its numbers."""

from dataclasses import asdict, dataclass
from typing import Any

from cogvit_jax.models.scan import REMAT_POLICIES
from cogvit_jax.settings import ConfigError, choose
from mmtp.models.moe import MoEConfig

# `glm_0p5b` is the language model of the released GLM-OCR (its config.json; the class defaults of
# transformers 5.23 differ), `glm4v_9b` GLM-4.1V-9B (defaults of `Glm4vTextConfig`), `glm4p5v`
# GLM-4.5V, 106B parameters of which a token uses 12B (defaults of `Glm4vMoeTextConfig`). `tiny` is
# for laptops and tests. A field that a size leaves out is that of DEFAULTS.
SIZES: dict[str, dict[str, Any]] = {
    "tiny": {
        "width": 192,
        "depth": 4,
        "num_heads": 6,
        "num_kv_heads": 2,
        "head_dim": 32,
        "mlp_dim": 512,
        "vocab_size": 2048,
        "rotary_dim": 32,
        "mrope_sections": (4, 6, 6),
        "rope_interleaved": True,
        "sandwich_norms": True,
        "tied": True,
        "dtype": "float32",
        "remat": "none",
    },
    "glm_0p5b": {
        "width": 1536,
        "depth": 16,
        "num_heads": 16,
        "num_kv_heads": 8,
        "head_dim": 128,
        "mlp_dim": 4608,
        "vocab_size": 59392,
        "rotary_dim": 128,
        "mrope_sections": (16, 24, 24),
        "rope_interleaved": True,
        "sandwich_norms": True,
    },
    "glm4v_9b": {
        "width": 4096,
        "depth": 40,
        "num_heads": 32,
        "num_kv_heads": 2,
        "head_dim": 128,
        "mlp_dim": 13696,
        "vocab_size": 151552,
        "rotary_dim": 64,
        "mrope_sections": (8, 12, 12),
        "rope_interleaved": True,
        "sandwich_norms": True,
        "qkv_bias": True,
    },
    "glm4p5v": {
        "width": 4096,
        "depth": 46,
        "num_heads": 96,
        "num_kv_heads": 8,
        "head_dim": 128,
        "mlp_dim": 10944,
        "vocab_size": 151424,
        "rotary_dim": 64,
        "mrope_sections": (8, 12, 12),
        "qkv_bias": True,
        "num_experts": 128,
        "num_selected": 8,
        "expert_dim": 1408,
        "num_shared_experts": 1,
        "num_dense_layers": 1,
    },
}
DEFAULTS: dict[str, Any] = {
    "rope_theta": 1e4,
    "rope_interleaved": False,
    "sandwich_norms": False,
    "qkv_bias": False,
    "qk_norm": False,
    "tied": False,
    "norm_eps": 1e-5,
    "num_experts": 0,
    "num_selected": 0,
    "expert_dim": 0,
    "num_shared_experts": 0,
    "num_dense_layers": 0,
    "routed_scale": 1.0,
    "dtype": "bfloat16",
    "remat": "full",
    "scan_unroll": 1,
}


@dataclass(frozen=True)
class DecoderSettings:
    """`config.decoder`; a field that is None is the size's.

    Attributes:
        size: a key of SIZES.
        width: of the residual stream.
        depth: layers.
        num_heads, num_kv_heads: queries' heads, and keys' and values', each shared by a group of
            queries' (arXiv:2305.13245).
        head_dim: features per head; num_heads * head_dim need not be the width.
        mlp_dim: hidden units of a dense layer's SwiGLU.
        vocab_size: tokens.
        rope_theta, rotary_dim, mrope_sections, rope_interleaved: see `rope.py`.
        sandwich_norms: also normalise what attention and MLP add to the residual stream.
        qkv_bias: biases of queries, keys and values.
        qk_norm: RMS-normalise each head's queries and keys (arXiv:2010.04245).
        tied: the output matrix is the embedding table's transpose.
        norm_eps: of every RMSNorm.
        num_experts: 0 = no mixture of experts; the next five fields: see `moe.MoEConfig`.
        num_selected, expert_dim, num_shared_experts, routed_scale: of its layers.
        num_dense_layers: first layers that have an ordinary MLP all the same.
        dtype: of activations; parameters are f32.
        remat: what the backward pass recomputes, a key of `cogvit_jax.models.scan.REMAT_POLICIES`.
        scan_unroll: layers per loop iteration.
    """

    size: str
    width: int | None = None
    depth: int | None = None
    num_heads: int | None = None
    num_kv_heads: int | None = None
    head_dim: int | None = None
    mlp_dim: int | None = None
    vocab_size: int | None = None
    rope_theta: float | None = None
    rotary_dim: int | None = None
    mrope_sections: tuple[int, ...] | None = None
    rope_interleaved: bool | None = None
    sandwich_norms: bool | None = None
    qkv_bias: bool | None = None
    qk_norm: bool | None = None
    tied: bool | None = None
    norm_eps: float | None = None
    num_experts: int | None = None
    num_selected: int | None = None
    expert_dim: int | None = None
    num_shared_experts: int | None = None
    num_dense_layers: int | None = None
    routed_scale: float | None = None
    dtype: str | None = None
    remat: str | None = None
    scan_unroll: int | None = None


@dataclass(frozen=True)
class DecoderConfig:
    """A decoder's numbers: `DecoderSettings` with every field known.

    Attributes:
        moe: of the layers after the first `num_dense_layers`; None = all layers are dense.
    """

    width: int
    depth: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    mlp_dim: int
    vocab_size: int
    rope_theta: float
    rotary_dim: int
    mrope_sections: tuple[int, ...]
    rope_interleaved: bool
    sandwich_norms: bool
    qkv_bias: bool
    qk_norm: bool
    tied: bool
    norm_eps: float
    moe: MoEConfig | None
    num_dense_layers: int
    dtype: str
    remat: str
    scan_unroll: int


def resolve(settings: DecoderSettings) -> DecoderConfig:
    """The decoder that `config.decoder` describes.

    Raises:
        ConfigError: an unknown size or remat, or numbers that do not fit together.
    """
    preset = DEFAULTS | choose(SIZES, settings.size, "config.decoder.size")
    fields = preset | {k: v for k, v in asdict(settings).items() if v is not None}
    del fields["size"]
    moe = MoEConfig(
        num_experts=fields.pop("num_experts"),
        num_selected=fields.pop("num_selected"),
        expert_dim=fields.pop("expert_dim"),
        num_shared=fields.pop("num_shared_experts"),
        scale=fields.pop("routed_scale"),
    )
    config = DecoderConfig(moe=moe if moe.num_experts else None, **fields)
    _check(config)
    return config


def _check(config: DecoderConfig) -> None:
    choose(REMAT_POLICIES, config.remat, "config.decoder.remat")
    wrong = None
    if config.num_heads % config.num_kv_heads:
        wrong = (
            f"num_heads = {config.num_heads} is not a multiple of num_kv_heads = "
            f"{config.num_kv_heads}: change either"
        )
    elif config.rotary_dim > config.head_dim or 2 * sum(config.mrope_sections) != config.rotary_dim:
        wrong = (
            f"rotary_dim = {config.rotary_dim} must be at most head_dim = {config.head_dim} and "
            f"twice the sum of mrope_sections = {config.mrope_sections}: set them together"
        )
    elif config.moe and not 0 < config.moe.num_selected <= config.moe.num_experts:
        wrong = (
            f"num_selected = {config.moe.num_selected} must be from 1 to num_experts = "
            f"{config.moe.num_experts}"
        )
    elif config.moe and not 0 <= config.num_dense_layers < config.depth:
        wrong = (
            f"num_dense_layers = {config.num_dense_layers} must leave a layer of depth = "
            f"{config.depth} to the experts; num_experts = 0 makes all layers dense"
        )
    if wrong:
        raise ConfigError(f"config.decoder: {wrong}.")
