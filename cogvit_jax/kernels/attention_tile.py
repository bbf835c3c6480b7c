"""Arithmetic on a tile: 128 features of all tokens of a row, transposed to `[features, tokens]`."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jaxtyping import Array

LANES = 128
# Queries per block: two blocks of logits are alive at once.
MAX_BLOCK = 512
# Tokens x tiles that are worked on together: more overlap, more code.
TOKENS_AT_ONCE = 1024
LN2 = math.log(2)


@dataclasses.dataclass(frozen=True)
class Spec:
    """What is compiled into a kernel.

    Attributes:
        head_dim: features per head, a divisor of 128 and a multiple of 32.
        eps: of the QK-norm; None: no norm.
        has_segments: tokens attend to those of equal segment id only.
        has_rope: queries and keys are turned by per-token angles.
        interpret: run in Pallas' interpreter.
    """

    head_dim: int
    eps: float | None
    has_segments: bool
    has_rope: bool
    interpret: bool


@dataclasses.dataclass(frozen=True)
class Side:
    """Queries or keys of one tile, features along sublanes.

    Attributes:
        normed: `[h, k, t]` f32, after the norm, before gain and rotation.
        scale: `[h, 1, t]`, what the norm multiplied by; None without norm.
        final: `[h, k, t]`, what enters the logits, in the dtype of the inputs.
    """

    normed: Array
    scale: Array | None
    final: Array


def prepare(spec: Spec, x: Array, gain: Array, angles: Any) -> Side:
    """Transposes a tile `[t, lanes]` of queries or keys, then norm, gain and rotation."""
    x = by_head(spec, x.T)
    dtype, x, scale = x.dtype, x.astype(jnp.float32), None
    if spec.eps is not None:
        scale = jax.lax.rsqrt(jnp.mean(x * x, axis=1, keepdims=True) + spec.eps)
        x = x * scale
    final = x * over_lanes(gain, x.shape[2])[None]
    if angles is not None:
        final = _rotate(final, *angles)
    return Side(x, scale, final.astype(dtype))


def through_norm(
    spec: Spec, grads: list[Array], sides: list[Side], gain: Array, angles: Any
) -> tuple[list[Array], Array]:
    """Gradients of `final` of all heads -> of the raw inputs, and of the gain per lane."""
    dfinal = jnp.stack(grads) * LN2  # logits were in units of log 2
    normed = jnp.concatenate([s.normed for s in sides])
    if angles is not None:
        dfinal = _rotate(dfinal, angles[0], -angles[1])
    tokens = dfinal.shape[2]
    dgain = jnp.sum(dfinal * normed, axis=0)
    dgain = functools.reduce(jnp.add, [dgain[:, i : i + LANES] for i in range(0, tokens, LANES)])
    dx = dfinal * over_lanes(gain, tokens)[None]
    if spec.eps is not None:
        scale = jnp.concatenate([s.scale for s in sides if s.scale is not None])
        dx = scale * (dx - normed * jnp.mean(dx * normed, axis=1, keepdims=True))
    return list(dx), dgain


def _rotate(x: Array, cos: Array, sin: Array) -> Array:
    """Turns pairs (i, i + k/2) of features `[h, k, t]` by angles `[k/2, t]`."""
    first, second = jnp.split(x, 2, axis=1)
    cos, sin = cos[None], sin[None]
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=1)


def by_head(spec: Spec, x: Array) -> Array:
    """`[lanes, t] -> [h, k, t]`."""
    return x.reshape(-1, spec.head_dim, x.shape[1])


def over_lanes(x: Array, size: int) -> Array:
    """Repeats `[n, lanes]` along lanes to `[n, size]`."""
    return jnp.tile(x, (1, size // LANES))


def load(ref: Any, tile: Any, offset: int = 0) -> Array:
    """A tile `[t, lanes]`; `offset` is in features."""
    return ref[0, :, pl.ds(pl.multiple_of(offset + tile * LANES, LANES), LANES)]


def store(ref: Any, first: Any, offset: int, heads: list[Array]) -> None:
    """Writes heads `[k, t]` side by side, from tile `first` on."""
    per_tile = LANES // heads[0].shape[0]
    for i in range(0, len(heads), per_tile):
        tile = jnp.concatenate(heads[i : i + per_tile], axis=0).astype(ref.dtype)
        lanes = pl.ds(pl.multiple_of(offset + (first + i // per_tile) * LANES, LANES), LANES)
        ref[0, :, lanes] = tile.T


def dot(a: Array, b: Array, a_dim: int, b_dim: int) -> Array:
    """Product over one dim of each, accumulated in f32."""
    return jax.lax.dot_general(
        a,
        b,
        (((a_dim,), (b_dim,)), ((), ())),
        precision=jax.lax.Precision.HIGHEST if a.dtype == jnp.float32 else None,
        preferred_element_type=jnp.float32,
    )


def for_groups(width: int, tokens: int, group: Callable[[Any, int], None]) -> None:
    """Calls `group(its first tile, number of tiles)` for all tiles of a row."""
    num_tiles = width // LANES
    size = math.gcd(num_tiles, max(1, TOKENS_AT_ONCE // tokens))
    if size == num_tiles:
        group(0, size)
    else:
        jax.lax.fori_loop(0, num_tiles // size, lambda i, _: group(i * size, size), None)


def overlap(
    num_heads: int,
    tokens: int,
    start: Callable[[int, slice], Any],
    finish: Callable[[int, slice, Any], None],
) -> None:
    """All heads and blocks of queries; the next is started before one is finished."""
    size = max(s for s in range(LANES, MAX_BLOCK + 1, LANES) if tokens % s == 0)
    blocks = [slice(s, s + size) for s in range(0, tokens, size)]
    units = [(head, block) for head in range(num_heads) for block in blocks]
    started = start(*units[0])
    for unit, following in zip(units, [*units[1:], None], strict=True):
        ahead = start(*following) if following else None
        finish(*unit, started)
        started = ahead
