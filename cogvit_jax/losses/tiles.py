"""The mathematics of the sigmoid loss for one tile of the N x N logits.

With N images x_i, N texts y_j (unit vectors), scale s = exp(log_scale) and bias b
(SigLIP, arXiv:2303.15343, equation 2 and Algorithm 1):

    logit_ij = s <x_i, y_j> + b
    z_ij     = +1 where image i and text j are a pair, else -1
    loss     = 1/N  sum_i sum_j  -log sigmoid(z_ij logit_ij)

A term needs no sum over the others (a softmax would), so the pass which computes a tile of the
loss also has its gradients, with e_ij = -z_ij sigmoid(-z_ij logit_ij):

    d/dx_i = s sum_j e_ij y_j    d/dy_j = s sum_i e_ij x_i    d/db = sum_ij e_ij
    d/dlog_scale = s sum_ij e_ij <x_i, y_j>

Images and texts play equal parts, so a tile has `rows` and a `block` of columns, and either may be
the images.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class Side(NamedTuple):
    """Embeddings of one kind and the pair each belongs to."""

    emb: Float[Array, "n d"]
    ids: Int[Array, "n"]


class Found(NamedTuple):
    """What a tile adds: sums, and the float32 gradients that were asked for (else None)."""

    sums: dict[str, Array]
    d_rows: Any
    d_block: Any


Compare = Callable[..., Found]  # `compare` with everything but rows, block and `d_block` given


def compare(
    rows: Side,
    block: Side,
    *,
    log_scale: Array,
    bias: Array,
    chunk_size: int | None,
    with_grads: bool,
    d_block: bool = True,
) -> Found:
    """All rows against a block, `chunk_size` rows at a time (None: all at once).

    Gradients are computed `with_grads`, those of the block only with `d_block` too.
    """
    tile = partial(
        _tile, log_scale=log_scale, bias=bias, with_grads=with_grads, d_block=d_block, block=block
    )
    n = len(rows.emb)
    chunk = min(chunk_size or n, n)
    first = n % chunk or chunk  # a short first chunk where the size does not divide n
    found = tile(jax.tree.map(lambda x: x[:first], rows))
    if first == n:
        return found

    def step(carry, some: Side):
        sums, d_rows, d_block = tile(some)
        return add(carry, (sums, d_block)), d_rows

    rest = jax.tree.map(lambda x: x[first:].reshape(-1, chunk, *x.shape[1:]), rows)
    (sums, d_columns), more = jax.lax.scan(step, (found.sums, found.d_block), rest)
    if more is None:
        return Found(sums, None, d_columns)
    d_rows = jnp.concatenate([found.d_rows, more.reshape(-1, more.shape[-1])])
    return Found(sums, d_rows, d_columns)


def _tile(rows: Side, *, block: Side, log_scale, bias, with_grads: bool, d_block: bool) -> Found:
    matmul = partial(jnp.einsum, preferred_element_type=jnp.float32)
    cosines = matmul("rd,cd->rc", rows.emb, block.emb)
    logits = jnp.exp(log_scale) * cosines + bias
    positive = rows.ids[:, None] == block.ids[None, :]
    signed = jnp.where(positive, logits, -logits)
    sums = {
        "total": -jnp.sum(jax.nn.log_sigmoid(signed)),
        "positive_logit_sum": jnp.sum(jnp.where(positive, logits, 0)),
        "negative_logit_sum": jnp.sum(jnp.where(positive, 0, logits)),
        "num_positives": jnp.sum(positive, dtype=jnp.float32),
        "num_negatives": jnp.sum(~positive, dtype=jnp.float32),
    }
    if not with_grads:
        return Found(sums, None, None)
    d_logits = jnp.where(positive, -1.0, 1.0) * jax.nn.sigmoid(-signed)
    d_cosines = jnp.exp(log_scale) * d_logits
    sums |= {"d_log_scale": jnp.sum(d_cosines * cosines), "d_bias": jnp.sum(d_logits)}
    rounded = d_cosines.astype(rows.emb.dtype)
    d_rows = matmul("rc,cd->rd", rounded, block.emb)
    return Found(sums, d_rows, matmul("rc,rd->cd", rounded, rows.emb) if d_block else None)


def add(x: Any, y: Any) -> Any:
    """Leaf by leaf."""
    return jax.tree.map(jnp.add, x, y)
