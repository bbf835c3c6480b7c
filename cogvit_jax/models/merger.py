"""From patch features to a language model's tokens: GLM's downsampling and merger.

Each 2 x 2 block of patches becomes one token: a strided convolution to the language model's width,
then a linear layer, LayerNorm, GELU and a SwiGLU MLP (transformers' `GlmOcrVisionPatchMerger`,
`Glm5NextVisionPatchMerger`, `Glm4vVisionPatchMerger`). Tokens of transformers' towers come block
after block; ours are row-major, and `find_blocks` says which four belong together. Blocks of a
picture are row-major too, which is transformers' order.

Shape letters: b rows, t tokens, m blocks, d width of the encoder, o width of the language model.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from cogvit_jax.attention import same_segment
from cogvit_jax.layers import KERNEL_INIT, gated

BLOCK = 2  # patches per side of a block
NORM_EPS = 1e-5  # torch's default, which the released models use


class Blocks(NamedTuple):
    """Where the merged tokens of a batch come from.

    Attributes:
        tokens: the four tokens of each block: upper left, upper right, lower left, lower right.
        positions: (row, column) of each block in its own picture, in blocks.
        segments: 0 = no block, k = the k-th picture of the row.
    """

    tokens: Int[Array, "b m 4"]
    positions: Int[Array, "b m 2"]
    segments: Int[Array, "b m"]


def grid_sizes(positions: Int[Array, "b t 2"], segments: Int[Array, "b t"]) -> Int[Array, "b t 2"]:
    """(rows, columns) in patches of the picture that each token belongs to."""
    same = same_segment(segments, segments)[:, 0, :, :, None]  # b t t 1
    return 1 + jnp.max(jnp.where(same, positions[:, None], 0), axis=2)


def find_blocks(positions: Int[Array, "b t 2"], segments: Int[Array, "b t"]) -> Blocks:
    """The 2 x 2 blocks of every picture of padded or packed rows, in order: m = t // 4.

    Pictures lie in their row without gaps, row-major, as `data.packing` lays them out. Their sides
    should be multiples of two patches: an odd last row or column is left out.
    """
    grids = grid_sizes(positions, segments)
    whole = (positions % BLOCK == 0) & (positions + 1 < grids)
    starts = jnp.all(whole, axis=-1) & (segments > 0)
    first = jnp.argsort(~starts, axis=1, stable=True)[:, : segments.shape[1] // BLOCK**2]

    def pick(x: Array) -> Array:
        return jnp.take_along_axis(x, first, axis=1)

    columns = pick(grids[..., 1])
    tokens = jnp.stack([first, first + 1, first + columns, first + columns + 1], axis=-1)
    there = pick(starts)
    row, column = (pick(positions[..., i]) // BLOCK for i in range(2))
    return Blocks(
        tokens=jnp.where(there[..., None], tokens, 0),
        positions=jnp.where(there[..., None], jnp.stack([row, column], axis=-1), 0),
        segments=jnp.where(there, pick(segments), 0),
    )


def merge(
    params: Any,
    features: Float[Array, "b t d"],
    tokens: Int[Array, "b m 4"],
    swiglu_limit: float = 0.0,
) -> Float[Array, "b m o"]:
    """Merged tokens, in the dtype of `features`; where `Blocks.segments` is 0 they mean nothing.

    Args:
        params: as `init` returns.
        features: of the encoder, after its last norm.
        tokens: `Blocks.tokens`.
        swiglu_limit: see `layers.gated`.
    """
    rows, blocks, _ = tokens.shape
    flat = tokens.reshape(rows, -1, 1)
    picked = jnp.take_along_axis(features, flat, axis=1).reshape(rows, blocks, -1)
    return merge_blocks(params, picked, swiglu_limit)


def merge_blocks(
    params: Any, blocks: Float[Array, "b m e"], swiglu_limit: float = 0.0
) -> Float[Array, "b m o"]:
    """`merge` where the four features of a block, in order, are one vector of e = 4 d numbers."""
    downsample = params["downsample"]
    kernel = downsample["kernel"].reshape(blocks.shape[-1], -1)  # block row, block column, d -> o
    x = blocks @ kernel.astype(blocks.dtype) + _row(downsample["bias"], blocks)
    x = jax.nn.gelu(_layer_norm(params["norm"], _dense(params["proj"], x)), approximate=False)
    hidden = gated(_dense(params["gate"], x), _dense(params["up"], x), swiglu_limit)
    return _dense(params["down"], hidden)


def merge_picture(
    params: Any,
    features: Float[Array, "n d"],
    grid: tuple[int, int],
    swiglu_limit: float = 0.0,
) -> Float[Array, "n//4 o"]:
    """`merge` of one picture whose row-major tokens form a grid of (rows, columns).

    Raises:
        ValueError: the grid is odd or is not that of the tokens.
    """
    rows, columns = grid
    if rows % BLOCK or columns % BLOCK or rows * columns != features.shape[0]:
        raise ValueError(
            f"grid {grid} of {features.shape[0]} tokens: rows and columns must be even and their "
            "product the number of tokens; resize pictures to multiples of two patches."
        )
    ones = jnp.ones((1, rows * columns), jnp.int32)
    positions = jnp.stack(jnp.divmod(jnp.arange(rows * columns), columns), axis=-1)
    blocks = find_blocks(positions[None], ones)
    return merge(params, features[None], blocks.tokens, swiglu_limit)[0]


def init(key: Array, width: int, out_dim: int, mlp_dim: int) -> dict[str, Any]:
    """Parameters of a new merger, f32.

    Args:
        key: of the random numbers.
        width: of the encoder.
        out_dim: width of the language model.
        mlp_dim: hidden width of the MLP; 3 * out_dim in GLM-OCR.
    """
    shapes = {
        "downsample": (BLOCK, BLOCK, width, out_dim),
        "proj": (out_dim, out_dim),
        "gate": (out_dim, mlp_dim),
        "up": (out_dim, mlp_dim),
        "down": (mlp_dim, out_dim),
    }
    keys = jax.random.split(key, len(shapes))
    params: dict[str, Any] = {
        name: {"kernel": KERNEL_INIT(k, shape, jnp.float32)}
        for k, (name, shape) in zip(keys, shapes.items(), strict=True)
    }
    params["downsample"]["bias"] = jnp.zeros(out_dim)
    params["norm"] = {"scale": jnp.ones(out_dim), "bias": jnp.zeros(out_dim)}
    return params


def _dense(params: Any, x: Array) -> Array:
    return x @ params["kernel"].astype(x.dtype)


def _layer_norm(params: Any, x: Array) -> Array:
    x32 = x.astype(jnp.float32)
    centred = x32 - jnp.mean(x32, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
    normed = centred * jax.lax.rsqrt(variance + NORM_EPS)
    return (normed * _row(params["scale"], x32) + _row(params["bias"], x32)).astype(x.dtype)


def _row(vector: Array, x: Array) -> Array:
    """A vector with leading dims of size 1, in x's dtype."""
    return vector.reshape((1,) * (x.ndim - 1) + (-1,)).astype(x.dtype)
