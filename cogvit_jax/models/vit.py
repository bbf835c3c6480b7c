"""CogViT: the vision encoder of GLM-5V-Turbo (report §2.1), as released in GLM-OCR's tower.

What is unusual: no class token and no absolute position embedding (2-D axial RoPE only), RMSNorm,
per-head QK-Norm before RoPE, SwiGLU at full width 4096, biases everywhere. 24 blocks of width 1024
hold exactly 403,024,896 parameters. Every row of a batch may hold several images, told apart by
segment ids, so that images of any size and aspect ratio share static shapes (NaFlex).
"""

from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float, Int, UInt8

from cogvit_jax import settings
from cogvit_jax.attention import Attention, Rope, axial_rope
from cogvit_jax.layers import RMSNorm, SwiGLU, dense
from cogvit_jax.models import scan
from cogvit_jax.sharding import keep_rows

# width, depth, num_heads, mlp_dim. L is the released encoder; the others keep its head size and
# its MLP ratio of 4. `tiny` is for laptops and tests.
SIZES = {
    "tiny": (128, 4, 2, 384),
    "Ti": (192, 12, 3, 768),
    "S": (384, 12, 6, 1536),
    "B": (768, 12, 12, 3072),
    "L": (1024, 24, 16, 4096),
}


@dataclass(frozen=True)
class VisionSettings:
    """`config.vision`.

    Attributes:
        size: a key of SIZES; the next four replace its numbers where they are not 0.
        patch_size: pixels per patch side.
        rope_theta: base of the rotary frequencies.
        qk_norm: RMS-normalise each head's queries and keys.
        swiglu_limit: bound on the MLP's gate and up projections, see `layers.gated`; 0 = none.
        attention: "xla", "pallas" (TPU), "cudnn" (GPU), or "auto", see `attention.py`.
        pixel_mean, pixel_std: of the pixels in [0, 1], per channel.
        dtype: of activations; parameters are f32.
        remat: what the backward pass recomputes, a key of `models.scan.REMAT_POLICIES`.
        scan_unroll: blocks per loop iteration.
    """

    size: str = "L"
    width: int = 0
    depth: int = 0
    num_heads: int = 0
    mlp_dim: int = 0
    patch_size: int = 14
    rope_theta: float = 1e4
    qk_norm: bool = True
    swiglu_limit: float = 0.0
    attention: str = "auto"
    pixel_mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    pixel_std: tuple[float, ...] = (0.5, 0.5, 0.5)
    dtype: str = "bfloat16"
    remat: str = "full"
    scan_unroll: int = 1


class Block(nn.Module):
    """`x + attention(norm(x))`, then `x + swiglu(norm(x))`."""

    num_heads: int
    mlp_dim: int
    qk_norm: bool
    dtype: str
    implementation: str = "xla"
    swiglu_limit: float = 0.0

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t d"], segments: Int[Array, "b t"], rope: Rope
    ) -> tuple[Float[Array, "b t d"], None]:
        x = checkpoint_name(x, "block_input")
        normed = RMSNorm(dtype=self.dtype, name="norm1")(x)
        attention = Attention(
            self.num_heads,
            self.qk_norm,
            dtype=self.dtype,
            implementation=self.implementation,
            name="attention",
        )
        x = keep_rows(x + attention(normed, segments, rope))
        normed = RMSNorm(dtype=self.dtype, name="norm2")(x)
        mlp = SwiGLU(self.mlp_dim, self.dtype, self.swiglu_limit, name="mlp")
        return keep_rows(x + mlp(normed)), None


class CogViT(nn.Module):
    """Patches of one or more images per row -> one feature per patch.

    Args of the call:
        patches: uint8 pixels, row-major patches, each in (row, column, channel) order; or
            already normalised floats.
        positions: (row, column) of each patch in its own image.
        segments: 0 = padding, k = k-th image of the row.
        masked: tokens whose patch is replaced by the learned `mask_token` (masked-image modelling,
            arXiv:2106.08254); None = none, and there is no such parameter.
    """

    width: int
    depth: int
    num_heads: int
    mlp_dim: int
    qk_norm: bool = True
    rope_theta: float = 1e4
    pixel_mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    pixel_std: tuple[float, ...] = (0.5, 0.5, 0.5)
    dtype: str = "float32"
    remat: str = "none"
    scan_unroll: int = 1
    attention: str = "xla"
    swiglu_limit: float = 0.0

    @nn.compact
    def __call__(
        self,
        patches: UInt8[Array, "b t p"] | Float[Array, "b t p"],
        positions: Int[Array, "b t 2"],
        segments: Int[Array, "b t"],
        masked: Bool[Array, "b t"] | None = None,
    ) -> Float[Array, "b t {self.width}"]:
        if patches.dtype == jnp.uint8:
            patches = normalize_pixels(patches, self.pixel_mean, self.pixel_std)
        x = dense(self.width, "patch_embedding", self.dtype)(patches.astype(self.dtype))
        if masked is not None:
            init = nn.initializers.truncated_normal(0.02)
            token = self.param("mask_token", init, (1, 1, self.width), jnp.float32)
            x = jnp.where(masked[..., None], token.astype(self.dtype), x)
        x = keep_rows(x)
        rope = axial_rope(positions, self.width // self.num_heads, self.rope_theta)
        blocks = scan.stack(Block, self.depth, self.remat, self.scan_unroll, num_inputs=2)
        block = blocks(
            self.num_heads,
            self.mlp_dim,
            self.qk_norm,
            self.dtype,
            self.attention,
            self.swiglu_limit,
            name="blocks",
        )
        x, _ = block(x, segments, rope)
        x = checkpoint_name(x, "blocks_output")
        return RMSNorm(dtype=self.dtype, name="norm")(x)


def square_grid(rows: int, side: int) -> tuple[Int[Array, "b n 2"], Int[Array, "b n"]]:
    """(positions, segments) of `rows` pictures of side x side patches each, row by row."""
    places = jnp.indices((side, side), dtype=jnp.int32).reshape(2, -1).T
    positions = jnp.broadcast_to(places[None], (rows, side * side, 2))
    return positions, jnp.ones((rows, side * side), jnp.int32)


def build(config: VisionSettings, name: str | None = None) -> CogViT:
    """The encoder that `config.vision` describes; raises ConfigError on an unknown size.

    `config.attention` is resolved (see `scan.resolve_attention`); "auto" means "xla" here.
    """
    width, depth, num_heads, mlp_dim = dimensions(config)
    return CogViT(
        width=width,
        depth=depth,
        num_heads=num_heads,
        mlp_dim=mlp_dim,
        qk_norm=config.qk_norm,
        rope_theta=config.rope_theta,
        pixel_mean=config.pixel_mean,
        pixel_std=config.pixel_std,
        dtype=config.dtype,
        remat=config.remat,
        scan_unroll=config.scan_unroll,
        attention="xla" if config.attention == "auto" else config.attention,
        name=name,
        swiglu_limit=config.swiglu_limit,
    )


def dimensions(config: VisionSettings) -> tuple[int, int, int, int]:
    """(width, depth, num_heads, mlp_dim) of a config; raises ConfigError."""
    width, depth, num_heads, mlp_dim = scan.dimensions(config, SIZES, "config.vision")
    if (width // num_heads) % 4:
        raise settings.ConfigError(
            f"config.vision.width = {width} over num_heads = {num_heads} must give a head size "
            "divisible by 4 (axial RoPE)."
        )
    return width, depth, num_heads, mlp_dim


def forward_flops(config: VisionSettings, num_tokens: int, tokens_per_image: float) -> float:
    """Matrix-multiply FLOPs of the encoder for `num_tokens`, attention within each image only."""
    width, depth, _, mlp_dim = dimensions(config)
    per_token = 2 * (4 * width**2 + 3 * width * mlp_dim) + 4 * tokens_per_image * width
    embedding = 2 * 3 * config.patch_size**2 * width
    return float(num_tokens * (depth * per_token + embedding))


def normalize_pixels(
    patches: UInt8[Array, "b t p"], mean: tuple[float, ...], std: tuple[float, ...]
) -> Float[Array, "b t p"]:
    """uint8 -> (x / 255 - mean) / std per channel, f32; channels are the fastest-varying."""
    repeats = patches.shape[-1] // len(mean)
    mean_p, std_p = (jnp.tile(jnp.asarray(v, jnp.float32), repeats) for v in (mean, std))
    x = patches.astype(jnp.float32) / 255
    return (x - mean_p[None, None]) / std_p[None, None]
