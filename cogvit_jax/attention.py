"""Multi-head attention with QK-Norm, axial RoPE and segment masks; attention pooling.

Shape letters: b rows, t tokens, h heads, k head dim, d model dim, s slots (images in a row).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from cogvit_jax.layers import KERNEL_INIT, QKV_INIT, GeluMLP, RMSNorm
from cogvit_jax.sharding import keep_rows

Rope = tuple[Float[Array, "b t k"], Float[Array, "b t k"]]

# Finite, so that a fully masked row gives uniform weights instead of NaN.
MASKED = -1e30


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

    Where the collection "diagnostics" is mutable the largest logit is sown as `max_logit`.
    """

    num_heads: int
    qk_norm: bool = True
    norm_eps: float = 1e-5
    dtype: str = "float32"

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
        heads = (self.num_heads, dim // self.num_heads)
        qkv = nn.DenseGeneral((3, *heads), dtype=self.dtype, kernel_init=QKV_INIT, name="qkv")(x)
        q, k, v = (qkv[:, :, i] for i in range(3))
        if self.qk_norm:
            q = RMSNorm(self.norm_eps, self.dtype, name="q_norm")(q)
            k = RMSNorm(self.norm_eps, self.dtype, name="k_norm")(k)
        if rope is not None:
            q, k = apply_rope(q, rope), apply_rope(k, rope)
        mask = None if segments is None else same_segment(segments, segments)
        self._sow_max_logit(q, k, segments)
        out = jax.nn.dot_product_attention(q, k, v, mask=mask)
        return nn.DenseGeneral(
            dim, axis=(-2, -1), dtype=self.dtype, kernel_init=KERNEL_INIT, name="out"
        )(out)

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
