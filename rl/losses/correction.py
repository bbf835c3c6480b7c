"""Weights for tokens that another policy drew than the one that the ratio is taken to.

Rollout engines round differently and run behind: with rho = pi_proximal / pi_behaviour of a token,
always without a gradient, a token's loss is multiplied by w · keep.

    w      none       1
           full       rho                               decoupled PPO (arXiv:2110.00641; AReaL,
                                                        arXiv:2505.24298, eq. 5)
           tis        min(rho, high)                    truncated importance sampling
           icepop     rho if low <= rho <= high else 0  masked importance sampling (IcePop)
           sequence   min(prod_t rho, high)             unbiased but for the cap; grows with length
    keep   none       1
           sequence   low <= prod_t rho <= high         masked by sample
           geometric  low <= (prod_t rho)^(1/n) <= high the same whatever the length n

What is dropped stays in the weight that the loss is divided by, so that a batch of which half is
dropped makes half the step.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rl.losses.aggregate import Layout, sample_means, sample_sums, spread
from rl.losses.policy import MAX_LOG_RATIO, log_ratio

Bounded = Callable[[Array, Layout, float, float], Array]


def none(
    log_rho: Float[Array, "r t"], layout: Layout, low: float, high: float
) -> Float[Array, "r t"]:
    """1 everywhere."""
    return jnp.ones_like(log_rho)


def full(
    log_rho: Float[Array, "r t"], layout: Layout, low: float, high: float
) -> Float[Array, "r t"]:
    """The ratio itself."""
    return jnp.exp(log_rho)


def truncated(
    log_rho: Float[Array, "r t"], layout: Layout, low: float, high: float
) -> Float[Array, "r t"]:
    """The ratio, but at most `high`."""
    return jnp.minimum(jnp.exp(log_rho), high)


def masked(
    log_rho: Float[Array, "r t"], layout: Layout, low: float, high: float
) -> Float[Array, "r t"]:
    """The ratio where it is within the bounds, else 0."""
    rho = jnp.exp(log_rho)
    return jnp.where((rho >= low) & (rho <= high), rho, 0)


def sequence(
    log_rho: Float[Array, "r t"], layout: Layout, low: float, high: float
) -> Float[Array, "r t"]:
    """The sample's ratio, but at most `high`."""
    return jnp.minimum(jnp.exp(_of_sample(log_rho, layout)), high)


def keep_sequence(
    log_rho: Float[Array, "r t"], layout: Layout, low: float, high: float
) -> Float[Array, "r t"]:
    """1 where the sample's ratio is within the bounds."""
    rho = jnp.exp(_of_sample(log_rho, layout))
    return ((rho >= low) & (rho <= high)).astype(log_rho.dtype)


def keep_geometric(
    log_rho: Float[Array, "r t"], layout: Layout, low: float, high: float
) -> Float[Array, "r t"]:
    """1 where the geometric mean of the sample's ratios is within the bounds."""
    rho = jnp.exp(sample_means(log_rho, layout))
    return ((rho >= low) & (rho <= high)).astype(log_rho.dtype)


CORRECTIONS: Mapping[str, Bounded] = {
    "none": none,
    "full": full,
    "tis": truncated,
    "icepop": masked,
    "sequence": sequence,
}
REJECTIONS: Mapping[str, Bounded] = {
    "none": none,
    "sequence": keep_sequence,
    "geometric": keep_geometric,
}


def weights(
    proximal: Float[Array, "r t"],
    behaviour: Float[Array, "r t"],
    layout: Layout,
    correction: tuple[str, float, float],
    rejection: tuple[str, float, float],
) -> Float[Array, "r t"]:
    """w · keep of each token, without a gradient.

    Args:
        proximal, behaviour: log-probabilities.
        layout: whose tokens they are.
        correction: key of CORRECTIONS, low, high.
        rejection: key of REJECTIONS, low, high.
    """
    log_rho = jax.lax.stop_gradient(log_ratio(proximal, behaviour))
    name, *bounds = correction
    found = CORRECTIONS[name](log_rho, layout, *bounds)
    name, *bounds = rejection
    return found * REJECTIONS[name](log_rho, layout, *bounds)


def _of_sample(log_rho: Array, layout: Layout) -> Array:
    total = spread(sample_sums(log_rho, layout), layout)
    return jnp.clip(total, -MAX_LOG_RATIO, MAX_LOG_RATIO)
