"""Divergences as they are defined, over the whole vocabulary: what estimators are compared with."""

import jax.numpy as jnp


def reverse_kl(logprobs, others):
    """KL(pi || other) of normalised log-probabilities [..., v]."""
    return jnp.sum(jnp.exp(logprobs) * (logprobs - others), axis=-1)
