"""`config.algorithm`: what the policy loss and the advantages are made of."""

from dataclasses import dataclass


@dataclass(frozen=True)
class AlgorithmSettings:
    """`config.algorithm`, every choice by itself; `rl.algorithm.read` fills in a preset's.

    Attributes:
        preset: key of `rl.algorithm.PRESETS`, which has set the other fields.
        advantage: key of `rl.advantages.ADVANTAGES`.
        gamma: discount per token; below 1 only with "reinforce_pp" (`rl.advantages.returns_to_go`).
        dynamic_sampling: groups whose rewards are all equal are not trained on; others are drawn
            in their place.
        overlong_tokens: length of a reply at which the penalty for length is -1.
        overlong_buffer: tokens before that over which it grows from 0; 0 = no penalty.
        objective: key of `rl.losses.policy.OBJECTIVES`.
        clip_low, clip_high: the ratio is clipped to [1 - low, 1 + high]; in "cispo_absolute"
            `clip_high` is the cap itself.
        dual_clip: c of "ppo", above 1: with a negative advantage the loss stops at -c A; None = no.
        proximal: what the ratio is taken to: "rollout", what the engine said when it drew the
            token; "old", recomputed by the trainer before the first update on the batch;
            "loglinear", between both, without recomputing; "current", the policy itself, whose
            ratio is 1: for `updates` = 1.
        correction: key of `rl.losses.correction.CORRECTIONS`, for the ratio proximal / rollout.
        correction_low, correction_high: its bounds.
        rejection: key of `rl.losses.correction.REJECTIONS`, for the same ratio.
        rejection_low, rejection_high: its bounds.
        kl_weight: beta, of the divergence from the reference policy; 0 = it is not needed.
        kl_in: "loss", or "advantage": beta k1 of the token is subtracted from its advantage.
        kl_estimator: key of `rl.losses.kl.ESTIMATORS`, in the loss.
        kl_ratio: in the loss, times pi / pi_rollout with its gradient.
        distill_weights: lambda of each teacher, on its log-probability of the sampled token.
        topk_distill_weight: of the divergence over the teacher's likeliest tokens; 0 = none.
        topk_distill: how many of them; all others count as one.
        entropy_weight: of the entropy, which is made larger.
        updates: steps of the optimizer on every batch, which keep its old log-probabilities (mu of
            arXiv:2402.03300); one version of the policy is published after the last.
        aggregation: key of `rl.losses.aggregate.AGGREGATIONS`.
        max_tokens: T of "seq_mean_token_sum_norm", the longest reply there may be.
    """

    preset: str = "grpo"
    advantage: str = "grpo"
    gamma: float = 1.0
    dynamic_sampling: bool = False
    overlong_tokens: int = 20480
    overlong_buffer: int = 0
    objective: str = "ppo"
    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float | None = None
    proximal: str = "rollout"
    correction: str = "none"
    correction_low: float = 0.5
    correction_high: float = 2.0
    rejection: str = "none"
    rejection_low: float = 0.5
    rejection_high: float = 2.0
    kl_weight: float = 0.0
    kl_in: str = "loss"
    kl_estimator: str = "k3"
    kl_ratio: bool = False
    distill_weights: tuple[float, ...] = ()
    topk_distill_weight: float = 0.0
    topk_distill: int = 16
    entropy_weight: float = 0.0
    updates: int = 1
    aggregation: str = "token_mean"
    max_tokens: int = 20480
