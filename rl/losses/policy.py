"""Policy objectives, as a loss of each token, and the policy that their ratio is taken to.

With rho = pi / pi_proximal at the token that was sampled, A its advantage and sg a stopped
gradient,

    ppo              max(-rho A, -clip(rho, 1 - low, 1 + high) A), and not above -c A where A < 0
    gspo             the same without c, with s = sg(exp(mean_t log rho)) pi / sg(pi) for rho
    cispo            -sg(clip(rho, 1 - low, 1 + high)) A log pi
    cispo_absolute   -sg(min(rho, high)) A log pi
    reinforce        -A log pi

PPO is arXiv:1707.06347, eq. 7; low < high is DAPO's clip-higher (arXiv:2503.14476), c the dual clip
(arXiv:1912.09729, eq. 5). GSPO is arXiv:2507.18071, eq. 13; its mean is over the trained tokens of
the sample. CISPO (arXiv:2506.13585, eq. 4) is read in two ways: a clip on both sides of 1, or only
a cap, which is then an absolute number such as 5.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from rl.losses.aggregate import Layout, sample_means
from rl.losses.settings import AlgorithmSettings

# e^20 is 5e8: a log ratio beyond it says that something is wrong, and its square fits in f32.
MAX_LOG_RATIO = 20.0


class Surrogate(NamedTuple):
    """Of each token.

    Attributes:
        loss: what is minimised.
        low, high, dual: 1 where the clip, or the dual clip, took the gradient away (in CISPO: where
            it changed the weight).
    """

    loss: Float[Array, "r t"]
    low: Float[Array, "r t"]
    high: Float[Array, "r t"]
    dual: Float[Array, "r t"]


def log_ratio(new: Float[Array, "r t"], old: Float[Array, "r t"]) -> Float[Array, "r t"]:
    """log(new / old) from log-probabilities, kept within ±MAX_LOG_RATIO; NaN stays NaN."""
    return jnp.clip(new - old, -MAX_LOG_RATIO, MAX_LOG_RATIO)


def ppo(
    logprobs: Float[Array, "r t"],
    proximal: Float[Array, "r t"],
    advantages: Float[Array, "r t"],
    layout: Layout,
    settings: AlgorithmSettings,
) -> Surrogate:
    """The clipped surrogate of PPO, which GRPO and DAPO use too."""
    ratio = jnp.exp(log_ratio(logprobs, proximal))
    found = _clipped(ratio, advantages, settings)
    if settings.dual_clip is None:
        return found
    negative = advantages < 0
    ceiling = -settings.dual_clip * advantages
    loss = jnp.where(negative, jnp.minimum(found.loss, ceiling), found.loss)
    return found._replace(loss=loss, dual=_flag(negative & (ratio > settings.dual_clip)))


def gspo(
    logprobs: Float[Array, "r t"],
    proximal: Float[Array, "r t"],
    advantages: Float[Array, "r t"],
    layout: Layout,
    settings: AlgorithmSettings,
) -> Surrogate:
    """GSPO's token form: the value is that of the sample's ratio, the gradient the token's own."""
    of_sample = jax.lax.stop_gradient(sample_means(log_ratio(logprobs, proximal), layout))
    own = logprobs - jax.lax.stop_gradient(logprobs)
    return _clipped(jnp.exp(of_sample + own), advantages, settings)


def cispo(
    logprobs: Float[Array, "r t"],
    proximal: Float[Array, "r t"],
    advantages: Float[Array, "r t"],
    layout: Layout,
    settings: AlgorithmSettings,
) -> Surrogate:
    """Policy gradient weighted by the ratio clipped to [1 - low, 1 + high]: no token is dropped."""
    bounds = 1 - settings.clip_low, 1 + settings.clip_high
    return _weighted(logprobs, proximal, advantages, *bounds)


def cispo_absolute(
    logprobs: Float[Array, "r t"],
    proximal: Float[Array, "r t"],
    advantages: Float[Array, "r t"],
    layout: Layout,
    settings: AlgorithmSettings,
) -> Surrogate:
    """Policy gradient weighted by the ratio, but at most `clip_high`."""
    return _weighted(logprobs, proximal, advantages, 0.0, settings.clip_high)


def reinforce(
    logprobs: Float[Array, "r t"],
    proximal: Float[Array, "r t"],
    advantages: Float[Array, "r t"],
    layout: Layout,
    settings: AlgorithmSettings,
) -> Surrogate:
    """Policy gradient (Williams 1992): right for samples of the current policy only."""
    zeros = jnp.zeros_like(logprobs)
    return Surrogate(-advantages * logprobs, zeros, zeros, zeros)


Objective = Callable[[Array, Array, Array, Layout, AlgorithmSettings], Surrogate]
OBJECTIVES: Mapping[str, Objective] = {
    "ppo": ppo,
    "gspo": gspo,
    "cispo": cispo,
    "cispo_absolute": cispo_absolute,
    "reinforce": reinforce,
}


def loglinear(
    logprobs: Float[Array, "r t"],
    behaviour: Float[Array, "r t"],
    versions: Int[Array, "r t"],
    version: Int[Array, "..."],
) -> Float[Array, "r t"]:
    """log pi_proximal between what drew a token and what is being trained, without a forward pass.

    log pi_b + alpha (log pi - log pi_b) with alpha = (v - v_b) / (v + 1 - v_b), v_b being the
    version that drew the token, v the one before this update and v + 1 the one it makes (AReaL's
    approximation for decoupled PPO). Tokens of version v have alpha 0: their proximal policy is
    what drew them.
    """
    age = jnp.maximum(version - versions, 0).astype(logprobs.dtype)
    alpha = age / (age + 1)
    return behaviour + alpha * (jax.lax.stop_gradient(logprobs) - behaviour)


def _clipped(
    ratio: Float[Array, "r t"], advantages: Float[Array, "r t"], settings: AlgorithmSettings
) -> Surrogate:
    low, high = 1 - settings.clip_low, 1 + settings.clip_high
    loss = jnp.maximum(-advantages * ratio, -advantages * jnp.clip(ratio, low, high))
    return Surrogate(
        loss,
        low=_flag((advantages < 0) & (ratio < low)),
        high=_flag((advantages > 0) & (ratio > high)),
        dual=jnp.zeros_like(ratio),
    )


def _weighted(logprobs, proximal, advantages, low: float, high: float) -> Surrogate:
    ratio = jax.lax.stop_gradient(jnp.exp(log_ratio(logprobs, proximal)))
    loss = -jnp.clip(ratio, low, high) * advantages * logprobs
    return Surrogate(loss, _flag(ratio < low), _flag(ratio > high), jnp.zeros_like(ratio))


def _flag(condition: Array) -> Array:
    return condition.astype(jnp.float32)
