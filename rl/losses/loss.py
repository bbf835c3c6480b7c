"""The policy loss of a batch, put together from `AlgorithmSettings`.

    A'      = A - beta k1 (where kl_in = "advantage") - sum_k lambda_k (log pi - log pi_Tk)
    loss_t  = w_t · objective(pi / pi_proximal, A') + beta kl + mu topk_kl - eta entropy
    total   = sum_t weight_t loss_t      over trained tokens, with its weight (`aggregate`)

Rows hold several samples; arrays are aligned with the position that predicts, so that entry i is
of the token after i. See `policy_loss` for what a batch holds.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rl.losses import correction, distill, kl, policy
from rl.losses.aggregate import Layout, aggregate
from rl.losses.measures import Metrics, Seen, measure
from rl.losses.settings import AlgorithmSettings

Batch = Mapping[str, Array]
# What a token must have, in numbers, to be trained on.
NEEDED = ("rollout_logprobs", "advantages", "old_logprobs", "ref_logprobs")


class PolicyLoss(NamedTuple):
    """Sums, as `cogvit_jax.program.Loss` has them.

    Attributes:
        total: sum of weighted losses.
        weight: what it is to be divided by.
        metrics: name -> (sum, count), see `rl.losses.measures`.
    """

    total: Float[Array, ""]
    weight: Float[Array, ""]
    metrics: Metrics


def policy_loss(
    settings: AlgorithmSettings,
    logprobs: Float[Array, "r t"],
    batch: Batch,
    *,
    max_samples: int,
    entropy: Float[Array, "r t"] | None = None,
    topk_logprobs: Float[Array, "r t k"] | None = None,
) -> PolicyLoss:
    """Loss of packed rows.

    A trained token with a number of the batch that is not finite is left out, and counted in
    `unknown/…`. `logprobs` that are not finite make the total NaN, which the engine's guard sees.

    Args:
        settings: checked by `rl.algorithm.check`.
        logprobs: of the policy that is trained.
        batch: arrays `[r, t]`

            mask                  1 on trained tokens
            sample                0, or the sample's number, 1 … max_samples; unique in the batch
            advantages            of each token
            rollout_logprobs      what the engine said when it drew the token
            versions              of the policy that drew it
            version               of the policy before this update; a scalar or `[r, 1]`
            old_logprobs          by the trainer, before the first update; for proximal = "old"
            ref_logprobs          of the reference policy; for kl_weight > 0
            teacher_logprobs      `[r, k, t]` of each teacher, NaN where not asked; for
                                  distill_weights
            teacher_topk_logprobs `[r, t, k]` at the teacher's k likeliest; for topk_distill_weight

        max_samples: greatest number that `sample` may hold; static.
        entropy: of the policy at each token, with a gradient where entropy_weight is not 0.
        topk_logprobs: of the policy, at the teacher's tokens.

    Raises:
        ValueError: an array that the settings need is not there or has another shape.
    """
    _check_arrays(settings, logprobs, batch, entropy, topk_logprobs)
    finite = {name: jnp.isfinite(batch[name]) for name in NEEDED if name in batch}
    asked = (batch["mask"] > 0) & (batch["sample"] > 0)
    trained = asked
    for known in finite.values():
        trained &= known
    layout = Layout(trained.astype(logprobs.dtype), batch["sample"], max_samples)
    # Zeros where nothing is trained, before anything is computed: a NaN behind a `where` still
    # has a NaN gradient.
    logprobs = jnp.where(trained, logprobs, 0)
    clean = {**batch, **{name: jnp.where(trained, batch[name], 0) for name in finite}}
    if "teacher_logprobs" in batch:
        clean["teacher_logprobs"] = jnp.where(trained[:, None], batch["teacher_logprobs"], 0)

    proximal = PROXIMALS[settings.proximal](logprobs, clean)
    advantages = _shaped(settings, logprobs, clean)
    surrogate = policy.OBJECTIVES[settings.objective](
        logprobs, proximal, advantages, layout, settings
    )
    weights = correction.weights(
        proximal,
        clean["rollout_logprobs"],
        layout,
        (settings.correction, settings.correction_low, settings.correction_high),
        (settings.rejection, settings.rejection_low, settings.rejection_high),
    )
    losses = weights * surrogate.loss + _beside(
        settings, logprobs, clean, trained, entropy, topk_logprobs
    )
    total, weight = aggregate(settings.aggregation, losses, layout, settings.max_tokens)
    seen = Seen(logprobs, proximal, advantages, surrogate, weights, layout, clean, entropy)
    metrics = measure(jax.lax.stop_gradient(seen), asked, finite)
    # A clip has no slope and a bounded value even where a log-probability is infinite.
    return PolicyLoss(total + 0 * jax.lax.stop_gradient(jnp.sum(logprobs)), weight, metrics)


def _rollout(logprobs: Array, batch: Batch) -> Array:
    return batch["rollout_logprobs"]


def _old(logprobs: Array, batch: Batch) -> Array:
    return batch["old_logprobs"]


def _loglinear(logprobs: Array, batch: Batch) -> Array:
    behaviour = batch["rollout_logprobs"]
    return policy.loglinear(logprobs, behaviour, batch["versions"], batch["version"])


def _current(logprobs: Array, batch: Batch) -> Array:
    return jax.lax.stop_gradient(logprobs)


PROXIMALS: Mapping[str, Callable[[Array, Batch], Array]] = {
    "rollout": _rollout,
    "old": _old,
    "loglinear": _loglinear,
    "current": _current,
}


def _shaped(settings: AlgorithmSettings, logprobs: Array, batch: Batch) -> Array:
    """Advantages with what is subtracted from them."""
    advantages = batch["advantages"].astype(logprobs.dtype)
    if settings.kl_weight and settings.kl_in == "advantage":
        penalty = kl.k1(logprobs, batch["ref_logprobs"])
        advantages = advantages - settings.kl_weight * jax.lax.stop_gradient(penalty)
    if settings.distill_weights:
        advantages = advantages - distill.advantage_term(
            logprobs, batch["teacher_logprobs"], settings.distill_weights
        )
    return advantages


def _beside(
    settings: AlgorithmSettings,
    logprobs: Array,
    batch: Batch,
    trained: Array,
    entropy: Array | None,
    topk_logprobs: Array | None,
) -> Array:
    """Terms of the loss that have no advantage."""
    losses = jnp.zeros_like(logprobs)
    if settings.kl_weight and settings.kl_in == "loss":
        term = kl.ESTIMATORS[settings.kl_estimator](logprobs, batch["ref_logprobs"])
        if settings.kl_ratio:
            term = kl.ratio_weighted(term, logprobs, batch["rollout_logprobs"])
        losses += settings.kl_weight * term
    if settings.topk_distill_weight and topk_logprobs is not None:
        ours = jnp.where(trained[..., None], topk_logprobs, 0)
        theirs = jnp.where(trained[..., None], batch["teacher_topk_logprobs"], jnp.nan)
        losses += settings.topk_distill_weight * distill.topk_reverse_kl(ours, theirs)
    if settings.entropy_weight and entropy is not None:
        losses -= settings.entropy_weight * jnp.where(trained, entropy, 0)
    return losses


def _check_arrays(
    settings: AlgorithmSettings,
    logprobs: Array,
    batch: Batch,
    entropy: Array | None,
    topk_logprobs: Array | None,
) -> None:
    needed = {"mask", "sample", "advantages", "rollout_logprobs"}
    needed |= {"old_logprobs"} if settings.proximal == "old" else set()
    needed |= {"versions", "version"} if settings.proximal == "loglinear" else set()
    needed |= {"ref_logprobs"} if settings.kl_weight else set()
    needed |= {"teacher_logprobs"} if settings.distill_weights else set()
    needed |= {"teacher_topk_logprobs"} if settings.topk_distill_weight else set()
    missing = sorted(needed - batch.keys())
    missing += ["entropy (an argument)"] if settings.entropy_weight and entropy is None else []
    if settings.topk_distill_weight and topk_logprobs is None:
        missing.append("topk_logprobs (an argument)")
    if missing:
        raise ValueError(f"these settings need {', '.join(missing)}, which the batch lacks")
    for name in ("mask", "sample", *NEEDED):
        if name in batch and batch[name].shape != logprobs.shape:
            raise ValueError(f"{name} is {batch[name].shape}, logprobs {logprobs.shape}")
    if topk_logprobs is not None and settings.topk_distill_weight:
        theirs = batch["teacher_topk_logprobs"].shape
        if theirs != topk_logprobs.shape:
            raise ValueError(f"teacher_topk_logprobs is {theirs}, ours {topk_logprobs.shape}")
    if settings.distill_weights and batch["teacher_logprobs"].shape[1] != len(
        settings.distill_weights
    ):
        raise ValueError(
            f"teacher_logprobs is {batch['teacher_logprobs'].shape}, [r, k, t], but "
            f"distill_weights has {len(settings.distill_weights)} teachers"
        )
