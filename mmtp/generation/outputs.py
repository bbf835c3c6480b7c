"""From hidden states to tokens with log probabilities.

Shape letters: b rows, j tokens of a step, d width, v vocabulary.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32

from mmtp.generation import sampling
from mmtp.generation.sampling import Options
from mmtp.generation.settings import EngineSettings
from mmtp.generation.state import Emitted
from mmtp.models import decoder
from mmtp.models.vlm import VLM


def logits(model: VLM, params: Any, hidden: Float[Array, "b j d"]) -> Float[Array, "b j v"]:
    """After each token, f32, from the main model's hidden states before its final norm."""
    normed = decoder.final_norm(params["decoder"], model.decoder, hidden)
    return decoder.logits(params["decoder"], model.decoder, normed)


def target(logits: Float[Array, "b j v"], options: Options) -> Float[Array, "b j v"]:
    """Log probabilities to sample from after each token."""
    rows, num, size = logits.shape
    repeated = jax.tree.map(lambda x: jnp.repeat(x, num), options)
    flat = sampling.distribution(logits.reshape(rows * num, size), repeated)
    return flat.reshape(logits.shape)


def emitted(
    settings: EngineSettings,
    tokens: Int32[Array, "b j"],
    num: Int32[Array, " b"],
    logits: Float[Array, "b j v"],
    target: Float[Array, "b j v"],
) -> Emitted:
    """Tokens with what the target and the model itself said of them, accepted drafts included."""
    raw = jax.nn.log_softmax(logits, axis=-1)

    def pick(logprobs: Array) -> Array:
        return jnp.take_along_axis(logprobs, tokens[..., None], axis=-1)[..., 0]

    top_logprobs, top_tokens = jax.lax.top_k(raw, settings.top_logprobs)
    return Emitted(tokens, num, pick(target), pick(raw), top_tokens, top_logprobs)
