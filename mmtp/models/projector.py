"""From pictures to a language model's tokens: CogViT, then GLM's downsampling and merger.

Patches come block after block (`data.encoded.Visual`), so that four consecutive features are one
token: no gather, and rows can be split anywhere at a multiple of four.

What the backward pass needs of the pictures is a matter of its own: a row of pictures has many
times the activations of the tokens that it becomes, and a long conversation holds many rows.
Rows are encoded in chunks, one after the other, each of which keeps only its pixels (recomputed in
the backward pass) or sends named activations to the host; so the device holds the activations of
one chunk, however many pictures there are (report §2.4).

Shape letters: g groups, r rows, n patches of a row, m = n // 4 tokens of a row, d width.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cogvit_jax.models import merger
from cogvit_jax.models.vit import CogViT
from cogvit_jax.settings import ConfigError
from mmtp.models.glm4v_tower import Glm4vTower

Image = dict[str, Array]


@dataclass(frozen=True)
class VisionMemory:
    """`config.vision_memory`.

    Attributes:
        chunk_rows: vision rows of each group that are encoded at once; 0 = all of them, with
            nothing but `config.vision.remat` to save memory.
        offload: names of activations of CogViT's blocks that wait in the host's memory instead of
            being recomputed; see `CogViT`. () = none.
        offload_min_bytes: smaller activations are recomputed.
        offload_fraction: share of the chunks that offload; the others are recomputed whole.
    """

    chunk_rows: int = 0
    offload: tuple[str, ...] = ()
    offload_min_bytes: int = 1 << 20
    offload_fraction: float = 1.0


def check_memory(memory: VisionMemory, num_rows: int) -> None:
    """Raises ConfigError where the chunks do not divide a group's vision rows, or a share is off.

    Args:
        memory: `config.vision_memory`.
        num_rows: vision rows of a group.
    """
    if memory.chunk_rows < 0 or (memory.chunk_rows and num_rows % memory.chunk_rows):
        raise ConfigError(
            f"config.vision_memory.chunk_rows = {memory.chunk_rows} must divide the {num_rows} "
            "vision rows of a group: choose a divisor, or 0 for all at once."
        )
    if not 0 <= memory.offload_fraction <= 1:
        raise ConfigError(
            f"config.vision_memory.offload_fraction = {memory.offload_fraction} must be a share "
            "between 0 and 1."
        )


def encode_images(
    vision: CogViT | Glm4vTower, params: Any, image: Image, memory: VisionMemory
) -> Float[Array, "g r m d"]:
    """Tokens of every block of patches; where a row is padding they mean nothing.

    Args:
        vision: the encoder.
        params: {"vision", "projector"} and whatever else.
        image: patches `[g, r, n, p]`, positions `[g, r, n, 2]`, segments `[g, r, n]`.
        memory: what waits for the backward pass, and where.
    """
    groups, rows = image["segments"].shape[:2]
    chunk = memory.chunk_rows or rows
    num_chunks = rows // chunk

    def recomputed(image: Image) -> Array:
        return _encode(vision, params, image)

    if num_chunks == 1 and not memory.offload:
        return recomputed(image) if not memory.chunk_rows else jax.checkpoint(recomputed)(image)
    if not isinstance(vision, CogViT):
        raise ConfigError(
            "config.vision_memory: only CogViT names its activations and is encoded in chunks, and "
            "this is GLM-4V's tower: leave chunk_rows = 0 and offload = ()."
        )
    offloading = vision.clone(offload=memory.offload, offload_min_bytes=memory.offload_min_bytes)

    def offloaded(image: Image) -> Array:
        return _encode(offloading, params, image)

    chunks = jax.tree.map(
        lambda x: x.reshape(groups, num_chunks, chunk, *x.shape[2:]).swapaxes(0, 1), image
    )
    split = round(memory.offload_fraction * num_chunks) if memory.offload else 0
    parts = []
    if split:
        first = jax.tree.map(lambda x: x[:split], chunks)
        parts.append(jax.lax.map(offloaded, first))
    if split < num_chunks:
        rest = jax.tree.map(lambda x: x[split:], chunks)
        parts.append(jax.lax.map(jax.checkpoint(recomputed), rest))
    joined = jnp.concatenate(parts) if len(parts) > 1 else parts[0]
    return joined.swapaxes(0, 1).reshape(groups, rows, *joined.shape[3:])


def _encode(vision: CogViT | Glm4vTower, params: Any, image: Image) -> Float[Array, "g r m d"]:
    groups, rows = image["segments"].shape[:2]
    flat = {name: x.reshape(groups * rows, *x.shape[2:]) for name, x in image.items()}
    features: Any = vision.apply(
        {"params": params["vision"]}, flat["patches"], flat["positions"], flat["segments"]
    )
    blocks = features.reshape(groups * rows, -1, merger.BLOCK**2 * features.shape[-1])
    tokens = jax.checkpoint(merger.merge_blocks, static_argnums=2)(
        params["projector"], blocks, vision.swiglu_limit
    )
    return tokens.reshape(groups, rows, *tokens.shape[1:])
