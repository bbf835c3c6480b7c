"""Causal attention within documents, and over a cache.

An implementation is a function (q, k, v, inputs) -> out, so that rows split over devices can bring
their own (`xla` here; others in `context.py` and `splash.py`). Keys and values have g heads, each
shared by h / g of the queries' (arXiv:2305.13245).

Shape letters: b rows, t tokens, s keys, h heads, g kv heads, k head dim, p rotary pairs.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mmtp.models.rope import Rope


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
