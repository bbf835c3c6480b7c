"""The shapes of every batch that a run can meet, from its config alone."""

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from cogvit_jax import sharding
from cogvit_jax.data.layout import DataSettings, Layout, TextLayout, check_batch
from cogvit_jax.data.pictures import PictureExample, View

Shapes = dict[str, Any]


def batch_shapes(
    config: DataSettings, mesh: Mesh, patch_size: int, microbatches: int = 1
) -> tuple[Shapes, ...]:
    """Global batches of `pipeline.pair_batches` as `jax.ShapeDtypeStruct`s with their shardings.

    Opens no data and needs no devices: the mesh may be that of an ahead-of-time topology.

    Returns:
        Padded images: one batch per budget, the longest first. Packed: one.

    Raises:
        ConfigError: as for `pair_batches`.
    """
    layout = Layout.make(config, sharding.num_batch_shards(mesh), 0, microbatches)
    place = sharding.batch_sharding(mesh)
    n, groups = layout.host_batch, layout.groups

    def array(*shape: int, dtype: Any = np.int32) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=place)

    def image(*rows: int) -> Shapes:
        return {
            "patches": array(*rows, 3 * patch_size**2, dtype=np.uint8),
            "positions": array(*rows, 2),
            "segments": array(*rows),
        }

    if layout.packed:
        rows, slots = layout.plan.num_rows, layout.plan.max_slots
        images = [
            image(groups, rows, layout.row_length)
            | {
                "slots": array(groups, layout.group_size),
                "slot_mask": array(groups, rows, slots, dtype=np.bool_),
            }
        ]
        image_ids = array(groups, layout.group_size)
    else:
        images = [image(n, length) for length in sorted(set(layout.lengths), reverse=True)]
        image_ids = array(n)
    rest = {"text": _text(layout.text, n, array), "image_ids": image_ids, "text_ids": array(n)}
    return tuple({"image": x} | rest for x in images)


def _text(layout: TextLayout, num_texts: int, array: Any) -> Shapes:
    if not layout.packed:
        return {name: array(num_texts, layout.length) for name in ("tokens", "segments")}
    rows = (layout.groups, layout.num_rows, layout.row_length)
    arrays = {name: array(*rows) for name in ("tokens", "segments", "positions")}
    return arrays | {"slots": array(layout.groups, num_texts // layout.groups)}


def picture_shapes(
    example: PictureExample, mesh: Mesh, microbatches: int = 1
) -> tuple[dict[str, Any], ...]:
    """The one shape of `pipeline.picture_batches`; ConfigError where the batch does not divide."""
    num_shards = sharding.num_batch_shards(mesh)
    check_batch(example.config.global_batch, num_shards, microbatches)
    place, num = sharding.batch_sharding(mesh), example.config.global_batch

    def array(*shape: int, dtype: Any = np.uint8) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((num, *shape), dtype, sharding=place)

    def patches(view: View) -> jax.ShapeDtypeStruct:
        return array(view.side**2, 3 * view.patch_size**2)

    stored = {name: array(*c.shape, dtype=c.dtype) for name, c in example.caches.items()}
    return (
        {
            "patches": patches(example.student),
            "masked": array(example.student.side**2, dtype=np.bool_),
            "source": array(dtype=np.int32),
            "teachers": {v.name: patches(v) for v in example.teachers} | stored,
        },
    )
