"""Rotary position embedding over three axes: time, row and column (M-RoPE).

Pair p of a head's rotary dims turns by `position[axis(p)] * theta ** (-2p / rotary_dim)`
(arXiv:2104.09864; three axes: arXiv:2409.12191, §2.1). The pairs are cut into sections, and section
i reads axis i % 3. Text has equal positions on all axes, for which this is ordinary RoPE.

Which dims form pair p is a convention of the checkpoint: (2p, 2p + 1), "interleaved", in GLM-4.1V
and GLM-OCR; (p, p + rotary_dim / 2), "half-split", in GLM-4.5V. Dims after `rotary_dim` stay as
they are.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

NUM_AXES = 3
Rope = tuple[Float[Array, "b t p"], Float[Array, "b t p"]]


def angles(
    positions: Int[Array, "b t 3"], rotary_dim: int, sections: tuple[int, ...], theta: float
) -> Rope:
    """cos and sin of every pair's angle, f32.

    Args:
        positions: (time, row, column) of each token.
        rotary_dim: dims of a head that turn, even.
        sections: pairs per section; they add up to `rotary_dim / 2`.
        theta: base of the frequencies.
    """
    if 2 * sum(sections) != rotary_dim:
        raise ValueError(f"sections {sections} must add up to half of rotary_dim = {rotary_dim}.")
    # In f64 and then rounded: at position 10,000 an error of one f32 ulp turns a pair by 6e-4.
    exponents = np.arange(0, rotary_dim, 2) / rotary_dim
    freqs = jnp.asarray(1 / theta**exponents, jnp.float32)
    axes = np.repeat(np.arange(len(sections)) % NUM_AXES, sections)
    turned = positions.astype(jnp.float32)[..., axes] * freqs.reshape(1, 1, -1)
    return jnp.cos(turned), jnp.sin(turned)


def rotate(x: Float[Array, "b t h k"], rope: Rope, interleaved: bool) -> Float[Array, "b t h k"]:
    """Turns every head of `x` by its token's angles; computed in f32, returned in x's dtype."""
    cos, sin = (r[:, :, None, :] for r in rope)
    num_pairs = cos.shape[-1]
    turning, rest = jnp.split(x, [2 * num_pairs], axis=-1)
    turning = turning.astype(jnp.float32)
    if interleaved:
        pairs = turning.reshape(*turning.shape[:-1], num_pairs, 2)
        first, second = pairs[..., 0], pairs[..., 1]
    else:
        first, second = jnp.split(turning, 2, axis=-1)
    turned = (first * cos - second * sin, second * cos + first * sin)
    if interleaved:
        joined = jnp.stack(turned, axis=-1).reshape(turning.shape)
    else:
        joined = jnp.concatenate(turned, axis=-1)
    return jnp.concatenate([joined.astype(x.dtype), rest], axis=-1)


def text_positions(rows: int, tokens: int) -> Int[Array, "b t 3"]:
    """Positions 0, 1, 2, … on all axes: rows of plain text."""
    places = jax.lax.broadcasted_iota(jnp.int32, (rows, tokens, NUM_AXES), 1)
    return places
