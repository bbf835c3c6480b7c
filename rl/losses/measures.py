"""What a batch tells of the policy: (sum, count) pairs over its trained tokens, no gradient.

ratio/mean, ratio/square             of pi / pi_proximal; mean^2 / square is the effective
                                     share of samples
clip/low, clip/high, clip/dual       tokens whose gradient the objective's clip took away
correction/mean, correction/square   of the weights w · keep
correction/dropped                   tokens with the weight 0
kl/proximal_k1, kl/proximal_k3       estimates of KL(pi_proximal || pi)
kl/ref_k1, kl/ref_k3                 of KL(pi || ref)
kl/teachers                          log pi - log pi_T, mean over the teachers asked
mismatch/abs, mismatch/k3            |log ratio| of trainer and engine, and KL(engine ||
                                     trainer); the trainer's is `old_logprobs` if there
mismatch/abs_same_version            where the version is the trainer's: only rounding is left
entropy/sampled, entropy/exact       -log pi at the sampled token; the entropy, where given
staleness/mean, staleness/square     version before this update less the one that drew
advantage/mean, advantage/abs        as the objective gets it
unknown/…                            tokens left out because this array was not finite there,
                                     of all that were to be trained
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from rl.losses import kl
from rl.losses.aggregate import Layout, masked_sum
from rl.losses.policy import Surrogate, log_ratio

Metrics = dict[str, tuple[Array, Array]]


class Seen(NamedTuple):
    """What the loss had in its hands.

    Attributes:
        logprobs, proximal, advantages, surrogate, weights, layout: of tokens.
        batch: the arrays, 0 where nothing is trained.
        entropy: of tokens, or None.
    """

    logprobs: Float[Array, "r t"]
    proximal: Float[Array, "r t"]
    advantages: Float[Array, "r t"]
    surrogate: Surrogate
    weights: Float[Array, "r t"]
    layout: Layout
    batch: Mapping[str, Array]
    entropy: Float[Array, "r t"] | None


def measure(
    seen: Seen, asked: Bool[Array, "r t"], finite: Mapping[str, Bool[Array, "r t"]]
) -> Metrics:
    """All metrics that the arrays allow.

    Args:
        seen: what the loss is made of.
        asked: tokens that were to be trained.
        finite: by array, where it is.
    """
    log_rho = log_ratio(seen.logprobs, seen.proximal)
    ratio = jnp.exp(log_rho)
    tokens = {
        "ratio/mean": ratio,
        "ratio/square": jnp.square(ratio),
        "clip/low": seen.surrogate.low,
        "clip/high": seen.surrogate.high,
        "clip/dual": seen.surrogate.dual,
        "correction/mean": seen.weights,
        "correction/square": jnp.square(seen.weights),
        "correction/dropped": (seen.weights == 0).astype(ratio.dtype),
        "kl/proximal_k1": -log_rho,
        "kl/proximal_k3": kl.k3(seen.proximal, seen.logprobs),
        "entropy/sampled": -seen.logprobs,
        "advantage/mean": seen.advantages,
        "advantage/abs": jnp.abs(seen.advantages),
    }
    if seen.entropy is not None:
        tokens["entropy/exact"] = seen.entropy
    if "ref_logprobs" in seen.batch:
        tokens["kl/ref_k1"] = kl.k1(seen.logprobs, seen.batch["ref_logprobs"])
        tokens["kl/ref_k3"] = kl.k3(seen.logprobs, seen.batch["ref_logprobs"])
    whole = jnp.sum(seen.layout.mask)
    metrics = {name: (masked_sum(x, seen.layout), whole) for name, x in tokens.items()}
    metrics |= _teachers(seen) | _mismatch(seen)
    to_train = jnp.sum(asked, dtype=jnp.float32)
    for name, known in finite.items():
        left_out = jnp.sum(asked & ~known, dtype=jnp.float32)
        metrics[f"unknown/{name.removesuffix('_logprobs')}"] = left_out, to_train
    return metrics


def by_source(
    name: str,
    values: Float[Array, "r t"],
    mask: Float[Array, "r t"],
    source: Float[Array, "r t"],
    names: Sequence[str],
) -> Metrics:
    """Means over the trained tokens of each source: rl/source/SOURCE/NAME.

    Args:
        name: of the values.
        values: of tokens; no gradient goes back.
        mask: 1 where the token is trained, else 0.
        source: the number of its source, from 1; a float, as further arrays of a batch are.
        names: of the sources.
    """
    values = jnp.where(mask > 0, jax.lax.stop_gradient(values), 0)
    which = jnp.where(mask > 0, source, 0).astype(jnp.int32).ravel()
    sums, counts = (jax.ops.segment_sum(x.ravel(), which, len(names) + 1) for x in (values, mask))
    return {
        f"rl/source/{one}/{name}": (sums[number], counts[number])
        for number, one in enumerate(names, 1)
    }


def _teachers(seen: Seen) -> Metrics:
    if "teacher_logprobs" not in seen.batch:
        return {}
    theirs = seen.batch["teacher_logprobs"]
    asked = jnp.isfinite(theirs) & (seen.layout.mask > 0)[:, None]
    gaps = jnp.where(asked, seen.logprobs[:, None] - theirs, 0)
    return {"kl/teachers": (jnp.sum(gaps), jnp.sum(asked, dtype=gaps.dtype))}


def _mismatch(seen: Seen) -> Metrics:
    engine = seen.batch["rollout_logprobs"]
    trainer = seen.batch.get("old_logprobs", seen.logprobs)
    gap = jnp.abs(log_ratio(trainer, engine))
    whole = jnp.sum(seen.layout.mask)
    metrics = {
        "mismatch/abs": (masked_sum(gap, seen.layout), whole),
        "mismatch/k3": (masked_sum(kl.k3(engine, trainer), seen.layout), whole),
    }
    if not {"versions", "version"} <= seen.batch.keys():
        return metrics
    age = seen.batch["version"] - seen.batch["versions"]
    same = seen.layout._replace(mask=seen.layout.mask * (age == 0))
    age = age.astype(gap.dtype)
    return metrics | {
        "mismatch/abs_same_version": (masked_sum(gap, same), jnp.sum(same.mask)),
        "staleness/mean": (masked_sum(age, seen.layout), whole),
        "staleness/square": (masked_sum(jnp.square(age), seen.layout), whole),
    }
