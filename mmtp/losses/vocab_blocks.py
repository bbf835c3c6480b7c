"""A vocabulary swept in blocks of columns, forward and backward, one tile `[n, block]` at a time.

What is computed of a tile is the caller's: `losses.cross_entropy`, `losses.likelihood`.
"""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Int

Seen = TypeVar("Seen")


def check(hidden: Array, matrix: Array, tokens: Array, block: int, asked: str) -> None:
    """Raises ValueError: block below 1, or shapes other than [n, d], [d, v] and `asked`."""
    if block < 1:
        raise ValueError(f"block is {block}; choose at least 1")
    fits = hidden.ndim == 2 and hidden.shape[1:] == matrix.shape[:1]
    if not fits or tokens.ndim != asked.count(",") + 1 or tokens.shape[0] != hidden.shape[0]:
        raise ValueError(
            f"hidden is {hidden.shape}, matrix {matrix.shape}, tokens {tokens.shape}; expected "
            f"[n, d], [d, v] and {asked}"
        )


def vary_alike(
    hidden: Float[Array, "n d"], matrix: Float[Array, "d v"]
) -> tuple[Float[Array, "n d"], Float[Array, "d v"]]:
    """The same, plus a zero that varies over the mesh axes which split the other one.

    Inside `jax.shard_map` the transpose of that sum adds up the gradient over those axes.
    """
    zeros = jnp.zeros_like(matrix[0, 0], hidden.dtype), jnp.zeros_like(hidden[0, 0], matrix.dtype)
    return hidden + zeros[0], matrix + zeros[1]


def inside(tokens: Int[Array, "..."], vocab: int, axis: str | None) -> Int[Array, "..."]:
    """Token numbers, those outside of the vocabulary moved to its nearest end.

    Args:
        tokens: numbers.
        vocab: columns that this device has.
        axis: of the mesh, over which they are split.
    """
    whole = vocab * (jax.lax.axis_size(axis) if axis else 1)
    return jnp.clip(tokens, 0, whole - 1).astype(jnp.int32)


def logits_of(hidden: Float[Array, "n d"], columns: Float[Array, "d c"]) -> Float32[Array, "n c"]:
    """Operands in the type of the hidden states, sums in f32."""
    columns = columns.astype(hidden.dtype)
    return jnp.einsum("nd,dc->nc", hidden, columns, preferred_element_type=jnp.float32)


def sweep(
    matrix: Float[Array, "d v"],
    block: int,
    begin: Callable[[Array, int], Seen],
    go_on: Callable[[Seen, Array, Array], Seen],
) -> Seen:
    """What is known after all blocks.

    Args:
        matrix: the output matrix.
        block: columns at a time, at most v; the first block is short where it does not divide v.
        begin: (columns, number of the first of them) -> what is known of the first block.
        go_on: (what is known, columns, number of the first of them) -> what is known then.
    """
    vocab = matrix.shape[1]
    first = vocab % block or block

    def step(index: Array, seen: Seen) -> Seen:
        start = first + index * block
        return go_on(seen, jax.lax.dynamic_slice_in_dim(matrix, start, block, axis=1), start)

    return jax.lax.fori_loop(0, (vocab - first) // block, step, begin(matrix[:, :first], 0))


def gradients(
    hidden: Float[Array, "n d"],
    matrix: Float[Array, "d v"],
    block: int,
    d_logits: Callable[[Array, Array | int], Float32[Array, "n c"]],
    trainers: Float[Array, "n d"] | None = None,
) -> tuple[Float[Array, "n d"], Float[Array, "d v"]]:
    """Gradients of the hidden states and of the matrix, in their types.

    Args:
        hidden, matrix, block: as in the forward sweep.
        d_logits: (columns, number of the first of them) -> gradient of their logits.
        trainers: hidden states that the matrix learns from, where they are others; None = all.
    """
    seen = hidden if trainers is None else trainers
    matmul = partial(jnp.einsum, preferred_element_type=jnp.float32)

    def of(columns: Array, start: Array | int) -> tuple[Array, Array]:
        d_tile = d_logits(columns, start).astype(hidden.dtype)
        d_hidden = matmul("nc,dc->nd", d_tile, columns.astype(hidden.dtype))
        return d_hidden, matmul("nd,nc->dc", seen, d_tile).astype(matrix.dtype)

    def begin(columns: Array, start: int) -> tuple[Array, Array]:
        d_hidden, d_columns = of(columns, start)
        return d_hidden, jnp.zeros_like(matrix).at[:, : columns.shape[1]].set(d_columns)

    def go_on(found: tuple[Array, Array], columns: Array, start: Array) -> tuple[Array, Array]:
        more, d_columns = of(columns, start)
        d_matrix = jax.lax.dynamic_update_slice_in_dim(found[1], d_columns, start, axis=1)
        return found[0] + more, d_matrix

    d_hidden, d_matrix = sweep(matrix, block, begin, go_on)
    return d_hidden.astype(hidden.dtype), d_matrix
