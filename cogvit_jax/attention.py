"""Multi-head attention with QK-Norm, axial RoPE and segment masks; attention pooling.

Attention has three implementations of equal numbers and equal parameters: `xla` runs anywhere,
`cudnn` on NVIDIA GPUs, `pallas` on TPUs (`pallas_interpret` is the same kernel in an interpreter,
slow, on any platform). `choose_implementation` resolves "auto".

Shape letters: b rows, t tokens, h heads, k head dim, d model dim, s slots (images in a row).
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float, Int

from cogvit_jax.kernels import attention as kernel
from cogvit_jax.layers import KERNEL_INIT, QKV_INIT, GeluMLP, RMSNorm
from cogvit_jax.settings import ConfigError
from cogvit_jax.sharding import keep_rows

Rope = tuple[Float[Array, "b t k"], Float[Array, "b t k"]]

# Finite, so that a fully masked row gives uniform weights instead of NaN.
MASKED = -1e30

# Implementation -> platforms it runs on.
IMPLEMENTATIONS = {
    "xla": ("cpu", "gpu", "tpu"),
    "cudnn": ("gpu",),
    "pallas": ("tpu",),
    "pallas_interpret": ("cpu", "gpu", "tpu"),
}


def choose_implementation(
    name: str, platform: str, *, num_heads: int = 16, head_dim: int = 64, dtype: str = "bfloat16"
) -> str:
    """The implementation that a config's `attention` means on a platform.

    Args:
        name: "auto" (the fastest that takes these heads) or a key of IMPLEMENTATIONS.
        platform: "cpu", "gpu" or "tpu", as a mesh's devices say.
        num_heads: heads per device.
        head_dim: features per head.
        dtype: of the activations.

    Raises:
        ConfigError: unknown name, or one that cannot run there.

    On TPU v4, with 16 MiB of VMEM, the kernel's compiler refuses rows of more than 512 tokens.
    """
    if name != "auto" and name not in IMPLEMENTATIONS:
        raise ConfigError(
            f"attention = {name!r} is unknown: choose 'auto' or one of {sorted(IMPLEMENTATIONS)}."
        )
    half = jnp.dtype(dtype).itemsize == 2
    possible = {
        "xla": True,
        # What its fused kernels take on every generation since Ampere.
        "cudnn": half and head_dim % 8 == 0 and head_dim <= 128,
        "pallas": kernel.supported(num_heads, head_dim),
        "pallas_interpret": kernel.supported(num_heads, head_dim),
    }
    if name == "auto":
        preferred = {"tpu": "pallas", "gpu": "cudnn"}.get(platform, "xla")
        return preferred if possible[preferred] else "xla"
    if platform not in IMPLEMENTATIONS[name] or not possible[name]:
        raise ConfigError(
            f"attention = {name!r} cannot run {num_heads} heads of {head_dim} in {dtype} on "
            f"{platform}: choose 'auto' or 'xla'."
        )
    return name


def axial_rope(positions: Int[Array, "b t 2"], head_dim: int, theta: float = 1e4) -> Rope:
    """cos and sin of 2-D axial rotary angles, f32.

    The `head_dim/2` rotation pairs are split between rows and columns: pair i of an axis turns by
    `position * theta ** (-4i / head_dim)`. Pair i joins dims i and `i + head_dim/2` ("rotate
    half"). Layout of GLM-OCR's vision tower; RoPE is arXiv:2104.09864.
    """
    if head_dim % 4:
        raise ValueError(f"axial RoPE needs head_dim divisible by 4, got {head_dim}.")
    pairs = head_dim // 4
    freqs = theta ** (-jnp.arange(pairs, dtype=jnp.float32) / pairs)
    angles = positions.astype(jnp.float32)[..., None] * freqs.reshape(1, 1, 1, -1)  # b t 2 pairs
    angles = jnp.tile(angles.reshape(*positions.shape[:2], 2 * pairs), (1, 1, 2))
    return jnp.cos(angles), jnp.sin(angles)


def apply_rope(x: Float[Array, "b t h k"], rope: Rope) -> Float[Array, "b t h k"]:
    """Rotates every head of `x` by its token's angles; computed in f32, returned in x's dtype."""
    cos, sin = (r[:, :, None, :] for r in rope)
    x32 = x.astype(jnp.float32)
    first, second = jnp.split(x32, 2, axis=-1)
    turned = jnp.concatenate([-second, first], axis=-1)
    return (x32 * cos + turned * sin).astype(x.dtype)


class Attention(nn.Module):
    """Bidirectional self-attention over the tokens of a segment.

    q, k and v come from one fused kernel `[d, 3, h, k]`. With `qk_norm`, each head's query and key
    are RMS-normalised before RoPE (arXiv:2010.04245, as GLM-OCR does it), which bounds the logits
    by `sqrt(k) * |gain_q| * |gain_k|`.

    Where the collection "diagnostics" is mutable the largest logit is sown as `max_logit`. Remat
    policies can save "qkv" (the projection) and "attention_out" (what "out" projects).
    """

    num_heads: int
    qk_norm: bool = True
    norm_eps: float = 1e-5
    dtype: str = "float32"
    implementation: str = "xla"

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b t d"],
        segments: Int[Array, "b t"] | None = None,
        rope: Rope | None = None,
    ) -> Float[Array, "b t d"]:
        dim = x.shape[-1]
        if dim % self.num_heads:
            raise ValueError(f"width {dim} is not divisible by num_heads {self.num_heads}.")
        if self.implementation in ("pallas", "pallas_interpret"):
            return self._with_kernel(x, segments, rope)
        heads = (self.num_heads, dim // self.num_heads)
        qkv = nn.DenseGeneral((3, *heads), dtype=self.dtype, kernel_init=QKV_INIT, name="qkv")(x)
        qkv = checkpoint_name(qkv, "qkv")
        q, k, v = (qkv[:, :, i] for i in range(3))
        if self.qk_norm:
            q = RMSNorm(self.norm_eps, self.dtype, name="q_norm")(q)
            k = RMSNorm(self.norm_eps, self.dtype, name="k_norm")(k)
        if rope is not None:
            q, k = apply_rope(q, rope), apply_rope(k, rope)
        mask = None if segments is None else same_segment(segments, segments)
        self._sow_max_logit(q, k, segments)
        out = jax.nn.dot_product_attention(
            q, k, v, mask=mask, implementation="cudnn" if self.implementation == "cudnn" else "xla"
        )
        out = checkpoint_name(out, "attention_out")
        return nn.DenseGeneral(
            dim, axis=(-2, -1), dtype=self.dtype, kernel_init=KERNEL_INIT, name="out"
        )(out)

    def _with_kernel(self, x: Array, segments: Array | None, rope: Rope | None) -> Array:
        """The same with the same parameters; activations never have a head dim."""
        heads = (self.num_heads, x.shape[-1] // self.num_heads)
        x = x.astype(self.dtype)
        weights, bias = DenseParams((x.shape[-1], 3, *heads), (3, *heads), QKV_INIT, name="qkv")()
        if kernel.splits_heads():
            qkv = tuple(flat_dense(x, weights[:, i], bias[i]) for i in range(3))
        else:
            qkv = (flat_dense(x, weights, bias),)
        qkv = tuple(checkpoint_name(array, "qkv") for array in qkv)
        gains = None
        if self.qk_norm:
            gains = (Gain(heads[1], name="q_norm")(), Gain(heads[1], name="k_norm")())
        if self.is_mutable_collection("diagnostics"):
            self._sow_max_logit(*self._normed(qkv, gains, rope), segments)
        out = kernel.attend(
            qkv,
            segments,
            rope,
            gains,
            num_heads=self.num_heads,
            norm_eps=self.norm_eps,
            interpret=self.implementation == "pallas_interpret",
        )
        params = DenseParams((*heads, x.shape[-1]), (x.shape[-1],), KERNEL_INIT, name="out")()
        return flat_dense(out, *params)

    def _normed(
        self, qkv: tuple[Array, ...], gains: kernel.Gains | None, rope: Rope | None
    ) -> tuple[Array, Array]:
        """Queries and keys `[b, t, h, k]` as the kernel sees them."""
        joined = jnp.concatenate(qkv, axis=-1)
        joined = joined.reshape(*joined.shape[:2], 3, self.num_heads, -1)
        q, k = joined[:, :, 0], joined[:, :, 1]
        if gains is not None:
            q, k = (_rms_norm(x, g, self.norm_eps) for x, g in zip((q, k), gains, strict=True))
        return (q, k) if rope is None else (apply_rope(q, rope), apply_rope(k, rope))

    def _sow_max_logit(self, q: Array, k: Array, segments: Array | None) -> None:
        if not self.is_mutable_collection("diagnostics"):
            return
        logits = jnp.einsum("bqhk,bthk->bhqt", q, k, preferred_element_type=jnp.float32)
        if segments is not None:  # padding does not count: no output depends on its logits
            mask = same_segment(segments, segments) & (segments > 0)[:, None, None]
            logits = jnp.where(mask, logits, MASKED)
        self.sow("diagnostics", "max_logit", jnp.max(logits) / q.shape[-1] ** 0.5)


def same_segment(q: Int[Array, "b q"], k: Int[Array, "b t"]) -> Array:
    """Mask `[b, 1, q, t]`: True where query and key belong to the same image.

    Padding is segment 0 and attends to padding only, so no row is empty and nothing is NaN.
    """
    return (q[:, :, None] == k[:, None, :])[:, None]


def _rms_norm(x: Array, gain: Array, eps: float) -> Array:
    x32 = x.astype(jnp.float32)
    scale = jax.lax.rsqrt(jnp.mean(x32**2, axis=-1, keepdims=True) + eps)
    return (x32 * scale * gain.reshape(1, 1, 1, -1)).astype(x.dtype)


class DenseParams(nn.Module):
    """The parameters of a `DenseGeneral`, with the same initial numbers."""

    kernel_shape: tuple[int, ...]
    bias_shape: tuple[int, ...]
    kernel_init: nn.initializers.Initializer

    @nn.compact
    def __call__(self) -> tuple[Array, Array]:
        """(kernel, bias)."""

        def init(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
            outputs = math.prod(self.bias_shape)
            return self.kernel_init(key, (math.prod(shape) // outputs, outputs), dtype).reshape(
                shape
            )

        kernel = self.param("kernel", init, self.kernel_shape, jnp.float32)
        return kernel, self.param("bias", nn.initializers.zeros, self.bias_shape, jnp.float32)


def flat_dense(x: Float[Array, "b t n"], kernel: Array, bias: Array) -> Float[Array, "b t m"]:
    """What `DenseGeneral` computes, without head dims in activations.

    A `[b, t, h, 64]` array fills half of a TPU's 128 lanes, and reshaping to it moves every byte.
    """
    product = x @ kernel.reshape(x.shape[-1], -1).astype(x.dtype)
    return add_bias(product, bias.reshape(-1).astype(x.dtype))


@jax.custom_vjp
def add_bias(x: Float[Array, "b t n"], bias: Float[Array, " n"]) -> Float[Array, "b t n"]:
    """`x + bias`, with the gradient of the bias as a product with ones, accumulated in f32.

    The compiler's cost model for v5e gives 0.65 ms for that product over 65,536 x 3,072 bf16
    numbers, and 3.5 ms for the bf16 sum that autodiff writes.
    """
    return x + bias.reshape(1, 1, -1)


def _add_bias_forward(x: Array, bias: Array) -> tuple[Array, Array]:
    return add_bias(x, bias), bias


def _add_bias_backward(bias: Array, grad: Array) -> tuple[Array, Array]:
    ones = jnp.ones((*grad.shape[:2], 8), grad.dtype)  # a whole tile of sublanes
    sums = jnp.einsum("btk,btn->kn", ones, grad, preferred_element_type=jnp.float32)
    return grad, sums[0].astype(bias.dtype)


add_bias.defvjp(_add_bias_forward, _add_bias_backward)


class Gain(nn.Module):
    """RMSNorm's parameter, for a norm that is computed elsewhere."""

    size: int

    @nn.compact
    def __call__(self) -> Float[Array, " {self.size}"]:
        return self.param("scale", nn.initializers.ones, (self.size,), jnp.float32)


class AttentionPool(nn.Module):
    """One learned query attends to the tokens of each image, then a residual MLP.

    SigLIP's "MAP head" (arXiv:2303.15343; arXiv:2106.04560): the same as
    `Siglip2MultiheadAttentionPoolingHead` when every row holds one image. The query is shared, so
    its logits are computed once per token and the softmax runs per segment: pooling is exact for
    packed rows at no extra cost.
    """

    num_heads: int
    mlp_dim: int
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t d"], segments: Int[Array, "b t"], num_slots: int
    ) -> Float[Array, "b s d"]:
        dim = x.shape[-1]
        heads = (self.num_heads, dim // self.num_heads)
        probe = self.param("probe", KERNEL_INIT, (1, dim), jnp.float32)

        def project(inputs: Array, name: str) -> Array:
            return nn.DenseGeneral(heads, dtype=self.dtype, kernel_init=KERNEL_INIT, name=name)(
                inputs
            )

        query = project(probe, "query")[0]  # h k
        key, value = project(x, "key"), project(x, "value")
        logits = jnp.einsum("hk,bthk->bht", query, key, preferred_element_type=jnp.float32)
        slot_ids = jnp.arange(1, num_slots + 1, dtype=segments.dtype)
        mask = slot_ids.reshape(1, 1, -1, 1) == segments[:, None, None, :]  # b 1 s t
        logits = jnp.where(mask, logits[:, :, None] / heads[1] ** 0.5, MASKED)
        weights = jax.nn.softmax(logits, axis=-1).astype(value.dtype)  # b h s t
        pooled = jnp.einsum("bhst,bthk->bshk", weights, value)
        pooled = nn.DenseGeneral(
            dim, axis=(-2, -1), dtype=self.dtype, kernel_init=KERNEL_INIT, name="out"
        )(pooled)
        pooled = keep_rows(pooled)
        normed = nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name="norm")(pooled)
        return keep_rows(pooled + GeluMLP(self.mlp_dim, self.dtype, name="mlp")(normed))
