"""Attention of some queries to some keys, block by block, with memory linear in the tokens.

The online softmax of arXiv:2112.05682 with the backward pass of arXiv:2205.14135 (FlashAttention,
algorithm 4), in plain JAX: logits exist for one block of queries and one block of keys at a time,
maxima, sums and gradients are f32. Blocks that no query sees, such as those of the future or of
other documents, are neither computed nor differentiated.

Shape letters: b rows, t queries, s keys, h heads, g key heads, r = h / g, k head dim, n blocks of
queries, m blocks of keys, c tokens of a block.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

MASKED = -1e30  # finite, so that a block without a visible key gives zeros instead of NaN


class Places(NamedTuple):
    """What tells which tokens see each other; of queries or of keys.

    Attributes:
        segments: a token sees those of its own segment.
        order: place in the row; a token sees none that is later.
        usable: keys that other tokens may see; every token sees itself. None = all.
    """

    segments: Int[Array, "b t"]
    order: Int[Array, "b t"]
    usable: Bool[Array, "b t"] | None = None


class Block(NamedTuple):
    """Keys, values and their places."""

    k: Float[Array, "b s g k"]
    v: Float[Array, "b s g k"]
    places: Places


class Partial(NamedTuple):
    """Softmax over the keys seen so far: largest logit, sum of weights, weighted sum of values."""

    largest: Float[Array, "n b g r c"]
    weight: Float[Array, "n b g r c"]
    total: Float[Array, "n b g r c k"]


class Queries(NamedTuple):
    """Queries cut into blocks, and their places."""

    q: Float[Array, "n b c g r k"]
    places: Places


class Back(NamedTuple):
    """What the backward pass needs of a block of queries.

    `grad` of the output, `normaliser` = log-sum-exp of the logits, `dot` = sum(grad * output).
    """

    grad: Float[Array, "n b g r c k"]
    normaliser: Float[Array, "n b g r c"]
    dot: Float[Array, "n b g r c"]


def visible(queries: Places, keys: Places) -> Bool[Array, "b t s"]:
    """Whether a query sees a key."""
    order_q, order_k = queries.order[:, :, None], keys.order[:, None]
    seen = (queries.segments[:, :, None] == keys.segments[:, None]) & (order_k <= order_q)
    return seen if keys.usable is None else seen & (keys.usable[:, None] | (order_k == order_q))


def cut(x: Any, size: int) -> Any:
    """`[b, t, …] -> [t / c, b, c, …]`, c the largest divisor of t that is at most `size`."""

    def one(x: Array) -> Array:
        length = divisor(x.shape[1], size)
        return x.reshape(x.shape[0], -1, length, *x.shape[2:]).swapaxes(0, 1)

    return jax.tree.map(one, x)


def divisor(number: int, most: int) -> int:
    """The largest divisor of `number` that is at most `most`."""
    return next(d for d in range(min(most, number), 0, -1) if number % d == 0)


def join(x: Any) -> Any:
    """The inverse of `cut`."""
    return jax.tree.map(
        lambda x: x.swapaxes(0, 1).reshape(x.shape[1], -1, *x.shape[3:]),
        x,
    )


def queries(
    q: Float[Array, "b t h k"], places: Places, num_groups: int, block_size: int
) -> Queries:
    """Cuts queries into blocks of about `block_size`."""
    grouped = q.reshape(*q.shape[:2], num_groups, -1, q.shape[-1])
    return Queries(cut(grouped, block_size), cut(places, block_size))


def nothing(queries: Queries) -> Partial:
    """The softmax over no keys."""
    n, b, c, g, r, k = queries.q.shape
    zeros = jnp.zeros((n, b, g, r, c), jnp.float32)
    return Partial(zeros + MASKED, zeros, jnp.zeros((n, b, g, r, c, k), jnp.float32))


def see(seen: Partial, queries: Queries, block: Block, block_size: int) -> Partial:
    """Adds the keys of a block to the softmax."""
    keys = cut(block, block_size)

    def one(_: None, inputs: tuple[Partial, Queries]) -> tuple[None, Partial]:
        seen, queries = inputs

        def visit(seen: Partial, keys: Block) -> tuple[Partial, None]:
            useful = _may_see(queries.places, keys.places)
            return jax.lax.cond(useful, _see, lambda seen, *_: seen, seen, queries, keys), None

        return None, _scan(visit, seen, keys)[0]

    return _scan(one, None, (seen, queries))[1]


def finish(seen: Partial) -> tuple[Array, Array]:
    """(output `[n b g r c k]`, log-sum-exp `[n b g r c]`), f32."""
    weight = jnp.maximum(seen.weight, 1e-37)
    return seen.total / weight[..., None], seen.largest + jnp.log(weight)


def back(
    queries: Queries, found: Back, block: Block, block_size: int
) -> tuple[Array, tuple[Array, Array]]:
    """Gradients with respect to the queries `[n b c g r k]` and to a block's keys and values."""
    keys = cut(block, block_size)

    def one(d_keys: tuple, inputs: tuple[Queries, Back]) -> tuple[tuple, Array]:
        queries, found = inputs

        def visit(d_query: Array, inputs: tuple[Block, tuple]) -> tuple[Array, tuple]:
            keys, d_keys = inputs
            useful = _may_see(queries.places, keys.places)
            arguments = (d_query, d_keys, queries, found, keys)
            return jax.lax.cond(useful, _back, lambda d_query, d, *_: (d_query, d), *arguments)

        zeros = jnp.zeros(queries.q.shape, jnp.float32)
        d_query, d_keys = _scan(visit, zeros, (keys, d_keys))
        return d_keys, d_query

    zeros = tuple(jnp.zeros(x.shape, jnp.float32) for x in (keys.k, keys.v))
    (d_k, d_v), d_queries = _scan(one, zeros, (queries, found))
    return d_queries, (join(d_k), join(d_v))


def _scan(step: Any, carry: Any, inputs: Any) -> tuple[Any, Any]:
    """`lax.scan`, without a loop (and its compile time) where there is one block."""
    if jax.tree.leaves(inputs)[0].shape[0] > 1:
        return jax.lax.scan(step, carry, inputs)
    carry, result = step(carry, jax.tree.map(lambda x: x[0], inputs))
    return carry, jax.tree.map(lambda x: x[None], result)


def _may_see(queries: Places, keys: Places) -> Bool[Array, ""]:
    """Whether any query of a block may see any of its keys, from the ends of their ranges."""
    past = keys.order.min(1) <= queries.order.max(1)
    low = keys.segments.min(1) <= queries.segments.max(1)
    high = keys.segments.max(1) >= queries.segments.min(1)
    return jnp.any(past & low & high)


def _logits(queries: Queries, keys: Block) -> tuple[Array, Array]:
    """(scaled logits, visibility), both `[b g r c s]` or of size 1."""
    logits = jnp.einsum("bcgrk,bsgk->bgrcs", queries.q, keys.k, preferred_element_type=jnp.float32)
    mask = visible(queries.places, keys.places)[:, None, None]
    return logits / queries.q.shape[-1] ** 0.5, mask


def _see(seen: Partial, queries: Queries, keys: Block) -> Partial:
    logits, mask = _logits(queries, keys)
    largest = jnp.maximum(seen.largest, jnp.where(mask, logits, MASKED).max(-1))
    weights = jnp.where(mask, jnp.exp(logits - largest[..., None]), 0.0)
    values = jnp.einsum(
        "bgrcs,bsgk->bgrck",
        weights.astype(keys.v.dtype),
        keys.v,
        preferred_element_type=jnp.float32,
    )
    shrink = jnp.exp(seen.largest - largest)
    return Partial(
        largest, seen.weight * shrink + weights.sum(-1), seen.total * shrink[..., None] + values
    )


def _back(
    d_query: Array, d_keys: tuple[Array, Array], queries: Queries, found: Back, keys: Block
) -> tuple[Array, tuple[Array, Array]]:
    logits, mask = _logits(queries, keys)
    weights = jnp.where(mask, jnp.exp(logits - found.normaliser[..., None]), 0.0)
    dtype = keys.v.dtype
    f32 = {"preferred_element_type": jnp.float32}
    grad = found.grad.astype(dtype)
    d_v = jnp.einsum("bgrcs,bgrck->bsgk", weights.astype(dtype), grad, **f32)
    d_weights = jnp.einsum("bgrck,bsgk->bgrcs", grad, keys.v, **f32)
    d_logits = weights * (d_weights - found.dot[..., None]) / queries.q.shape[-1] ** 0.5
    d_logits = d_logits.astype(dtype)
    d_k = jnp.einsum("bgrcs,bcgrk->bsgk", d_logits, queries.q, **f32)
    d_q = jnp.einsum("bgrcs,bsgk->bcgrk", d_logits, keys.k, **f32)
    return d_query + d_q, (d_keys[0] + d_k, d_keys[1] + d_v)
