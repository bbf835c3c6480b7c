"""From pictures to a language model's tokens: CogViT, then GLM's downsampling and merger.

Patches come block after block (`data.encoded.Visual`), so that four consecutive features are one
token: no gather, and rows can be split anywhere at a multiple of four.

What the backward pass needs of the pictures is a matter of its own: a row of pictures has many
times the activations of the tokens that it becomes, and a long conversation holds many rows.
Rows are encoded in chunks, one after the other. A chunk keeps its pixels and is encoded again in
the backward pass, or named activations of it wait in the host's memory; so the device holds the
activations of one chunk, however many pictures there are (report §2.4).

Shape letters: g groups, r rows, n patches of a row, m = n // 4 tokens of a row, d width, c chunks.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float

from cogvit_jax.models import merger, scan
from cogvit_jax.models.vit import CogViT
from cogvit_jax.settings import ConfigError, choose
from cogvit_jax.sharding import BATCH_AXES, auto_axes
from mmtp.models.glm4v_tower import Glm4vTower

Encoder = CogViT | Glm4vTower
Image = dict[str, Array]
Params = Any

# What can wait in the host's memory, by the names that the encoder gives. "blocks_output" goes with
# whatever is chosen: without it the backward pass would run all blocks once more to have it.
ACTIVATIONS = ("block_input", "qkv", "attention_out", "mlp_gate", "mlp_up")
LAST = "blocks_output"


@dataclass(frozen=True)
class VisionMemory:
    """`config.vision_memory`.

    Attributes:
        chunk_rows: vision rows of each group that are encoded at once; 0 = all of them. A chunk is
            encoded again in the backward pass, within which `config.vision.remat` holds as well:
            with "full" there, blocks run forward three times, with "none" twice.
        offload: names of activations, see ACTIVATIONS, that wait in the host's memory; blocks are
            computed again from what is there. ("block_input",) recomputes each block once and
            nothing else. () = none.
        offload_min_bytes: smaller activations (of one block and chunk) are computed again.
        offload_fraction: share of the chunks that offload; the others are encoded again.
    """

    chunk_rows: int = 0
    offload: tuple[str, ...] = ()
    offload_min_bytes: int = 1 << 20
    offload_fraction: float = 1.0


def check_memory(memory: VisionMemory, num_rows: int) -> None:
    """Raises ConfigError where chunks do not divide a group's vision rows, or a field is off.

    Args:
        memory: `config.vision_memory`.
        num_rows: vision rows of a group.
    """
    if memory.chunk_rows < 0 or (memory.chunk_rows and num_rows % memory.chunk_rows):
        raise ConfigError(
            f"config.vision_memory.chunk_rows = {memory.chunk_rows} must divide the {num_rows} "
            "vision rows of a group: choose a divisor, or 0 for all at once."
        )
    for name in memory.offload:
        choose(dict.fromkeys(ACTIVATIONS), name, "config.vision_memory.offload")
    if memory.offload_min_bytes < 0:
        raise ConfigError(
            f"config.vision_memory.offload_min_bytes = {memory.offload_min_bytes} must be a number "
            "of bytes, 0 or more."
        )
    if not 0 <= memory.offload_fraction <= 1:
        raise ConfigError(
            f"config.vision_memory.offload_fraction = {memory.offload_fraction} must be a share "
            "between 0 and 1."
        )


def encode_images(
    vision: Encoder, params: Params, image: Image, memory: VisionMemory
) -> Float[Array, "g r m d"]:
    """Tokens of every block of patches; where a row is padding they mean nothing.

    Pictures are data: they have no gradient where any of them is offloaded.

    Args:
        vision: the encoder.
        params: {"vision", "projector"} and whatever else.
        image: patches `[g, r, n, p]`, positions `[g, r, n, 2]`, segments `[g, r, n]`.
        memory: what waits for the backward pass, and where.

    Raises:
        ConfigError: the memory does not fit the rows, see `check_memory`, or the encoder.
    """
    groups, rows = image["segments"].shape[:2]
    check_memory(memory, rows)
    if memory.offload and not isinstance(vision, CogViT):
        raise ConfigError(
            f"config.vision_memory.offload = {memory.offload}: GLM-4V's tower does not name its "
            "activations, only CogViT does: leave it ()."
        )
    params = {name: params[name] for name in ("vision", "projector")}
    if not memory.chunk_rows and not memory.offload:
        return _encode(vision, params, image)
    encode = partial(_in_chunks, vision, memory)
    if _splits(groups):
        # By hand, so that a step gathers parameters once and sums their gradients once. Left to the
        # compiler, every block of every chunk does, in each of its passes.
        split = PartitionSpec(BATCH_AXES)
        specs = (PartitionSpec(), split)
        encode = jax.shard_map(encode, in_specs=specs, out_specs=split, check_vma=False)
    return encode(params, image)


def _splits(groups: int) -> bool:
    """Whether there is a mesh that groups alone are split over."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or auto_axes() != set(mesh.axis_names) or mesh.shape["tensor"] > 1:
        return False
    return groups % math.prod(mesh.shape[axis] for axis in BATCH_AXES) == 0


def _in_chunks(
    vision: Encoder, memory: VisionMemory, params: Params, image: Image
) -> Float[Array, "g r m d"]:
    groups, rows = image["segments"].shape[:2]
    size = memory.chunk_rows or rows
    chunks = jax.tree.map(
        lambda x: x.reshape(groups, rows // size, size, *x.shape[2:]).swapaxes(0, 1), image
    )
    split = round(memory.offload_fraction * (rows // size)) if memory.offload else 0
    parts = []
    if split:
        parts.append(_offloaded(vision, memory, params, jax.tree.map(lambda x: x[:split], chunks)))
    if split < rows // size:
        again = jax.checkpoint(partial(_encode, vision, params))
        parts.append(jax.lax.map(again, jax.tree.map(lambda x: x[split:], chunks)))
    joined = jnp.concatenate(parts) if len(parts) > 1 else parts[0]
    return joined.swapaxes(0, 1).reshape(groups, rows, *joined.shape[3:])


def _encode(vision: Encoder, params: Params, image: Image) -> Float[Array, "g r m d"]:
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


# A chunk's activations go to the host when the whole chunk is encoded, and come back before its
# backward pass. Written out, because the TPU compiler cannot place what a remat policy offloads
# inside two nested loops (chunks and blocks; libtpu 0.0.42.1: "async-start expects the shape of
# operand 0 to match").


@jax.tree_util.register_static
@dataclass(frozen=True)
class _Input:
    """Stands for an input in what the backward pass keeps, which need not be kept twice."""

    index: int


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _offloaded(
    vision: Encoder, memory: VisionMemory, params: Params, chunks: Image
) -> Float[Array, "c g r m d"]:
    return jax.lax.map(partial(_encode, vision, params), chunks)


def _forward(
    vision: Encoder, memory: VisionMemory, params: Params, chunks: Image
) -> tuple[Float[Array, "c g r m d"], Any]:
    policy = scan.keep_policy((*memory.offload, LAST), memory.offload_min_bytes)
    encode = jax.checkpoint(partial(_encode, vision), policy=policy)

    def one(image: Image) -> tuple[Array, Any]:
        tokens, pull = jax.vjp(lambda params: encode(params, image), params)
        return tokens, _to_host(pull, (params, image), memory.offload_min_bytes)

    tokens, pulls = jax.lax.map(one, chunks)
    return tokens, (params, chunks, pulls)


def _backward(
    vision: Encoder, memory: VisionMemory, kept: Any, gradient: Float[Array, "c g r m d"]
) -> tuple[Params, None]:
    params, chunks, pulls = kept

    def add(total: Params, chunk: tuple[Image, Any, Array]) -> tuple[Params, None]:
        image, pull, gradient = chunk
        (found,) = _to_device(pull, (params, image))(gradient)
        return jax.tree.map(jnp.add, total, found), None

    zeros = jax.tree.map(jnp.zeros_like, params)
    total, _ = jax.lax.scan(add, zeros, (chunks, pulls, gradient))
    return total, None


_offloaded.defvjp(_forward, _backward)


def _to_host(pull: Any, inputs: Any, min_bytes: int) -> Any:
    """A function of `jax.vjp` without its inputs, what is large of the rest in the host's memory.

    The rest is what the remat policy kept, and a few constants.
    """
    places = {id(x): _Input(i) for i, x in enumerate(jax.tree.leaves(inputs))}

    def put(x: Any) -> Any:
        if id(x) in places:
            return places[id(x)]
        return jax.device_put(x, jax.memory.Space.Host) if x.nbytes >= min_bytes else x

    return jax.tree.map(put, pull)


def _to_device(pull: Any, inputs: Any) -> Any:
    """The inverse of `_to_host`."""
    leaves = jax.tree.leaves(inputs)

    def back(x: Any) -> Array:
        if isinstance(x, _Input):
            return leaves[x.index]
        return jax.device_put(x, jax.memory.Space.Device)

    return jax.tree.map(back, pull, is_leaf=lambda x: isinstance(x, _Input))
