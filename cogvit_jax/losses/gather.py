"""The loss from gathered embeddings, and gathering them one mesh axis after the other.

A gather over two axes at once is one over a flat list of devices, which need not be neighbours,
and the TPU compiler turns the matching reduce-scatter over a flat axis into a full all-reduce of
twice the bytes. Axis after axis, with mesh axes that are axes of the torus, both stay what they
are called.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from cogvit_jax.losses.tiles import Compare, Found, Side


def gather_texts(
    text_emb: Float[Array, "t d"],
    text_ids: Int[Array, "t"],
    axis_name: str | tuple[str, ...],
) -> tuple[Float[Array, "n d"], Int[Array, "n"]]:
    """All devices' texts and ids, for a loss that runs over microbatches of images.

    Inside `jax.shard_map`. Embeddings travel in their own type and come out in float32, so that
    the cotangents of several microbatches add up in float32; the transpose is one float32
    reduce-scatter. To gather once and use often, let each device keep its own copy, and then
    compare each part of the images with it as with a whole batch (`axis_name=None`):

        gather  = shard_map(lambda y, ids: gather_texts(y, ids, axes), out_specs=P(axes), ...)
        compare = shard_map(part_loss, in_specs=(P(axes), P(axes), P(axes), P(axes), P(), P()), ...)

        def part_loss(images, image_ids, texts, text_ids, log_scale, bias):
            total, weight, _ = sigmoid_loss(images, texts, log_scale, bias,
                                            image_ids=image_ids, text_ids=text_ids)
            return psum((total, weight), axes)

    The gathered array is then `[num_devices n, d]` to the outside, and cotangents of it stay on
    their devices until the texts' own backward pass.

    Args:
        text_emb: this device's texts; text_ids: their pair ids.
        axis_name: mesh axis or axes, the first being the slowest in the order of the result.

    Returns:
        All texts (float32) and all ids.
    """
    axes = (axis_name,) if isinstance(axis_name, str) else tuple(axis_name)
    return _gather_float32(axes, text_emb.dtype, text_emb), all_gather(text_ids, axes)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _gather_float32(axes: tuple[str, ...], dtype: Any, x: Array) -> Array:
    return all_gather(x, axes).astype(jnp.float32)


_gather_float32.defvjp(
    lambda axes, dtype, x: (_gather_float32(axes, dtype, x), None),
    lambda axes, dtype, _, cotangent: (reduce_scatter(cotangent, axes).astype(dtype),),
)


def all_gather(x: Any, axes: Sequence[str]) -> Any:
    """Concatenates the devices' rows of each leaf, in the order of the axes, first slowest."""
    for axis in reversed(axes):
        x = jax.tree.map(partial(jax.lax.all_gather, axis_name=axis, tiled=True), x)
    return x


def reduce_scatter(x: Array, axes: Sequence[str]) -> Array:
    """Sums over devices and leaves each its rows: the transpose of `all_gather`.

    Shares lie along a dimension of their own: given them as ranges of rows (`tiled=True`), the TPU
    compiler pads them and moves the difference between neighbours afterwards.
    """
    for axis in axes:
        x = x.reshape(jax.lax.axis_size(axis), -1, x.shape[-1])
        x = jax.lax.psum_scatter(x, axis)
    return x


def one_sided(compare: Compare, images: Side, texts: Side, axes: tuple[str, ...]) -> Found:
    """Gathers the texts; their gradients return by a float32 reduce-scatter."""
    found = compare(images, all_gather(texts, axes))
    if found.d_block is None:
        return found
    return found._replace(d_block=reduce_scatter(found.d_block, axes))


def two_sided(compare: Compare, images: Side, texts: Side, axes: tuple[str, ...]) -> Found:
    """Gathers texts and images; no gradient travels, but logits are computed twice."""
    found = compare(images, all_gather(texts, axes), d_block=False)
    if found.d_rows is None:
        return found
    columns = compare(texts, all_gather(images, axes), d_block=False)
    return found._replace(d_block=columns.d_rows)
