"""DINOv3's ViT (arXiv:2508.10104) as a frozen teacher: patch features.

A ViT with a class token and four register tokens, which are left out of the result, LayerScale,
and rotary positions from patch centres in [-1, 1], so that any grid spans the same angles.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from cogvit_jax.attention import Rope
from cogvit_jax.models import frozen
from cogvit_jax.models.vit import normalize_pixels


@dataclass(frozen=True)
class Size:
    """Sizes of one model.

    Attributes:
        width, depth, num_heads, mlp_dim: as of any ViT.
        gated: the MLP is a gated SiLU (three kernels) instead of an exact GELU.
        value_bias: query and value have biases; keys never do.
    """

    width: int
    depth: int
    num_heads: int
    mlp_dim: int
    gated: bool = False
    value_bias: bool = True


# The released models, all with 16-pixel patches; `tiny` is for tests.
SIZES = {
    "tiny": Size(48, 2, 3, 112),
    "S": Size(384, 12, 6, 1536),
    "S+": Size(384, 12, 6, 1536, gated=True),
    "B": Size(768, 12, 12, 3072),
    "L": Size(1024, 24, 16, 4096),
    "H+": Size(1280, 32, 20, 5120, gated=True),
    "7B": Size(4096, 40, 32, 8192, gated=True, value_bias=False),
}
NUM_REGISTERS = 4
ROPE_THETA = 100.0
PIXEL_MEAN, PIXEL_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
EPS = 1e-5


def shapes(size: str, patch_size: int, dtype: str = "bfloat16") -> Any:
    """Parameters of the model without its mask token, as `jax.ShapeDtypeStruct`s."""
    config = SIZES[size]
    width, linear = config.width, frozen.linear_shapes
    norm = {"scale": (width,), "bias": (width,)}
    mlp = {"up": linear(width, config.mlp_dim), "down": linear(config.mlp_dim, width)}
    block = {
        "norm1": norm,
        "attention": {
            "query": linear(width, width, config.value_bias),
            "key": linear(width, width, bias=False),
            "value": linear(width, width, config.value_bias),
            "out": linear(width, width),
        },
        "layer_scale1": {"scale": (width,)},
        "norm2": norm,
        "mlp": mlp | ({"gate": linear(width, config.mlp_dim)} if config.gated else {}),
        "layer_scale2": {"scale": (width,)},
    }
    model = {
        "patch_embedding": linear(3 * patch_size**2, width),
        "cls_token": (1, width),
        "register_tokens": (NUM_REGISTERS, width),
        "blocks": frozen.stacked(block, config.depth),
        "norm": norm,
    }
    return frozen.structs(model, dtype)


def features(
    params: frozen.Params,
    patches: UInt8[Array, "b n p"],
    size: str,
    grid: tuple[int, int] | None = None,
) -> Float[Array, "b n d"]:
    """The last hidden state of the patches after the norm.

    Args:
        params: of the shapes that `shapes` gives; their dtype is that of the products.
        patches: row-major patches of whole pictures, pixels in (row, column, channel) order.
        size: a key of SIZES.
        grid: (rows, columns) of patches; None = a square.
    """
    config = SIZES[size]
    grid = grid or (round(patches.shape[1] ** 0.5),) * 2
    kernel = params["patch_embedding"]["kernel"]
    x = normalize_pixels(patches, PIXEL_MEAN, PIXEL_STD).astype(kernel.dtype)
    x = frozen.linear(params["patch_embedding"], x)
    prefix = jnp.concatenate([params["cls_token"], params["register_tokens"]])
    x = jnp.concatenate([jnp.broadcast_to(prefix, (len(x), *prefix.shape)), x], axis=1)
    cos, sin = centre_rope(grid, config.width // config.num_heads, len(prefix))
    shape = (len(x), *cos.shape)
    rope = (jnp.broadcast_to(cos[None], shape), jnp.broadcast_to(sin[None], shape))
    x = frozen.run_blocks(
        partial(_block, num_heads=config.num_heads, rope=rope), params["blocks"], x
    )
    return frozen.layer_norm(params["norm"], x[:, len(prefix) :], EPS)


def centre_rope(grid: tuple[int, int], head_dim: int, num_prefix: int) -> tuple[Array, Array]:
    """cos and sin `[num_prefix + rows * columns, head_dim]` of the rotary angles, f32.

    The angle of pair i on an axis is `2 pi c / theta ** (4 i / head_dim)`, where c in [-1, 1] is
    the patch's centre; rows turn the first half of the pairs, columns the second. Prefix tokens do
    not turn.
    """
    centres = [2 * (np.arange(n) + 0.5) / n - 1 for n in grid]
    places = np.stack(np.meshgrid(*centres, indexing="ij"), axis=-1).reshape(-1, 2, 1)
    freqs = ROPE_THETA ** -np.arange(0, 1, 4 / head_dim)
    angles = np.tile((2 * math.pi * places * freqs).reshape(len(places), -1), 2)
    angles = np.concatenate([np.zeros((num_prefix, head_dim)), angles])
    return jnp.asarray(np.cos(angles), jnp.float32), jnp.asarray(np.sin(angles), jnp.float32)


def _block(params: frozen.Params, x: Float[Array, "b t d"], num_heads: int, rope: Rope) -> Array:
    normed = frozen.layer_norm(params["norm1"], x, EPS)
    attended = frozen.attention(params["attention"], normed, num_heads, rope)
    x = x + attended * params["layer_scale1"]["scale"][None, None]
    normed = frozen.layer_norm(params["norm2"], x, EPS)
    return x + _mlp(params["mlp"], normed) * params["layer_scale2"]["scale"][None, None]


def _mlp(params: frozen.Params, x: Float[Array, "b t d"]) -> Float[Array, "b t d"]:
    up = frozen.linear(params["up"], x)
    if "gate" in params:
        hidden = jax.nn.silu(frozen.linear(params["gate"], x)) * up
    else:
        hidden = jax.nn.gelu(up, approximate=False)
    return frozen.linear(params["down"], hidden)
