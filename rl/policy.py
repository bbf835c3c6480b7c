"""The policy as the trainer sees it: log-probabilities of given tokens, and what they cost.

Shape letters: g groups, n rows of a group, b = g · n rows, t tokens of a row, h heads.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mmtp.losses.cross_entropy import head_losses
from mmtp.models import decoder, mtp, vlm
from mmtp.models.attend import Attend
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


def logprobs(
    policy: Policy, params: Any, batch: dict[str, Any], with_drafts: bool = False
) -> tuple[Float[Array, "b t"], Float[Array, "b h t"] | None]:
    """Log-probability, at each token, of the one that follows it.

    Args:
        policy: the model.
        params: of it.
        batch: arrays `[g, n, …]` of `mmtp.data.layout.ARRAYS`; `labels` says what follows.
        with_drafts: also the loss of every multi-token-prediction head, as they are trained on.

    Returns:
        log-probabilities, which mean nothing where nothing follows, and the heads' losses or None.
    """
    model = policy.model
    x = vlm_loss.first(model, params, batch)
    rows = vlm_loss.join_groups(batch)
    inputs = vlm_loss.make_inputs(model, rows)
    hidden, _, _ = decoder.run_counting(
        params["decoder"], model.decoder, x, inputs, attend=policy.attend
    )
    heads = [decoder.final_norm(params["decoder"], model.decoder, hidden) / policy.temperature]
    if with_drafts and model.mtp.depth:
        seen = x if model.mtp.visual_input == "visual" else hidden
        heads += mtp.run(
            params["mtp"],
            params["decoder"],
            model.mtp,
            model.decoder,
            hidden,
            seen,
            rows,
            inputs,
            model.image_token,
            policy.attend,
        )
    found = head_losses(
        jnp.stack(heads, axis=1),
        decoder.output_matrix(params["decoder"], model.decoder),
        rows["labels"][:, : len(heads)],
        block=policy.vocab_block,
        num_training=mtp.num_training_heads(model.mtp) if len(heads) > 1 else None,
    )
    return -found.nll[:, 0], found.nll[:, 1:] if len(heads) > 1 else None


def init(policy: Policy, key: jax.Array) -> Any:
    """Parameters of a new model."""
    return vlm.init(policy.model, key)
