"""SigLIP2's vision tower (arXiv:2502.14786) as a frozen teacher: patch features, no pooling head.

A ViT with learned positions, LayerNorm and a tanh-GELU MLP. The fixed-resolution checkpoints have
one position per patch of their resolution; the NaFlex ones have 16 x 16, resized to each grid.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from cogvit_jax.models import frozen
from cogvit_jax.models.vit import normalize_pixels

# width, depth, num_heads, mlp_dim of the released towers; `tiny` is for tests.
SIZES = {
    "tiny": (48, 2, 3, 112),
    "B": (768, 12, 12, 3072),
    "L": (1024, 24, 16, 4096),
    "So400m": (1152, 27, 16, 4304),
    "g-opt": (1536, 40, 16, 6144),
}
NAFLEX_POSITIONS = 16 * 16
PIXEL_MEAN = PIXEL_STD = (0.5, 0.5, 0.5)
EPS = 1e-6


def shapes(size: str, patch_size: int, num_positions: int, dtype: str = "bfloat16") -> Any:
    """Parameters of the tower without its pooling head, as `jax.ShapeDtypeStruct`s."""
    width, depth, _, mlp_dim = SIZES[size]
    block = block_shapes(width, mlp_dim)
    tower = {
        "patch_embedding": frozen.linear_shapes(3 * patch_size**2, width),
        "positions": (num_positions, width),
        "blocks": frozen.stacked(block, depth),
        "norm": block["norm1"],
    }
    return frozen.structs(tower, dtype)


def block_shapes(width: int, mlp_dim: int) -> dict[str, Any]:
    """Shapes of one block, the same in the vision and the text tower."""
    norm = {"scale": (width,), "bias": (width,)}
    linear = frozen.linear_shapes
    return {
        "norm1": norm,
        "attention": {n: linear(width, width) for n in ("query", "key", "value", "out")},
        "norm2": norm,
        "mlp": {"up": linear(width, mlp_dim), "down": linear(mlp_dim, width)},
    }


def features(
    params: frozen.Params,
    patches: UInt8[Array, "b n p"],
    size: str,
    grid: tuple[int, int] | None = None,
) -> Float[Array, "b n d"]:
    """The last hidden state after its norm, one feature per patch.

    Args:
        params: of the shapes that `shapes` gives; their dtype is that of the products.
        patches: row-major patches of whole pictures, pixels in (row, column, channel) order.
        size: a key of SIZES.
        grid: (rows, columns) of patches; None = a square.
    """
    grid = grid or (round(patches.shape[1] ** 0.5),) * 2
    kernel = params["patch_embedding"]["kernel"]
    x = normalize_pixels(patches, PIXEL_MEAN, PIXEL_STD).astype(kernel.dtype)
    x = frozen.linear(params["patch_embedding"], x)
    x = x + resize_positions(params["positions"], grid)[None]
    x = frozen.run_blocks(partial(_block, num_heads=SIZES[size][2]), params["blocks"], x)
    return frozen.layer_norm(params["norm"], x, EPS)


def resize_positions(
    table: Float[Array, "m d"], grid: tuple[int, int]
) -> Float[Array, "{grid[0]*grid[1]} d"]:
    """The square table of positions for another grid: antialiased bilinear, computed in f32."""
    side = round(table.shape[0] ** 0.5)
    if grid == (side, side):
        return table
    square = table.reshape(side, side, -1).astype(jnp.float32)
    resized = jax.image.resize(square, (*grid, table.shape[1]), "bilinear", antialias=True)
    return resized.reshape(-1, table.shape[1]).astype(table.dtype)


def _block(params: frozen.Params, x: Float[Array, "b t d"], num_heads: int) -> Array:
    normed = frozen.layer_norm(params["norm1"], x, EPS)
    x = x + frozen.attention(params["attention"], normed, num_heads)
    hidden = frozen.linear(params["mlp"]["up"], frozen.layer_norm(params["norm2"], x, EPS))
    return x + frozen.linear(params["mlp"]["down"], jax.nn.gelu(hidden, approximate=True))
