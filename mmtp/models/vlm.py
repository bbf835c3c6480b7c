"""The vision-language model: vision tower, projector, decoder and multi-token-prediction layers.

Parameters are one tree: {"vision", "projector", "decoder", "mtp"}; the last is absent where the
model has no such layers.

Shape letters: g groups (pictures and the rows of text that show them), n rows of text, t tokens,
m visual tokens of a group, d width.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from cogvit_jax.models import merger
from cogvit_jax.models.vit import CogViT
from cogvit_jax.sharding import keep_tokens
from mmtp.models import decoder, mtp, projector
from mmtp.models.decoder import DecoderConfig
from mmtp.models.glm4v_tower import Glm4vTower
from mmtp.models.mtp import MTPSettings
from mmtp.models.projector import Image, VisionMemory

DEFAULT_MEMORY = VisionMemory()
PROJECTOR_RATIO = 3  # hidden width of the merger's MLP over its width, as in GLM-OCR


@dataclass(frozen=True)
class VLM:
    """What the parameters do not say.

    Attributes:
        vision: the encoder: CogViT, or the tower of GLM-4.1V, 4.5V and 4.6V.
        decoder: sizes and conventions of the language model.
        mtp: of the multi-token-prediction layers.
        image_token: id of `<|image|>`, which holds the place of every visual token.
        patch_dim: numbers per patch.
        memory: what of the vision side waits for the backward pass, and where.
        projector_dim: hidden width of the merger; 0 = three times the decoder's width.
    """

    vision: CogViT | Glm4vTower
    decoder: DecoderConfig
    mtp: MTPSettings
    image_token: int
    patch_dim: int
    memory: VisionMemory = DEFAULT_MEMORY
    projector_dim: int = 0


def init(model: VLM, key: Array) -> dict[str, Any]:
    """Parameters of a new model, f32."""
    keys = jax.random.split(key, 4)
    width = model.decoder.width
    image = jnp.zeros((1, 4, model.patch_dim), jnp.uint8)
    places, ones = jnp.zeros((1, 4, 2), jnp.int32), jnp.ones((1, 4), jnp.int32)
    params = {
        "vision": model.vision.init(keys[0], image, places, ones)["params"],
        "projector": merger.init(
            keys[1], model.vision.width, width, model.projector_dim or PROJECTOR_RATIO * width
        ),
        "decoder": decoder.init(keys[2], model.decoder),
    }
    if model.mtp.depth:
        params["mtp"] = mtp.init(keys[3], model.mtp, model.decoder)
    return params


def encode_images(model: VLM, params: Any, image: Image) -> Float[Array, "g m d"]:
    """Visual tokens of each group, in the order of its vision rows.

    Args:
        model: the model.
        params: its parameters.
        image: patches `[g, r, n, p]`, positions `[g, r, n, 2]` and segments `[g, r, n]`; four
            consecutive patches are one token, m = r * n / 4.
    """
    tokens = projector.encode_images(model.vision, params, image, model.memory)
    return tokens.reshape(tokens.shape[0], -1, tokens.shape[-1])


def embed(
    model: VLM,
    params: Any,
    tokens: Int[Array, "g n t"],
    visual: Int[Array, "g n t"],
    features: Float[Array, "g m d"] | None,
) -> Float[Array, "g*n t d"]:
    """The decoder's input: embeddings of text, with visual tokens in their places.

    Args:
        model: the model.
        params: its parameters.
        tokens: ids; `<|image|>` at visual places.
        visual: 0 = text, k = the group's visual token number k - 1.
        features: from `encode_images`; None = there are no pictures.
    """
    groups, rows, length = tokens.shape
    x = decoder.embed(params["decoder"], model.decoder, tokens.reshape(groups * rows, length))
    if features is None:
        return x
    index = jnp.maximum(visual.reshape(groups, rows * length, 1) - 1, 0)
    picked = jnp.take_along_axis(features, index, axis=1).reshape(x.shape).astype(x.dtype)
    return keep_tokens(jnp.where(visual.reshape(groups * rows, length, 1) > 0, picked, x))
