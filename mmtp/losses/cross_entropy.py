"""Cross-entropy of many tokens against a large vocabulary, without ever holding all their logits.

With hidden states x_n, output matrix W and labels y_n,

    z_n = x_n W        nll_n = lse_n - z_n[y_n]        lse_n = log sum_j exp z_nj

the vocabulary is swept in blocks of columns. The forward pass joins blocks by the running maximum
and sum of exponentials (online normaliser, arXiv:1805.02867); the backward pass makes each block's
logits again, since d nll_n / d z_n = softmax(z_n) - onehot(y_n) needs only lse_n. Memory beside
inputs and gradients is one tile `[n, block]` in f32, whatever the vocabulary. Each pass reads W
once, so the caller hands over the tokens of all heads together.

`token_losses` is what one device computes. Under a mesh `head_losses` splits tokens and vocabulary
explicitly: left to the compiler, the slice of a block out of a W that is split by columns becomes
a gather of the whole W in every iteration.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32, Int, Int32

from mmtp.losses import vocab_blocks

BATCH_AXES = ("dcn", "data", "fsdp")


class TokenLosses(NamedTuple):
    """Per token; weights and masks are applied by whoever sums.

    Attributes:
        nll: negative log-likelihood of the label, in nats.
        correct: the label has the largest logit (the first of equals).
        predicted: the token with the largest logit.
        penalty: z_loss * lse^2 (PaLM, arXiv:2204.02311, section 5); 0 where z_loss is.
    """

    nll: Float32[Array, "*n"]
    correct: Bool[Array, "*n"]
    predicted: Int32[Array, "*n"]
    penalty: Float32[Array, "*n"]


class _Seen(NamedTuple):
    """What is known of each token after some blocks, `[n]` each."""

    maximum: Array
    exp_sum: Array
    label_logit: Array
    predicted: Array


def token_losses(
    hidden: Float[Array, "n d"],
    matrix: Float[Array, "d v"],
    labels: Int[Array, " n"],
    *,
    block: int,
    z_loss: float = 0.0,
    vocab_axis: str | None = None,
    trains_matrix: Bool[Array, " n"] | None = None,
) -> TokenLosses:
    """Losses of tokens, swept over the vocabulary in blocks.

    Args:
        hidden: what the output matrix is applied to. Products take their operands in its type and
            add up in f32; logits, sums and losses are f32.
        matrix: the output matrix; its gradient has its own type.
        labels: tokens to predict. One outside of the vocabulary is moved to its nearest end, so
            that it is finite: give it no weight.
        block: columns per block; any number of at least 1, which need not divide v.
        z_loss: factor of the penalty on lse^2.
        vocab_axis: inside `jax.shard_map` (with `check_vma`), the mesh axis that splits v: each
            device has consecutive columns.
        trains_matrix: tokens whose loss gives the matrix a gradient; None = all. Hidden states get
            theirs in any case.

    Raises:
        ValueError: block below 1, or shapes that do not match.
    """
    vocab_blocks.check(hidden, matrix, labels, block, "[n]")
    labels = vocab_blocks.inside(labels, matrix.shape[1], vocab_axis)
    hidden, matrix = vocab_blocks.vary_alike(hidden, matrix)
    found: Any = _losses(
        min(block, matrix.shape[1]), vocab_axis, hidden, matrix, labels, trains_matrix
    )
    nll, lse, predicted = found
    penalty = z_loss * jnp.square(lse)
    return TokenLosses(nll, predicted == labels, predicted, penalty)


def head_losses(
    hidden: Float[Array, "b h t d"],
    matrix: Float[Array, "d v"],
    labels: Int[Array, "b h t"],
    *,
    block: int,
    z_loss: float = 0.0,
    row_axes: tuple[str, ...] = BATCH_AXES,
    token_axes: tuple[str, ...] = ("context",),
    vocab_axis: str = "tensor",
    num_training: int | None = None,
) -> TokenLosses:
    """`token_losses` of all heads, `[b, h, t]` each, on one device or a mesh.

    While a training step is traced under its mesh, rows are split over `row_axes`, tokens over
    `token_axes` and the vocabulary over `vocab_axis` where its size allows. What the matrix is
    split over besides is gathered once for both passes; its gradient is summed once. Devices that
    hold the same tokens, such as pipeline stages, share them if their axis is in `token_axes`.

    Args:
        hidden: normed hidden states, heads on dim 1.
        matrix, block, z_loss: as in `token_losses`.
        labels: of each head.
        row_axes, token_axes, vocab_axis: mesh axes that split b, t and v.
        num_training: only the first heads' losses train the matrix; None = all do.
    """
    spec = jax.sharding.PartitionSpec
    mesh = jax.sharding.get_abstract_mesh()
    vocab_splits = not mesh.empty and matrix.shape[1] % mesh.shape[vocab_axis] == 0

    def local(hidden, matrix, labels) -> TokenLosses:
        heads = jnp.arange(labels.shape[1])[None, :, None]
        trains = (
            None if num_training is None else jnp.broadcast_to(heads < num_training, labels.shape)
        )
        found = token_losses(
            hidden.reshape(-1, hidden.shape[-1]),
            matrix,
            labels.reshape(-1),
            block=block,
            z_loss=z_loss,
            vocab_axis=vocab_axis if vocab_splits else None,
            trains_matrix=None if trains is None else trains.reshape(-1),
        )
        return TokenLosses(*(x.reshape(labels.shape) for x in found))

    if mesh.empty:
        return local(hidden, matrix, labels)
    tokens = spec(row_axes, None, token_axes)
    columns = spec(None, vocab_axis if vocab_splits else None)
    return jax.shard_map(local, mesh=mesh, in_specs=(tokens, columns, tokens), out_specs=tokens)(
        hidden, matrix, labels
    )


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _losses(block: int, vocab_axis: str | None, hidden, matrix, labels, trains_matrix) -> Any:
    return _forward(block, vocab_axis, hidden, matrix, labels, trains_matrix)[0]


def _forward(block: int, vocab_axis: str | None, hidden, matrix, labels, trains_matrix):
    vocab = matrix.shape[1]
    labels = labels - (vocab * jax.lax.axis_index(vocab_axis) if vocab_axis else 0)

    def look(columns, start) -> _Seen:
        return _look(hidden, columns, labels, start)

    seen = vocab_blocks.sweep(
        matrix, block, look, lambda seen, *columns: _join(seen, look(*columns))
    )
    if vocab_axis:
        seen = _join_devices(seen, vocab, vocab_axis)
    lse = seen.maximum + jnp.log(seen.exp_sum)
    outputs = lse - seen.label_logit, lse, seen.predicted
    return outputs, (hidden, matrix, labels, trains_matrix, lse)


def _is_label(labels, num_columns: int, start) -> Array:
    return (labels - start)[:, None] == jnp.arange(num_columns)[None]


def _look(hidden, columns, labels, start) -> _Seen:
    logits = vocab_blocks.logits_of(hidden, columns)
    maximum = jnp.max(logits, axis=1)
    return _Seen(
        maximum=maximum,
        exp_sum=jnp.sum(jnp.exp(logits - maximum[:, None]), axis=1),
        label_logit=jnp.sum(jnp.where(_is_label(labels, columns.shape[1], start), logits, 0), 1),
        predicted=start + jnp.argmax(logits, axis=1).astype(jnp.int32),
    )


def _join(old: _Seen, new: _Seen) -> _Seen:
    maximum = jnp.maximum(old.maximum, new.maximum)
    old_share, new_share = (x.exp_sum * jnp.exp(x.maximum - maximum) for x in (old, new))
    predicted = jnp.where(new.maximum > old.maximum, new.predicted, old.predicted)
    return _Seen(maximum, old_share + new_share, old.label_logit + new.label_logit, predicted)


def _join_devices(seen: _Seen, vocab: int, axis: str) -> _Seen:
    maximum = jax.lax.pmax(seen.maximum, axis)
    predicted = seen.predicted + vocab * jax.lax.axis_index(axis)
    nowhere = jnp.iinfo(jnp.int32).max
    return _Seen(
        maximum=maximum,
        exp_sum=jax.lax.psum(seen.exp_sum * jnp.exp(seen.maximum - maximum), axis),
        label_logit=jax.lax.psum(seen.label_logit, axis),
        predicted=jax.lax.pmin(jnp.where(seen.maximum == maximum, predicted, nowhere), axis),
    )


def _backward(block: int, vocab_axis: str | None, kept, cotangents):
    hidden, matrix, labels, trains_matrix, lse = kept
    d_nll, d_lse, _ = cotangents
    trainers = None if trains_matrix is None else jnp.where(trains_matrix[:, None], hidden, 0)

    def d_logits(columns, start) -> Array:
        softmax = jnp.exp(vocab_blocks.logits_of(hidden, columns) - lse[:, None])
        d_label = jnp.where(_is_label(labels, columns.shape[1], start), d_nll[:, None], 0)
        return (d_nll + d_lse)[:, None] * softmax - d_label

    return *vocab_blocks.gradients(hidden, matrix, block, d_logits, trainers), None, None


_losses.defvjp(_forward, _backward)
