"""The vision tower of GLM-4.1V, 4.5V and 4.6V (transformers' `Glm4vVisionModel`), pure functions.

It differs from CogViT: no biases but the patch embedding's, no QK-norm, a norm after the patch
embedding, and learned positions on a 24 x 24 grid that are sampled bicubically at each patch's
place, besides axial RoPE. Downsampling and merger are those of `models.merger`.

Shape letters: b rows, t tokens, d width, s positions per side, l layers.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8

from cogvit_jax.attention import Rope, apply_rope, axial_rope, same_segment
from cogvit_jax.layers import gated
from cogvit_jax.models.merger import grid_sizes
from cogvit_jax.models.vit import normalize_pixels

CUBIC_A = -0.75  # of Keys' kernel, as torch has it; jax.image.resize has -0.5
# What GLM's image processors normalise with.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Glm4vSettings:
    """What the parameters' shapes do not say.

    Attributes:
        num_heads: attention heads.
        rope_theta: base of the rotary frequencies.
        norm_eps: of all RMS norms.
        pixel_mean, pixel_std: of the pixels in [0, 1], per channel.
        dtype: of activations.
    """

    num_heads: int = 12
    rope_theta: float = 1e4
    norm_eps: float = 1e-5
    pixel_mean: tuple[float, ...] = CLIP_MEAN
    pixel_std: tuple[float, ...] = CLIP_STD
    dtype: str = "float32"


def encode(
    params: Any,
    settings: Glm4vSettings,
    patches: UInt8[Array, "b t p"] | Float[Array, "b t p"],
    positions: Int[Array, "b t 2"],
    segments: Int[Array, "b t"],
) -> Float[Array, "b t d"]:
    """Features of every patch, in `settings.dtype`, before downsampling.

    Args:
        params: as `interop.glm4v.load_glm4v` returns.
        settings: as it returns.
        patches: uint8 pixels, row-major patches, each in (row, column, channel) order, or (frame,
            row, column, channel) where the parameters keep both frames; or normalised floats.
        positions: (row, column) of each patch in its own picture.
        segments: 0 = padding, k = k-th picture of the row; each frame of a video is one.
    """
    if patches.dtype == jnp.uint8:
        patches = normalize_pixels(patches, settings.pixel_mean, settings.pixel_std)
    embedding = params["patch_embedding"]
    x = _dense(embedding, patches.astype(settings.dtype)) + _row(embedding["bias"], settings.dtype)
    x = _rms_norm(params["post_conv_norm"], x, settings.norm_eps)
    table = jnp.asarray(params["positions"])
    sampled = sample_positions(table, positions, grid_sizes(positions, segments))
    x = x + sampled.astype(x.dtype)
    rope = axial_rope(positions, x.shape[-1] // settings.num_heads, settings.rope_theta)
    mask = same_segment(segments, segments)

    def step(x: Array, layer: Any) -> tuple[Array, None]:
        return _block(layer, settings, x, rope, mask), None

    x, _ = jax.lax.scan(step, x, params["blocks"])
    return _rms_norm(params["norm"], x, settings.norm_eps)


def sample_positions(
    table: Float[Array, "s s d"], positions: Int[Array, "b t 2"], grids: Int[Array, "b t 2"]
) -> Float[Array, "b t d"]:
    """A learned grid of embeddings, stretched over each picture and read at its patches, f32.

    As torch's `grid_sample(mode="bicubic", padding_mode="border", align_corners=False)`. The four
    taps of an axis become one row of weights over its s places, so that all is one matrix product.
    """
    side = table.shape[0]
    rows, columns = (_cubic_weights(positions[..., i], grids[..., i], side) for i in range(2))
    weights = (rows[..., :, None] * columns[..., None, :]).reshape(*positions.shape[:2], -1)
    flat = table.astype(jnp.float32).reshape(side * side, -1)
    return jnp.matmul(weights, flat, precision=jax.lax.Precision.HIGHEST)


def _cubic_weights(
    index: Int[Array, "b t"], size: Int[Array, "b t"], side: int
) -> Float[Array, "b t {side}"]:
    """Weights of the `side` places along an axis for patch `index` of `size`."""
    source = (index.astype(jnp.float32) + 0.5) * side / size - 0.5
    floor = jnp.floor(source)
    places = jnp.arange(side).reshape(1, 1, -1)
    weights = jnp.zeros((*index.shape, side))
    for offset in range(-1, 3):
        tap = jnp.clip(floor.astype(jnp.int32) + offset, 0, side - 1)[..., None]
        weight = _keys_kernel(jnp.abs(source - floor - offset))[..., None]
        weights += jnp.where(tap == places, weight, 0.0)
    return weights


def _keys_kernel(x: Float[Array, "b t"]) -> Float[Array, "b t"]:
    """Cubic convolution (Keys 1981, doi:10.1109/TASSP.1981.1163711) at distances 0 to 2."""
    a = CUBIC_A
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return jnp.where(x <= 1, near, far)


def _block(params: Any, settings: Glm4vSettings, x: Array, rope: Rope, mask: Array) -> Array:
    heads = (settings.num_heads, x.shape[-1] // settings.num_heads)
    attention, mlp = params["attention"], params["mlp"]
    normed = _rms_norm(params["norm1"], x, settings.norm_eps)
    qkv = _dense(attention["qkv"], normed).reshape(*x.shape[:2], 3, *heads)
    q, k = (apply_rope(qkv[:, :, i], rope) for i in range(2))
    out = jax.nn.dot_product_attention(q, k, qkv[:, :, 2], mask=mask)
    x = x + _dense(attention["out"], out.reshape(x.shape))
    normed = _rms_norm(params["norm2"], x, settings.norm_eps)
    return x + _dense(mlp["down"], gated(_dense(mlp["gate"], normed), _dense(mlp["up"], normed)))


def _dense(params: Any, x: Array) -> Array:
    return x @ params["kernel"].astype(x.dtype).reshape(x.shape[-1], -1)


def _row(vector: Array, dtype: str) -> Array:
    return vector.astype(dtype)[None, None]


def _rms_norm(params: Any, x: Array, eps: float) -> Array:
    x32 = x.astype(jnp.float32)
    scale = jax.lax.rsqrt(jnp.mean(jnp.square(x32), axis=-1, keepdims=True) + eps)
    return (x32 * scale * params["scale"][None, None]).astype(x.dtype)
