"""Sampling distributions and counter-based random numbers.

A random number is a function of (seed, request, token index, purpose) and of nothing else, so that
neither the rows of a batch, their order, nor what else is in it changes a sample.

Shape letters: b rows, v vocabulary.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32, Key, UInt32

# Keys of one generator: the default may be changed, and `rbg` gives other numbers under `vmap`.
GENERATOR = "threefry2x32"
# What a random number of a token index is for.
SAMPLE, DRAFT, ACCEPT, RESIDUAL = range(4)
WORD = 2**32


class Options(NamedTuple):
    """How each row is sampled.

    Attributes:
        temperature: divides the logits; 0 = greedy, all mass on the largest logit.
        top_k: only the k most probable tokens; 0 = all.
        top_p: only the fewest tokens, most probable first, that hold this much mass; 1 = all.
    """

    temperature: Float[Array, " b"]
    top_k: Int32[Array, " b"]
    top_p: Float[Array, " b"]


def distribution(logits: Float[Array, "b v"], options: Options) -> Float[Array, "b v"]:
    """Log probabilities to sample from: temperature, then top-k, then top-p; -inf = left out.

    Among equal logits the lower id is the more probable one, as for `argmax`.
    """
    logits = logits.astype(jnp.float32)
    greedy = (options.temperature <= 0)[:, None]
    scaled = logits / jnp.where(greedy, 1.0, options.temperature[:, None])
    narrow = jnp.any((options.top_k > 0) | (options.top_p < 1))
    scaled = jax.lax.cond(narrow, lambda x: _narrow(x, options), lambda x: x, scaled)
    greedily = point_mass(jnp.argmax(logits, axis=-1), logits.shape[-1])
    return jnp.where(greedy, greedily, jax.nn.log_softmax(scaled, axis=-1))


def point_mass(tokens: Int32[Array, "*b"], size: int) -> Float[Array, "*b v"]:
    """Log probabilities with all mass on one token."""
    return jnp.where(jax.nn.one_hot(tokens, size, dtype=jnp.bool_), 0.0, -jnp.inf)


def _narrow(scaled: Float[Array, "b v"], options: Options) -> Float[Array, "b v"]:
    order = jnp.argsort(-scaled, axis=-1, stable=True)
    ordered = jnp.take_along_axis(scaled, order, axis=-1)
    rank = jnp.arange(scaled.shape[-1])[None]
    top_k = jnp.where(options.top_k > 0, options.top_k, scaled.shape[-1])[:, None]
    ordered = jnp.where(rank < top_k, ordered, -jnp.inf)
    probs = jax.nn.softmax(ordered, axis=-1)
    before = jnp.cumsum(probs, axis=-1) - probs
    top_p = options.top_p[:, None]
    # Rounding must not drop tokens where nothing is asked for, nor ever the first.
    keep = (before < top_p) | (top_p >= 1) | (rank == 0)
    rows = jnp.arange(scaled.shape[0])[:, None]
    return jnp.full_like(scaled, -jnp.inf).at[rows, order].set(jnp.where(keep, ordered, -jnp.inf))


def base_keys(seeds: UInt32[Array, "b 2"], requests: UInt32[Array, " b"]) -> Key[Array, " b"]:
    """The key of each request; `seeds` as `seed_words` gives them."""

    def one(seed: Array, request: Array) -> Array:
        return jax.random.fold_in(jax.random.wrap_key_data(seed, impl=GENERATOR), request)

    return jax.vmap(one)(seeds, requests)


def seed_words(seed: int) -> UInt32[np.ndarray, "2"]:
    """A seed as two words of 32 bits; of larger and negative ones the lowest 64 bits count."""
    return np.array([seed // WORD % WORD, seed % WORD], np.uint32)


def token_keys(keys: Key[Array, " b"], indices: Int32[Array, " b"], purpose: int) -> Array:
    """Keys of one purpose for the completion's token `indices`, from those of `base_keys`."""
    return jax.vmap(lambda k, i: jax.random.fold_in(jax.random.fold_in(k, i), purpose))(
        keys, indices
    )


def draw(keys: Key[Array, " b"], logprobs: Float[Array, "b v"]) -> Int32[Array, " b"]:
    """One token for each row, by the Gumbel maximum; exact for a point mass."""
    return jax.vmap(jax.random.categorical)(keys, logprobs).astype(jnp.int32)
