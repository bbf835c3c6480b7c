"""All arrays of a token, or of a patch, as one record of bytes, and back, on the devices."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from mmtp.data.dispatch import STREAMS
from mmtp.data.layout import ARRAYS, Layout
from mmtp.data.reorder import sequence_dim
from rl.batch_arrays import token_arrays


@dataclasses.dataclass(frozen=True)
class Field:
    """An array's part of a record.

    Attributes:
        name: of the array.
        dtype: of its numbers.
        shape: of what it has per token or patch.
        dim: the sequence's, among the array's dims.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    dim: int

    @property
    def num_bytes(self) -> int:
        """Per record."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclasses.dataclass(frozen=True)
class Record:
    """Of one stream.

    Attributes:
        fields: in order.
        places: of a batch, over all ranks.
    """

    fields: tuple[Field, ...]
    places: int

    @property
    def unit(self) -> int:
        """Bytes."""
        return sum(f.num_bytes for f in self.fields)


def record_of(stream: str, layout: Layout, extra: tuple[str, ...] = ()) -> Record:
    """The record of "text" or "image" in batches of a layout.

    Args:
        stream: key of `mmtp.data.dispatch.STREAMS`.
        layout: of all micro-batches.
        extra: names of further per-token arrays.
    """
    fields = []
    for name in STREAMS[stream]:
        dtype, dims = ARRAYS[name]
        own = [d for d in dims[1:] if d not in ("tokens", "patches")]
        shape = tuple(layout.sizes[d] if isinstance(d, str) else d for d in own)
        fields.append(Field(name, np.dtype(dtype).name, shape, sequence_dim(name)))
    if stream == "text":
        added = token_arrays(extra).items()
        fields += [Field(name, np.dtype(dtype).name, (), 2) for name, dtype in added]
        return Record(tuple(fields), layout.global_groups * layout.rows * layout.seq_len)
    places = layout.global_groups * layout.vision_rows * layout.vision_row_length
    return Record(tuple(fields), places)


def pack_records(record: Record, arrays: Mapping[str, np.ndarray]) -> UInt8[np.ndarray, "n unit"]:
    """Arrays `[n, …]` as n records."""
    first = arrays[record.fields[0].name]
    if not len(first):
        return np.zeros((0, record.unit), np.uint8)
    columns = [
        np.ascontiguousarray(arrays[f.name].astype(f.dtype, copy=False))
        .reshape(len(first), -1)
        .view(np.uint8)
        for f in record.fields
        if f.num_bytes
    ]
    return np.concatenate(columns, axis=1)


def unpack_records(record: Record, records: jax.Array, layout: Layout) -> dict[str, Any]:
    """A rank's records, one per place, as its part of the arrays of the batch."""
    text = any(f.name == "tokens" for f in record.fields)
    rows = layout.rows if text else layout.vision_rows
    length = (layout.seq_len if text else layout.vision_row_length) // layout.context
    arrays, start = {}, 0
    for field in record.fields:
        part = records[:, start : start + field.num_bytes]
        start += field.num_bytes
        groups = len(records) // (rows * length)
        values = _numbers(part, field).reshape(groups, rows, length, *field.shape)
        arrays[field.name] = jnp.moveaxis(values, 2, field.dim)
    return arrays


def _numbers(part: jax.Array, field: Field) -> jax.Array:
    dtype = np.dtype(field.dtype)
    if not field.num_bytes:
        return jnp.zeros((len(part), 0), dtype)
    if dtype == np.bool_:
        return part != 0
    if dtype.itemsize == 1:
        return part.view(dtype)
    return jax.lax.bitcast_convert_type(part.reshape(len(part), -1, dtype.itemsize), dtype)
