"""The policy loss of unpacked samples with NumPy loops, for values and finite differences.

What the loss holds fixed is computed at one place (`fixed`), and what it differentiates at another:
finite differences move the second only.
"""

import numpy as np

from tests.rl.losses.samples import VERSION


def total_and_weight(settings, samples, logprobs, fixed):
    """(total, weight).

    Args:
        settings: of the algorithm.
        samples: as drawn, all trained tokens finite.
        logprobs: per sample, what is differentiated.
        fixed: per sample, the same numbers where the loss stops the gradient.
    """
    trained = [s["mask"] > 0 for s in samples]
    losses = [
        _sample(settings, s, m, x[m], y[m])
        for s, m, x, y in zip(samples, trained, logprobs, fixed, strict=True)
    ]
    if settings.aggregation == "token_mean":
        return sum(x.sum() for x in losses), sum(len(x) for x in losses)
    per_sample = {
        "seq_mean_token_mean": np.mean,
        "seq_mean_token_sum": np.sum,
        "seq_mean_token_sum_norm": lambda x: np.sum(x) / settings.max_tokens,
    }[settings.aggregation]
    return sum(per_sample(x) for x in losses if len(x)), sum(len(x) > 0 for x in losses)


def _sample(settings, sample, trained, new, held):
    """Losses of the trained tokens of one sample."""
    rollout, old, ref, advantages, versions = (
        sample[name][trained]
        for name in ("rollout_logprobs", "old_logprobs", "ref_logprobs", "advantages", "versions")
    )
    age = VERSION - versions
    proximal = {
        "rollout": rollout,
        "old": old,
        "current": held,
        "loglinear": rollout + age / (age + 1) * (held - rollout),
    }[settings.proximal]
    if settings.kl_in == "advantage":
        advantages = advantages - settings.kl_weight * (held - ref)
    for weight, teacher in zip(settings.distill_weights, sample["teacher_logprobs"], strict=False):
        advantages = advantages - weight * (held - teacher[trained])
    losses = np.array(
        [
            _objective(settings, advantages, new, held, proximal, i) * w
            for i, w in enumerate(_weights(settings, proximal - rollout))
        ]
    )
    if settings.kl_in == "loss":
        kl = _kl(settings.kl_estimator, new - ref, held - ref)
        kl = kl * np.exp(new - rollout) if settings.kl_ratio else kl
        losses = losses + settings.kl_weight * kl
    ours, theirs = (sample[n][trained] for n in ("topk_logprobs", "teacher_topk_logprobs"))
    p, q = (np.exp(x) for x in (ours, theirs))
    p, q = (np.append(x, 1 - x.sum(-1, keepdims=True), axis=-1) for x in (p, q))
    losses = losses + settings.topk_distill_weight * np.sum(p * np.log(p / q), axis=-1)
    return losses - settings.entropy_weight * sample["entropy"][trained]


def _objective(settings, advantages, new, held, proximal, i):
    a, low, high = advantages[i], settings.clip_low, settings.clip_high
    if settings.objective == "reinforce":
        return -a * new[i]
    if settings.objective.startswith("cispo"):
        ratio = np.exp(held[i] - proximal[i])
        absolute = settings.objective == "cispo_absolute"
        ratio = min(ratio, high) if absolute else min(max(ratio, 1 - low), 1 + high)
        return -ratio * a * new[i]
    if settings.objective == "gspo":
        ratio = np.exp(np.mean(held - proximal)) * np.exp(new[i] - held[i])
    else:
        ratio = np.exp(new[i] - proximal[i])
    gain = min(ratio * a, min(max(ratio, 1 - low), 1 + high) * a)
    if settings.objective == "ppo" and settings.dual_clip and a < 0:
        gain = max(gain, settings.dual_clip * a)
    return -gain


def _weights(settings, log_rho):
    rho = np.exp(log_rho)
    low, high = settings.correction_low, settings.correction_high
    weights = {
        "none": np.ones_like(rho),
        "full": rho,
        "tis": np.minimum(rho, high),
        "icepop": np.where((low <= rho) & (rho <= high), rho, 0),
        "sequence": np.full_like(rho, min(np.prod(rho), high)),
    }[settings.correction]
    product = np.prod(rho)
    measured = {
        "none": settings.rejection_low,
        "sequence": product,
        "geometric": product ** (1 / len(rho)),
    }[settings.rejection]
    return weights * (settings.rejection_low <= measured <= settings.rejection_high)


def _kl(name, d, held):
    value = {"k1": lambda x: x, "k2": lambda x: x**2 / 2, "k3": lambda x: np.exp(-x) + x - 1}
    if name.endswith("_straight"):
        return value[name[:2]](held) + value["k2"](d) - value["k2"](held)
    return value[name](d)
