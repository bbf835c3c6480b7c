"""How likely a model finds given tokens, and how undecided it is, without ever holding all logits.

With hidden states x_n, output matrix W and z_n = x_n W,

    logprob_n[j] = z_n[j] - lse_n        lse_n = log sum_j exp z_n[j]
    entropy_n    = lse_n - sum_j p_n[j] z_n[j]

swept over blocks of columns as in `losses.cross_entropy`, whose memory and meshes these have too.
The backward pass makes each block's logits again from lse_n and entropy_n:

    d logprob_n[i] / d z_n[j] = (i = j) - p_n[j]
    d entropy_n / d z_n[j]    = -p_n[j] (log p_n[j] + entropy_n)

Tokens of several ids (a teacher's likeliest) are read in the same sweep; their number adds passes
over a tile, so it should stay below some dozens.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Int, Int32

from mmtp.losses import vocab_blocks
from mmtp.losses.cross_entropy import BATCH_AXES


class Likelihood(NamedTuple):
    """Of each place, in nats.

    Attributes:
        logprobs: of the ids that were given.
        entropy: of the whole distribution.
    """

    logprobs: Float32[Array, "*n k"]
    entropy: Float32[Array, "*n"]


class Likeliest(NamedTuple):
    """The likeliest tokens of each place, the first of equals first.

    Attributes:
        logprobs: of them, falling.
        ids: their numbers.
    """

    logprobs: Float32[Array, "*n k"]
    ids: Int32[Array, "*n k"]


class _Seen(NamedTuple):
    """What is known after some blocks; sums are of e^(z - maximum), and of that times its exponent.

    `[n]` each, and `[n, k]` the logits of the given ids.
    """

    maximum: Array
    exp_sum: Array
    weighted: Array
    given: Array


def token_likelihood(
    hidden: Float[Array, "n d"],
    matrix: Float[Array, "d v"],
    ids: Int[Array, "n k"],
    *,
    block: int,
    vocab_axis: str | None = None,
) -> Likelihood:
    """Of tokens on one device, or inside `jax.shard_map` with `check_vma`.

    Args:
        hidden: what the output matrix is applied to; products take their operands in its type.
        matrix: the output matrix.
        ids: to tell about. One outside of the vocabulary is moved to its nearest end.
        block: columns of the matrix whose logits exist at a time.
        vocab_axis: the mesh axis that splits v, each device having consecutive columns.

    Raises:
        ValueError: block below 1, or shapes that do not match.
    """
    vocab_blocks.check(hidden, matrix, ids, block, "[n, k]")
    ids = vocab_blocks.inside(ids, matrix.shape[1], vocab_axis)
    hidden, matrix = vocab_blocks.vary_alike(hidden, matrix)
    found: Any = _likelihood(min(block, matrix.shape[1]), vocab_axis, hidden, matrix, ids)
    return Likelihood(*found)


def likelihood(
    hidden: Float[Array, "b t d"],
    matrix: Float[Array, "d v"],
    ids: Int[Array, "b t k"],
    *,
    block: int,
) -> Likelihood:
    """`token_likelihood` of rows, on one device or on the mesh under which this is traced.

    Rows are split over the batch axes, tokens over `context`, the vocabulary over `tensor` where
    its size allows.
    """

    def local(axis: str | None, hidden, matrix, ids) -> Likelihood:
        flat = hidden.reshape(-1, hidden.shape[-1]), matrix, ids.reshape(-1, ids.shape[-1])
        found = token_likelihood(*flat, block=block, vocab_axis=axis)
        return Likelihood(found.logprobs.reshape(ids.shape), found.entropy.reshape(ids.shape[:2]))

    return _split(local, hidden, matrix, ids)


def likeliest(
    hidden: Float[Array, "b t d"], matrix: Float[Array, "d v"], k: int, *, block: int
) -> Likeliest:
    """The k likeliest tokens of every place, without a gradient; split as `likelihood` is."""

    def local(axis: str | None, hidden, matrix) -> Likeliest:
        found = _sweep_top(hidden.reshape(-1, hidden.shape[-1]), matrix, k, block, axis)
        return Likeliest(*(x.reshape(*hidden.shape[:2], k) for x in found))

    # What devices gather of each other is the same on all of them, which is not checked.
    return _split(local, *jax.lax.stop_gradient((hidden, matrix)), check=False)


def _split(local: Callable[..., Any], hidden, matrix, *arrays, check: bool = True) -> Any:
    """`local(vocabulary's axis or None, hidden, matrix, *arrays)` on each device's share."""
    spec = jax.sharding.PartitionSpec
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return local(None, hidden, matrix, *arrays)
    axis = "tensor" if matrix.shape[1] % mesh.shape["tensor"] == 0 else None
    tokens = spec(BATCH_AXES, "context")
    return jax.shard_map(
        partial(local, axis),
        mesh=mesh,
        in_specs=(tokens, spec(None, axis), *(tokens for _ in arrays)),
        out_specs=tokens,
        check_vma=check,
    )(hidden, matrix, *arrays)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _likelihood(block: int, vocab_axis: str | None, hidden, matrix, ids) -> Any:
    return _forward(block, vocab_axis, hidden, matrix, ids)[0]


def _forward(block: int, vocab_axis: str | None, hidden, matrix, ids):
    ids = ids - (matrix.shape[1] * jax.lax.axis_index(vocab_axis) if vocab_axis else 0)

    def look(columns, start) -> _Seen:
        return _look(hidden, columns, ids, start)

    seen = vocab_blocks.sweep(
        matrix, block, look, lambda seen, *columns: _join(seen, look(*columns))
    )
    if vocab_axis:
        seen = _join_devices(seen, vocab_axis)
    log_sum = jnp.log(seen.exp_sum)
    lse, entropy = seen.maximum + log_sum, log_sum - seen.weighted / seen.exp_sum
    return (seen.given - lse[:, None], entropy), (hidden, matrix, ids, lse, entropy)


def _is_id(ids, num_columns: int, start) -> list[Array]:
    """Where each of the k ids is, `[n, c]` each."""
    columns = jnp.arange(num_columns)[None]
    return [(ids[:, i] - start)[:, None] == columns for i in range(ids.shape[1])]


def _look(hidden, columns, ids, start) -> _Seen:
    logits = vocab_blocks.logits_of(hidden, columns)
    maximum = jnp.max(logits, axis=1)
    below = logits - maximum[:, None]
    exps = jnp.exp(below)
    given = [jnp.sum(jnp.where(here, logits, 0), 1) for here in _is_id(ids, logits.shape[1], start)]
    return _Seen(maximum, jnp.sum(exps, 1), jnp.sum(exps * below, 1), jnp.stack(given, 1))


def _moved(seen: _Seen, maximum: Array) -> tuple[Array, Array]:
    """Both sums relative to another maximum."""
    gap = seen.maximum - maximum
    scale = jnp.exp(gap)
    return seen.exp_sum * scale, (seen.weighted + seen.exp_sum * gap) * scale


def _join(old: _Seen, new: _Seen) -> _Seen:
    maximum = jnp.maximum(old.maximum, new.maximum)
    (exp_sum, weighted), (more, more_weighted) = _moved(old, maximum), _moved(new, maximum)
    return _Seen(maximum, exp_sum + more, weighted + more_weighted, old.given + new.given)


def _join_devices(seen: _Seen, axis: str) -> _Seen:
    maximum = jax.lax.pmax(seen.maximum, axis)
    exp_sum, weighted = _moved(seen, maximum)
    return _Seen(maximum, *jax.lax.psum((exp_sum, weighted, seen.given), axis))


def _backward(block: int, vocab_axis: str | None, kept, cotangents):
    hidden, matrix, ids, lse, entropy = kept
    d_given, d_entropy = cotangents
    d_lse = jnp.sum(d_given, axis=1)

    def d_logits(columns, start) -> Array:
        logprobs = vocab_blocks.logits_of(hidden, columns) - lse[:, None]
        slope = d_lse[:, None] + d_entropy[:, None] * (logprobs + entropy[:, None])
        found = -jnp.exp(logprobs) * slope
        for i, here in enumerate(_is_id(ids, columns.shape[1], start)):
            found += jnp.where(here, d_given[:, i, None], 0)
        return found

    return *vocab_blocks.gradients(hidden, matrix, block, d_logits), None


_likelihood.defvjp(_forward, _backward)


def _sweep_top(hidden, matrix, k: int, block: int, vocab_axis: str | None) -> tuple[Array, Array]:
    """(log-probabilities, ids) of the k likeliest, `[n, k]` each."""
    vocab, num = matrix.shape[1], hidden.shape[0]

    def join(seen, columns, start):
        maximum, exp_sum, best, ids = seen
        logits = vocab_blocks.logits_of(hidden, columns)
        largest = jnp.maximum(maximum, jnp.max(logits, axis=1))
        exp_sum = exp_sum * jnp.exp(maximum - largest)
        exp_sum += jnp.sum(jnp.exp(logits - largest[:, None]), axis=1)
        best, places = jax.lax.top_k(jnp.concatenate([best, logits], axis=1), k)
        earlier = jnp.take_along_axis(ids, jnp.minimum(places, k - 1), axis=1)
        return largest, exp_sum, best, jnp.where(places < k, earlier, start + places - k)

    nothing = jnp.full((num,), -jnp.inf), jnp.zeros((num,))
    none = jnp.full((num, k), -jnp.inf), jnp.zeros((num, k), jnp.int32)
    maximum, exp_sum, best, ids = vocab_blocks.sweep(
        matrix, min(block, vocab), partial(join, (*nothing, *none)), join
    )
    if vocab_axis:
        largest = jax.lax.pmax(maximum, vocab_axis)
        exp_sum = jax.lax.psum(exp_sum * jnp.exp(maximum - largest), vocab_axis)
        maximum = largest
        ids += vocab * jax.lax.axis_index(vocab_axis)
        gather = partial(jax.lax.all_gather, axis_name=vocab_axis, axis=1, tiled=True)
        best, places = jax.lax.top_k(gather(best), k)
        ids = jnp.take_along_axis(gather(ids), places, axis=1)
    return best - (maximum + jnp.log(exp_sum))[:, None], ids
