"""The loss of a training step: the policy's, and that of its multi-token-prediction heads."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from cogvit_jax.program import Loss
from mmtp.losses.mtp import mask_paths
from mmtp.programs import vlm_loss
from rl import policy as policies
from rl.losses.aggregate import Layout, aggregate
from rl.losses.loss import policy_loss
from rl.losses.settings import AlgorithmSettings
from rl.policy import Policy


def make_loss(
    policy: Policy, settings: AlgorithmSettings, mtp_weight: float, max_samples: int
) -> Callable[[Any, Any, dict[str, Any], jax.Array], Loss]:
    """(params, frozen, batch, key) -> Loss.

    Args:
        policy: what is trained.
        settings: of the algorithm.
        mtp_weight: lambda of the multi-token-prediction heads' loss on the policy's own words, so
            that its drafts go on being accepted; 0 = they are not trained.
        max_samples: of a batch.
    """

    def loss(params: Any, frozen: Any, batch: dict[str, Any], key: jax.Array) -> Loss:
        statistics = batch["statistics"]
        params = vlm_loss.with_router_bias(params, statistics)
        logprobs, drafts = policies.logprobs(policy, params, batch, with_drafts=mtp_weight > 0)
        rows = vlm_loss.join_groups(batch) | {"version": statistics["step"]}
        if "teacher_logprobs" in rows:
            rows["teacher_logprobs"] = jnp.moveaxis(rows["teacher_logprobs"], -1, 1)
        found = policy_loss(settings, logprobs, rows, max_samples=max_samples)
        total, metrics = found.total, dict(found.metrics)
        if drafts is not None:
            weights = rows["weights"]
            if policy.model.mtp.path_mask:
                weights = mask_paths(weights, rows["path"])
            weights = weights[:, 1:]
            layout = Layout(rows["mask"], rows["sample"], max_samples)
            losses = jnp.sum(drafts * weights, axis=1) / policy.model.mtp.depth
            extra, _ = aggregate(settings.aggregation, losses, layout, settings.max_tokens)
            total = total + mtp_weight * extra
            metrics["mtp/loss"] = (jnp.sum(drafts * weights), jnp.sum(weights))
        return Loss(total, found.weight, metrics)

    return loss
