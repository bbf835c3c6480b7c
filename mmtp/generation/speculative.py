"""Verification of drafts: the rule that leaves the target's distribution unchanged.

A draft x ~ q is kept with probability min(1, p(x) / q(x)); the first that is not is replaced by a
draw from max(p - q, 0), normalised; where all are kept one more token is drawn from p
(arXiv:2211.17192, algorithm 1). Greedy drafts are point masses q, and greedy decoding is a point
mass p: both are cases of the one rule, and then it compares with the argmax.

Shape letters: b rows, k drafts, v vocabulary.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32, Key

from mmtp.generation import sampling


class Verdict(NamedTuple):
    """What became of the drafts.

    Attributes:
        accepted: how many drafts, from the first, are kept.
        token: what follows them.
    """

    accepted: Int32[Array, " b"]
    token: Int32[Array, " b"]


def verify(
    target: Float[Array, "b k+1 v"],
    proposal: Float[Array, "b k v"],
    drafts: Int32[Array, "b k"],
    num_drafts: Int32[Array, " b"],
    keys: Key[Array, " b"],
    first: Int32[Array, " b"],
) -> Verdict:
    """Keeps a prefix of the drafts and draws the token after it.

    Args:
        target: log probabilities p after each of: the last known token, each draft.
        proposal: log probabilities q that each draft was drawn from.
        drafts: tokens; those past `num_drafts` are not looked at.
        num_drafts: of each row, at most k.
        keys: of `sampling.base_keys`.
        first: place of the first draft in the completion.
    """
    count = jnp.minimum(_leading(_kept(target, proposal, drafts, keys, first)), num_drafts)
    p = _row(target, count)
    if not drafts.shape[1]:
        return Verdict(count, sampling.draw(_keys(keys, first, sampling.SAMPLE), p))
    q = _row(proposal, jnp.minimum(count, drafts.shape[1] - 1))
    index = first + count
    bonus = sampling.draw(_keys(keys, index, sampling.SAMPLE), p)
    other = sampling.draw(_keys(keys, index, sampling.RESIDUAL), residual(p, q))
    return Verdict(count, jnp.where(count < num_drafts, other, bonus))


def residual(p: Float[Array, "b v"], q: Float[Array, "b v"]) -> Float[Array, "b v"]:
    """Log of max(p - q, 0), not normalised, from log probabilities; p itself where that is 0.

    It is 0 everywhere only where p = q, and then only rounding can have refused a draft.
    """
    left = jnp.maximum(jnp.exp(p) - jnp.exp(q), 0.0)
    return jnp.where(jnp.sum(left, axis=-1, keepdims=True) > 0, jnp.log(left), p)


def _kept(target: Array, proposal: Array, drafts: Array, keys: Array, first: Array) -> Array:
    """Whether each draft would be kept, were it reached: bool [b, k]."""
    num_drafts = drafts.shape[1]
    if not num_drafts:
        return jnp.zeros(drafts.shape, jnp.bool_)
    p = jnp.take_along_axis(target[:, :-1], drafts[..., None], axis=-1)[..., 0]
    q = jnp.take_along_axis(proposal, drafts[..., None], axis=-1)[..., 0]
    uniform = [
        jax.vmap(jax.random.uniform)(_keys(keys, first + k, sampling.ACCEPT))
        for k in range(num_drafts)
    ]
    return jnp.stack(uniform, axis=1) < jnp.exp(p - q)


def _leading(kept: Array) -> Array:
    """How many are true before the first that is not: int32 [b]."""
    return jnp.sum(jnp.cumprod(kept.astype(jnp.int32), axis=1), axis=1, dtype=jnp.int32)


def _keys(keys: Array, indices: Array, purpose: int) -> Array:
    return sampling.token_keys(keys, indices, purpose)


def _row(x: Array, index: Array) -> Array:
    """x [b, k, v] at one k for each row."""
    return jnp.take_along_axis(x, index[:, None, None], axis=1)[:, 0]
