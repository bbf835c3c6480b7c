"""Rows laid out for context parallelism: each device gets an early and a late chunk of every row.

With causal attention a later token costs more. A row is cut into 2 c chunks for c devices, and
device r gets chunks r and 2 c - 1 - r, so that all have equal work. Rows of patches keep their
order: a picture's patches all see each other, and c equal parts of whole 2 x 2 blocks are even.
"""

from typing import Any

import numpy as np
from jaxtyping import Int

from mmtp.data import layout


def zigzag(length: int, context: int) -> Int[np.ndarray, " length"]:
    """Place in the row of what is laid out at each index.

    Example:
        zigzag(8, 2) == [0, 1, 6, 7, 2, 3, 4, 5]
    """
    if context == 1:
        return np.arange(length)
    chunks = np.arange(length).reshape(2 * context, -1)
    ranks = np.arange(context)
    return chunks[np.stack([ranks, 2 * context - 1 - ranks], axis=1)].reshape(-1)


def reorder(batch: dict[str, Any], context: int) -> dict[str, Any]:
    """A batch (see `layout.ARRAYS`) laid out for `context` devices per row.

    `mtp_sources` afterwards hold indices into rows as laid out; `order` holds original places.

    Raises:
        ConfigError: `context` does not divide the rows; names config.data.seq_len or
            config.data.vision_row_length.
        ValueError: the batch has an array that `layout.ARRAYS` does not declare, or is laid out
            already, as `packing.collate` does it.
    """
    return _permute(batch, context, inverse=False)


def restore(batch: dict[str, Any], context: int) -> dict[str, Any]:
    """Undoes `reorder`."""
    return _permute(batch, context, inverse=True)


def part(batch: dict[str, Any], shards: int, context: int, rank: int) -> dict[str, Any]:
    """What one rank has of a batch laid out for `context`: groups of its batch shard, and its share
    of every row. Ranks of one shard follow each other.
    """
    shard, place = divmod(rank, context)
    arrays = {}
    for name, value in layout.flatten(batch).items():
        groups = np.split(value, shards)[shard]
        arrays[name] = np.split(groups, context, axis=sequence_dim(name))[place]
    return layout.nest(arrays)


def sequence_dim(name: str) -> int:
    """The dim of an array of the batch that context parallelism splits.

    Raises:
        ValueError: the array is unknown; left as it is, it would no longer match the tokens.
    """
    if name not in layout.ARRAYS:
        raise ValueError(
            f"the batch has an array {name!r} whose dims are not declared: add it to "
            "mmtp.data.layout.ARRAYS"
        )
    dims = layout.ARRAYS[name][1]
    return 1 + dims.index("patches" if name.startswith("image/") else "tokens")


def _permute(batch: dict[str, Any], context: int, inverse: bool) -> dict[str, Any]:
    arrays = layout.flatten(batch)
    dims = {name: sequence_dim(name) for name in arrays}
    if context == 1:
        return batch
    length = arrays["tokens"].shape[-1]
    layout.check_context(length, arrays["image/segments"].shape[-1], context)
    places = zigzag(length, context)  # laid out -> original
    order, indices = places, np.argsort(places)
    if inverse:
        order, indices = indices, order
    if not (arrays["order"] == (places if inverse else np.arange(length))).all():
        raise ValueError(
            f"the batch is {'not' if inverse else 'already'} laid out for {context} devices: its "
            "`order` tells; packing.collate lays out for layout.context"
        )
    moved = {}
    for name, value in arrays.items():
        is_image = name.startswith("image/")
        moved[name] = value if is_image else np.take(value, order, axis=dims[name])
    # Place 0 is laid out at 0, so what is not valid stays 0.
    moved["mtp_sources"] = indices[moved["mtp_sources"]].astype(np.int32)
    return layout.nest(moved)
