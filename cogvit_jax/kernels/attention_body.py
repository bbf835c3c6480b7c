"""The two bodies of the attention kernel: what happens in VMEM, and their `pallas_call`s.

A grid step is one row of the batch. Its heads go through in groups of tiles of 128 features; the
arithmetic of a group is straight-line code, in which the logits of one block of queries are started
before the softmax of the one before, so that matrix and vector units overlap.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Float

from cogvit_jax.kernels import attention_tile as tile
from cogvit_jax.kernels.attention_tile import LANES, Spec

MASKED = -1e30


@dataclasses.dataclass(frozen=True)
class _Head:
    """What the backward of one head needs: `[k, t]` where not said otherwise.

    Attributes:
        query, key, dout: as named.
        key_rows, value_rows: `[t, k]`.
    """

    query: Array
    key: Array
    dout: Array
    key_rows: Array
    value_rows: Array


def forward(
    spec: Spec,
    qkv: Float[Array, "b t triple"],
    gains: Float[Array, "2 k lanes"],
    small: tuple[Array, ...],
) -> tuple[Float[Array, "b t d"], Float[Array, "b h 2 t"]]:
    """Attention output; and of each head and query the largest logit (in units of log 2) and the
    inverse of the sum of exponentials. Their sum of logs would lose what large logits need.

    Args:
        spec: options.
        qkv: queries, keys and values side by side.
        gains: of queries, times the scale of the logits, and of keys; repeated over lanes.
        small: segment ids `[b, 1, t]` and cos, sin `[b, 2, k/2, t]`, where `spec` says so.
    """
    rows, tokens, width = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    heads = width // spec.head_dim
    out_shape = [
        jax.ShapeDtypeStruct((rows, tokens, width), qkv.dtype),
        jax.ShapeDtypeStruct((rows, heads, 2, tokens), jnp.float32),
    ]
    return _call(spec, _forward_row, "attention_forward", (gains, *small, qkv), out_shape)


def backward(
    spec: Spec,
    qkv: Float[Array, "b t triple"],
    gains: Float[Array, "2 k lanes"],
    small: tuple[Array, ...],
    stats: Float[Array, "b h 2 t"],
    dout: Float[Array, "b t d"],
) -> tuple[Float[Array, "b t triple"], Float[Array, "b 2 k lanes"]]:
    """Gradients of qkv, and of the gains for each row and lane (to be summed)."""
    out_shape = [
        jax.ShapeDtypeStruct(qkv.shape, qkv.dtype),
        jax.ShapeDtypeStruct((qkv.shape[0], *gains.shape), jnp.float32),
    ]
    operands = (gains, *small, qkv, dout, stats)
    return _call(spec, _backward_row, "attention_backward", operands, out_shape)


def _call(
    spec: Spec,
    body: Callable[..., None],
    name: str,
    operands: Sequence[Array],
    out_shape: Sequence[jax.ShapeDtypeStruct],
) -> Any:
    """One grid step per row: every array but the gains (the first) is split by its first dim."""
    qkv = operands[1 + spec.has_segments + spec.has_rope]
    rows, tokens = qkv.shape[:2]
    heads = qkv.shape[2] // 3 // spec.head_dim
    products = 2 if body is _forward_row else 5
    cost = pl.CostEstimate(
        flops=2 * products * rows * heads * tokens**2 * spec.head_dim,
        bytes_accessed=sum(x.size * x.dtype.itemsize for x in (*operands, *out_shape)),
        transcendentals=rows * heads * tokens**2,
    )
    whole = pl.BlockSpec(operands[0].shape, lambda row: (0, 0, 0))
    row_blocks = [_row_block(x) for x in operands[1:]]
    return pl.pallas_call(
        functools.partial(body, spec),
        name=name,
        grid=(rows,),
        in_specs=[whole, *row_blocks],
        out_specs=[_row_block(x) for x in out_shape],
        out_shape=list(out_shape),
        cost_estimate=cost,
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel",), vmem_limit_bytes=vmem_bytes(tokens)
        ),
        interpret=spec.interpret,
    )(*operands)


def vmem_bytes(tokens: int) -> int:
    """VMEM that a kernel may use; a core of v5e, v5p or v6e has 128 MiB."""
    return (64 if tokens <= 1024 else 100) * 2**20


def _row_block(x: Any) -> pl.BlockSpec:
    zeros = (0,) * (len(x.shape) - 1)
    return pl.BlockSpec((1, *x.shape[1:]), lambda row: (row, *zeros))


def _forward_row(spec: Spec, *refs: Any) -> None:
    gains, same, angles, (qkv, out, stats) = _unpack(spec, refs)
    tokens, width = out.shape[1:]

    def group(first: Any, num_tiles: int) -> None:
        queries, key_rows, values = [], [], []
        for index in range(num_tiles):
            query, key, value = (tile.load(qkv, first + index, i * width) for i in range(3))
            queries += list(tile.prepare(spec, query, gains[0], angles).final)
            key_rows += [k.T for k in tile.prepare(spec, key, gains[1], angles).final]
            values += list(tile.by_head(spec, value.T))
        mixed: list[list[Array]] = [[] for _ in queries]

        def start(head: int, block: slice) -> Array:
            return tile.dot(key_rows[head], queries[head][:, block], 1, 0)  # keys × queries

        def finish(head: int, block: slice, logits: Array) -> None:
            if same is not None:
                logits = jnp.where(same(block), logits, MASKED)
            largest = jnp.max(logits, axis=0, keepdims=True)
            weights = jnp.exp2(logits - largest)
            total = jnp.sum(weights, axis=0, keepdims=True)
            stats[0, first * (LANES // spec.head_dim) + head, :, block] = jnp.concatenate(
                [largest, 1 / total]
            )
            summed = tile.dot(values[head], weights.astype(qkv.dtype), 1, 0)
            mixed[head].append(summed * (1 / total))

        tile.overlap(len(queries), tokens, start, finish)
        tile.store(out, first, 0, [jnp.concatenate(parts, axis=1) for parts in mixed])

    tile.for_groups(width, tokens, group)


def _backward_row(spec: Spec, *refs: Any) -> None:
    gains, same, angles, (qkv, dout, stats, dqkv, dgains) = _unpack(spec, refs)
    tokens, width = dout.shape[1:]
    dgains[...] = jnp.zeros(dgains.shape, jnp.float32)

    def group(first: Any, num_tiles: int) -> None:
        sides, heads = [], []
        for index in range(num_tiles):
            query, key, value = (tile.load(qkv, first + index, i * width) for i in range(3))
            pair = (
                tile.prepare(spec, query, gains[0], angles),
                tile.prepare(spec, key, gains[1], angles),
            )
            sides.append(pair)
            heads += _heads(spec, *pair, value, tile.load(dout, first + index))
        dquery, dkey, dvalue = ([[] for _ in heads] for _ in range(3))

        def start(i: int, block: slice) -> tuple[Array, Array]:
            head = heads[i]
            logits = tile.dot(head.key_rows, head.query[:, block], 1, 0)
            return logits, tile.dot(head.value_rows, head.dout[:, block], 1, 0)

        def finish(i: int, block: slice, started: tuple[Array, Array]) -> None:
            head, (logits, dweights) = heads[i], started
            known = stats[0, first * (LANES // spec.head_dim) + i, :, block]
            weights = jnp.exp2(logits - known[:1]) * known[1:]
            if same is not None:
                weights = jnp.where(same(block), weights, 0.0)
            # Not from output and its gradient: the output's rounding would not cancel.
            mean = jnp.sum(weights * dweights, axis=0, keepdims=True)
            dlogits = (weights * (dweights - mean)).astype(qkv.dtype)
            dquery[i].append(tile.dot(head.key, dlogits, 1, 0))
            dkey[i].append(tile.dot(head.query[:, block], dlogits, 1, 1))
            dvalue[i].append(tile.dot(head.dout[:, block], weights.astype(qkv.dtype), 1, 1))

        tile.overlap(len(heads), tokens, start, finish)
        grads = (
            [jnp.concatenate(parts, axis=1) for parts in dquery],
            [sum(parts[1:], parts[0]) for parts in dkey],
        )
        for i, grad in enumerate(grads):
            dx, dgain = tile.through_norm(spec, grad, [p[i] for p in sides], gains[i], angles)
            tile.store(dqkv, first, i * width, dx)
            dgains[0, i] += dgain
        tile.store(dqkv, first, 2 * width, [sum(parts[1:], parts[0]) for parts in dvalue])

    tile.for_groups(width, tokens, group)


def _heads(spec: Spec, query: tile.Side, key: tile.Side, value: Array, dout: Array) -> list[_Head]:
    douts = tile.by_head(spec, dout.T)
    size = spec.head_dim
    return [
        _Head(
            query=query.final[h],
            key=key.final[h],
            dout=douts[h],
            key_rows=key.final[h].T,
            value_rows=value[:, h * size : (h + 1) * size],
        )
        for h in range(LANES // size)
    ]


def _unpack(spec: Spec, refs: Sequence[Any]) -> tuple[Any, Any, Any, Sequence[Any]]:
    """gains, the mask of a block of queries, (cos, sin), and the refs that are left."""
    gains, refs = refs[0], refs[1:]
    same = angles = None
    if spec.has_segments:
        same = _mask(refs[0][0])
        refs = refs[1:]
    if spec.has_rope:
        angles = (refs[0][0, 0], refs[0][0, 1])
        refs = refs[1:]
    return gains, same, angles, refs


def _mask(ids: Array) -> Callable[[slice], Array]:
    """From segment ids `[1, t]`: block of queries -> mask `[keys, queries]`."""
    columns = jnp.broadcast_to(ids, (LANES, ids.shape[1])).T

    def same(block: slice) -> Array:
        queries = ids[:, block]
        return tile.over_lanes(columns, queries.shape[1]) == queries

    return same
