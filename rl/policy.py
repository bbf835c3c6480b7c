"""The policy as the trainer sees it: how likely it finds given tokens, and all there are.

Shape letters: g groups, n rows of a group, b = g · n rows, t tokens of a row, h heads.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mmtp.losses.cross_entropy import head_losses
from mmtp.losses.likelihood import Likeliest, Likelihood, likeliest, likelihood
from mmtp.models import decoder, mtp
from mmtp.models.attend import Attend, Inputs
from mmtp.models.vlm import VLM
from mmtp.programs import vlm_loss


@dataclass(frozen=True)
class Policy:
    """What parameters do not say.

    Attributes:
        model: the model.
        attend: its decoder's attention over whole rows.
        vocab_block: columns of the output matrix whose logits exist at a time.
        temperature: of sampling; log-probabilities are those of logits / temperature.
    """

    model: VLM
    attend: Attend
    vocab_block: int = 2048
    temperature: float = 1.0


class Passed(NamedTuple):
    """A batch that went through the decoder.

    Attributes:
        rows: the batch's text arrays, groups joined.
        inputs: of the decoder's layers.
        x, hidden: what went into them and what came out.
        normed: what the output matrix sees, over the temperature.
        loads: tokens of every layer's experts, or None.
    """

    rows: dict[str, Any]
    inputs: Inputs
    x: Float[Array, "b t d"]
    hidden: Float[Array, "b t d"]
    normed: Float[Array, "b t d"]
    loads: Array | None


def forward(policy: Policy, params: Any, batch: dict[str, Any]) -> Passed:
    """Pictures and tokens up to the output matrix.

    Args:
        policy: the model.
        params: of it.
        batch: arrays `[g, n, …]` of `mmtp.data.layout.ARRAYS`; `labels` says what follows.
    """
    model = policy.model
    x = vlm_loss.first(model, params, batch)
    rows = vlm_loss.join_groups(batch)
    inputs = vlm_loss.make_inputs(model, rows)
    hidden, _, loads = decoder.run_counting(
        params["decoder"], model.decoder, x, inputs, attend=policy.attend
    )
    normed = decoder.final_norm(params["decoder"], model.decoder, hidden) / policy.temperature
    return Passed(rows, inputs, x, hidden, normed, loads)


def said(
    policy: Policy, params: Any, passed: Passed, ids: Int[Array, "b t k"] | None = None
) -> Likelihood:
    """What the policy says at each token of the one that follows, which may mean nothing.

    Args:
        policy, params: that the batch has passed.
        passed: from `forward`.
        ids: of further tokens.

    Returns:
        log-probabilities `[b, t, 1 + k]`, those of the labels first, and entropies.
    """
    asked = passed.rows["labels"][:, 0, :, None]
    asked = asked if ids is None else jnp.concatenate([asked, ids], axis=2)
    matrix = decoder.output_matrix(params["decoder"], policy.model.decoder)
    return likelihood(passed.normed, matrix, asked, block=policy.vocab_block)


def best(policy: Policy, params: Any, passed: Passed, k: int) -> Likeliest:
    """The k tokens that the policy finds likeliest to follow each; no gradient."""
    matrix = decoder.output_matrix(params["decoder"], policy.model.decoder)
    return likeliest(passed.normed, matrix, k, block=policy.vocab_block)


def drafts(policy: Policy, params: Any, passed: Passed) -> Float[Array, "b h t"]:
    """Loss of every multi-token-prediction head, as in the language model's own training."""
    model = policy.model
    heads = mtp.run(
        params["mtp"],
        params["decoder"],
        model.mtp,
        model.decoder,
        passed.hidden,
        passed.x if model.mtp.visual_input == "visual" else passed.hidden,
        passed.rows,
        passed.inputs,
        model.image_token,
        policy.attend,
    )
    training = mtp.num_training_heads(model.mtp)  # of all heads, the main one included
    found = head_losses(
        jnp.stack(heads, axis=1),
        decoder.output_matrix(params["decoder"], model.decoder),
        passed.rows["labels"][:, 1:],
        block=policy.vocab_block,
        num_training=None if training is None else training - 1,
    )
    return found.nll
