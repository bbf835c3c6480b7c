"""Estimates of KL(pi || ref) from the token that was sampled, and what they do as a loss.

With d = log pi - log ref at the sampled token (Schulman, "Approximating KL divergence", 2020),

    k1 = d        k2 = d^2 / 2        k3 = e^-d - 1 + d

as values for samples of pi: k1 and k3 are unbiased, k3 has less variance and is never negative.
As a loss what counts is the expected gradient over samples that are held fixed:

    k1   0: it is noise
    k2   that of KL(pi || ref), exactly
    k3   that of KL(ref || pi), the other direction

so `k1_straight` and `k3_straight` have the value of one and the gradient of k2. A factor
pi / pi_behaviour, differentiated too, makes value and gradient of k1 and k3 right for samples of
pi_behaviour (`ratio_weighted`).
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rl.losses.policy import log_ratio


def k1(logprobs: Float[Array, "r t"], reference: Float[Array, "r t"]) -> Float[Array, "r t"]:
    """The log ratio: unbiased, of either sign."""
    return log_ratio(logprobs, reference)


def k2(logprobs: Float[Array, "r t"], reference: Float[Array, "r t"]) -> Float[Array, "r t"]:
    """Half the squared log ratio: biased in value, right in gradient."""
    return 0.5 * jnp.square(log_ratio(logprobs, reference))


def k3(logprobs: Float[Array, "r t"], reference: Float[Array, "r t"]) -> Float[Array, "r t"]:
    """The ratio's Bregman distance from 1: unbiased in value, never negative."""
    d = log_ratio(logprobs, reference)
    return jnp.expm1(-d) + d


def k1_straight(
    logprobs: Float[Array, "r t"], reference: Float[Array, "r t"]
) -> Float[Array, "r t"]:
    """Value of k1, gradient of k2."""
    return _straight(k1(logprobs, reference), k2(logprobs, reference))


def k3_straight(
    logprobs: Float[Array, "r t"], reference: Float[Array, "r t"]
) -> Float[Array, "r t"]:
    """Value of k3, gradient of k2."""
    return _straight(k3(logprobs, reference), k2(logprobs, reference))


ESTIMATORS: Mapping[str, Callable[[Array, Array], Array]] = {
    "k1": k1,
    "k2": k2,
    "k3": k3,
    "k1_straight": k1_straight,
    "k3_straight": k3_straight,
}


def ratio_weighted(
    estimate: Float[Array, "r t"], logprobs: Float[Array, "r t"], behaviour: Float[Array, "r t"]
) -> Float[Array, "r t"]:
    """`estimate` times pi / pi_behaviour, which has a gradient of its own."""
    return jnp.exp(log_ratio(logprobs, behaviour)) * estimate


def _straight(value: Array, gradient: Array) -> Array:
    return jax.lax.stop_gradient(value) + gradient - jax.lax.stop_gradient(gradient)
