"""Causal attention within documents, and over a cache.

An implementation is a function (q, k, v, inputs) -> out, so that rows split over devices can bring
their own (`xla` here; others in `context.py`). Keys and values have g heads, each shared by h / g
of the queries' (arXiv:2305.13245).

Shape letters: b rows, t tokens, s keys, h heads, g kv heads, k head dim, p rotary pairs.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.splash_attention import (
    splash_attention_kernel as kernel,
)
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as static_mask
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from cogvit_jax.settings import ConfigError
from cogvit_jax.sharding import BATCH_AXES, auto_axes
from mmtp.models.rope import Rope

LANES = 128  # the kernel's tiles are multiples of it


class Inputs(NamedTuple):
    """What every layer knows of a row's tokens.

    Attributes:
        rope: cos and sin of the rotary angles.
        segments: 0 = padding, k = k-th document of the row.
        order: place of each token in its row before any reordering; no place occurs twice.
        usable: keys that other tokens may see, None = all; a token always sees itself.
    """

    rope: Rope
    segments: Int[Array, "b t"]
    order: Int[Array, "b t"]
    usable: Bool[Array, "b t"] | None = None


Attend = Callable[[Array, Array, Array, Inputs], Array]


def visible(queries: Inputs, keys: Inputs) -> Bool[Array, "b 1 t s"]:
    """True where a query sees a key: of its own document, not later, usable or itself.

    Padding is a document of its own, so no query sees nothing.
    """
    same = queries.segments[:, :, None] == keys.segments[:, None, :]
    later = keys.order[:, None, :] - queries.order[:, :, None]
    seen = later <= 0
    if keys.usable is not None:
        seen &= keys.usable[:, None, :] | (later == 0)
    return (same & seen)[:, None]


def masked(
    q: Float[Array, "b t h k"],
    k: Float[Array, "b s g k"],
    v: Float[Array, "b s g k"],
    mask: Bool[Array, "b 1 t s"],
) -> Float[Array, "b t h k"]:
    """Softmax attention where the mask is True; logits and softmax in f32."""
    return jax.nn.dot_product_attention(q, k, v, mask=mask, implementation="xla")


def xla(
    q: Float[Array, "b t h k"],
    k: Float[Array, "b t g k"],
    v: Float[Array, "b t g k"],
    inputs: Inputs,
) -> Float[Array, "b t h k"]:
    """Attention of a row to itself, on any platform."""
    return masked(q, k, v, visible(inputs, inputs))


def write(
    cached: Float[Array, "b s *x"] | Bool[Array, "b s"],
    new: Float[Array, "b t *x"] | Bool[Array, "b t"],
    order: Int[Array, "b t"],
) -> Array:
    """The cache with a row's new tokens at slots `order[:, 0]`, `order[:, 0] + 1`, …

    What would lie behind the last slot is left out.
    """
    slots = order[:, :1] + jnp.arange(order.shape[1], dtype=order.dtype)[None]
    rows = jnp.arange(order.shape[0], dtype=order.dtype)[:, None]
    return cached.at[rows, slots].set(new.astype(cached.dtype), mode="drop")


def cached(
    q: Float[Array, "b t h k"],
    k: Float[Array, "b s g k"],
    v: Float[Array, "b s g k"],
    order: Int[Array, "b t"],
    usable: Bool[Array, "b s"],
) -> Float[Array, "b t h k"]:
    """Attention to a cache that already holds the queries' own keys; slot = order."""
    slots = jnp.arange(k.shape[1], dtype=order.dtype)[None, None]
    own = slots == order[..., None]
    earlier = slots < order[..., None]
    return masked(q, k, v, (own | (earlier & usable[:, None]))[:, None])


def choose(name: str, platform: str, num_tokens: int, head_dim: int) -> Attend:
    """The implementation that a config's `attention` means for rows of `num_tokens`.

    Args:
        name: "xla", "splash", or "auto": the second on TPUs where it takes these shapes.
        platform: "cpu", "gpu" or "tpu".
        num_tokens: of a row, in natural order.
        head_dim: features per head.

    Raises:
        ConfigError: an unknown name, or one that cannot run there.
    """
    fits = num_tokens % LANES == 0 and head_dim % (LANES // 2) == 0
    possible = platform == "tpu" and fits
    if name not in ("auto", "xla", "splash"):
        raise ConfigError(f"attention = {name!r} is unknown: choose 'auto', 'xla' or 'splash'.")
    if name == "splash" and not possible:
        raise ConfigError(
            f"attention = 'splash' cannot run rows of {num_tokens} tokens and heads of {head_dim} "
            f"on {platform}: it takes multiples of {LANES} tokens and of {LANES // 2} features, on "
            "TPUs; choose 'auto' or 'xla'."
        )
    return splash if possible and name != "xla" else xla


def splash(
    q: Float[Array, "b t h k"],
    k: Float[Array, "b t g k"],
    v: Float[Array, "b t g k"],
    inputs: Inputs,
    interpret: bool = False,
) -> Float[Array, "b t h k"]:
    """`xla` as one TPU kernel that skips tiles of the future and holds no t x t array.

    For rows in natural order (it does not read `inputs.order`) of a multiple of 128 tokens. The
    kernel cannot let a token alone see itself, so that where `inputs.usable` is given this is
    `xla`. `interpret` runs it, slowly, on any platform.
    """
    if inputs.usable is not None:
        return xla(q, k, v, inputs)
    axes = auto_axes()
    rows = tuple(a for a in BATCH_AXES if a in axes) or None
    heads = PartitionSpec(rows, None, "tensor" if "tensor" in axes else None)

    def local(q: Array, k: Array, v: Array, segments: Array) -> Array:
        attend = _splash_kernel(q.shape[2], q.shape[1], interpret)
        scaled = (q * q.shape[-1] ** -0.5).astype(q.dtype)
        first = (x.swapaxes(1, 2) for x in (scaled, k, v))  # heads before tokens
        ids = kernel.SegmentIds(segments, segments)
        return jax.vmap(attend)(*first, ids).swapaxes(1, 2)

    if axes:
        specs = (heads, heads, heads, PartitionSpec(rows))
        local = jax.shard_map(
            local, in_specs=specs, out_specs=heads, axis_names=axes, check_vma=False
        )
    return local(q, k, v, inputs.segments)


def _splash_kernel(num_heads: int, num_tokens: int, interpret: bool) -> Any:
    block = next(size for size in (512, 256, LANES) if num_tokens % size == 0)
    sizes = kernel.BlockSizes(
        block_q=block,
        block_kv=block,
        block_q_dkv=block,
        block_kv_dkv=block,
        block_kv_dkv_compute=block,
        block_q_dq=block,
        block_kv_dq=block,
    )
    causal = static_mask.CausalMask((num_tokens, num_tokens))
    return kernel.make_splash_mha(
        static_mask.MultiHeadMask([causal] * num_heads),
        block_sizes=sizes,
        head_shards=1,
        q_seq_shards=1,
        interpret=interpret,
    )
