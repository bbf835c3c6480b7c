"""The loss of a training step: the policy's, and that of its multi-token-prediction heads."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from cogvit_jax.program import Loss
from mmtp.losses.mtp import mask_paths, scheduled_weight
from mmtp.programs.vlm_statistics import with_router_bias
from rl import policy as policies
from rl.losses.aggregate import Layout, aggregate
from rl.losses.loss import policy_loss
from rl.losses.measures import Metrics, by_source
from rl.losses.settings import AlgorithmSettings
from rl.policy import Passed, Policy


def make_loss(
    policy: Policy, settings: AlgorithmSettings, max_samples: int, sources: Sequence[str] = ()
) -> Callable[[Any, Any, dict[str, Any], jax.Array], Loss]:
    """(params, frozen, batch, key) -> Loss.

    Args:
        policy: what is trained. Its multi-token-prediction heads learn the policy's own words, with
            the weight of `config.mmtp`, so that drafts go on being accepted; 0 = they do not.
        settings: of the algorithm.
        max_samples: of a batch.
        sources: names of those that the batch's array `source` numbers from 1.
    """
    drafting = policy.model.mtp
    drafts_learn = drafting.depth > 0 and max(drafting.weight_start, drafting.weight_end) > 0

    def loss(params: Any, frozen: Any, batch: dict[str, Any], key: jax.Array) -> Loss:
        statistics = batch["statistics"]
        params = with_router_bias(params, statistics)
        passed = policies.forward(policy, params, batch)
        rows = passed.rows
        said = policies.said(policy, params, passed, rows.get("teacher_topk_ids"))
        if "teacher_logprobs" in rows:
            rows["teacher_logprobs"] = jnp.moveaxis(rows["teacher_logprobs"], -1, 1)
        found = policy_loss(
            settings,
            said.logprobs[..., 0],
            rows,
            max_samples=max_samples,
            entropy=said.entropy,
            topk_logprobs=said.logprobs[..., 1:] if said.logprobs.shape[-1] > 1 else None,
        )
        total, metrics = found.total, dict(found.metrics)
        if sources:
            metrics |= by_source("entropy", said.entropy, rows["mask"], rows["source"], sources)
        if drafts_learn:
            extra, told = drafts_loss(policy, settings, params, passed, max_samples)
            weights = drafting.weight_start, drafting.weight_end, drafting.weight_steps
            total += scheduled_weight(statistics["step"], *weights) * extra
            metrics |= told
        sums = {} if passed.loads is None else {"loads": passed.loads}
        return Loss(total, found.weight, metrics, sums)

    return loss


def drafts_loss(
    policy: Policy, settings: AlgorithmSettings, params: Any, passed: Passed, max_samples: int
) -> tuple[jax.Array, Metrics]:
    """The multi-token-prediction heads' mean over depths, aggregated as the policy's loss is."""
    rows, drafting = passed.rows, policy.model.mtp
    weights = mask_paths(rows["weights"], rows["path"]) if drafting.path_mask else rows["weights"]
    weights, losses = weights[:, 1:], policies.drafts(policy, params, passed)
    weighted = losses * weights
    layout = Layout(rows["mask"], rows["sample"], max_samples)
    mean = jnp.sum(weighted, axis=1) / drafting.depth
    total, _ = aggregate(settings.aggregation, mean, layout, settings.max_tokens)
    return total, {"mtp/loss": (jnp.sum(weighted), jnp.sum(weights))}
