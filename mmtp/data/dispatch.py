"""Who sends what to whom, so that each rank has its part of a batch and nothing else.

Ranks have loaded (or generated) documents; the planner has put them in groups and rows of all
ranks. A rank numbers its documents' tokens, and their patches, one document after the other, in two
buffers per array; a `Transfer` is a range of one of these that goes to a range of another rank's
part. Padding is not sent. The transfers of all pairs together are one ragged all-to-all.

Ranks are numbered as in `reorder.part`: the context ranks of a batch shard follow each other.
"""

import collections
import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int64

from mmtp.data import layout as layouts
from mmtp.data.encoded import Encoded
from mmtp.data.layout import ARRAYS, Layout
from mmtp.data.packing import picture_arrays, text_arrays
from mmtp.data.planner import Place, Size, Stretch
from mmtp.data.reorder import sequence_dim, zigzag

# Arrays by what they run over. `order` is the same for all documents: nobody sends it.
STREAMS = {
    "text": tuple(name for name in ARRAYS if not name.startswith("image/") and name != "order"),
    "image": tuple(name for name in ARRAYS if name.startswith("image/")),
}


@dataclasses.dataclass(frozen=True)
class Transfer:
    """One range of tokens, or patches, in all arrays of its stream.

    Attributes:
        source, destination: ranks.
        stream: key of STREAMS.
        start, stop: range of the source's buffers.
        to: where it begins in the destination's part, counted over its groups, rows and places.
    """

    source: int
    destination: int
    stream: str
    start: int
    stop: int
    to: int


def plan_dispatch(
    sizes: Sequence[Size],
    places: Sequence[Place | None],
    sources: Sequence[int],
    layout: Layout,
    num_shards: int,
) -> list[Transfer]:
    """All transfers of a batch, those of a rank to itself too.

    Args:
        sizes, places: of all ranks' documents; see `planner.plan`.
        sources: the rank that has each document.
        layout: its `global_groups` are split over `num_shards` batch shards, its rows over
            `context` ranks each.
        num_shards: of the batch.
    """
    transfers = []
    filled: collections.Counter[tuple[int, str]] = collections.Counter()
    for size, place, source in zip(sizes, places, sources, strict=True):
        if place is None:
            continue
        for stream, stretch, length in _stretches(size, place):
            start = filled[source, stream]
            filled[source, stream] += length
            for offset, destination, to, num in _pieces(
                place.group, stretch, length, stream, layout, num_shards
            ):
                first = start + offset
                transfers.append(Transfer(source, destination, stream, first, first + num, to))
    return transfers


def source_buffers(
    documents: Sequence[Encoded], places: Sequence[Place | None], layout: Layout
) -> dict[str, np.ndarray]:
    """What one rank sends from: its documents' arrays by flat name, `[tokens or patches, …]`."""
    indices = np.argsort(zigzag(layout.seq_len, layout.context))
    parts = {name: [_empty((0,), name, layout)] for name in ARRAYS}
    for document, place in zip(documents, places, strict=True):
        if place is None:
            continue
        text = text_arrays(document, place, layout)
        text["mtp_sources"] = indices[text["mtp_sources"]].astype(np.int32)
        for part in (text, *picture_arrays(document, place)):
            for name, value in part.items():
                parts[name].append(value)
    return {name: np.concatenate(parts[name]) for names in STREAMS.values() for name in names}


def assemble(
    transfers: Sequence[Transfer],
    buffers: Mapping[int, Mapping[str, np.ndarray]],
    rank: int,
    layout: Layout,
    num_shards: int,
) -> dict[str, Any]:
    """A rank's part of the batch, from the buffers of the ranks that send to it.

    What an all-to-all does, in NumPy. Equals `reorder.part` of the whole batch, laid out.
    """
    groups = layout.global_groups // num_shards
    part = {}
    for name in ARRAYS:
        rows, share = _rows_and_share("image" if name in STREAMS["image"] else "text", layout)
        part[name] = _empty((groups, rows, share), name, layout)
    for transfer in transfers:
        if transfer.destination != rank:
            continue
        stop = transfer.to + transfer.stop - transfer.start
        for name in STREAMS[transfer.stream]:
            sent = buffers[transfer.source][name][transfer.start : transfer.stop]
            flat = part[name].reshape(-1, *part[name].shape[3:])
            flat[transfer.to : stop] = sent
    order = np.split(zigzag(layout.seq_len, layout.context), layout.context)
    part["order"][:] = order[rank % layout.context]
    arrays = {name: np.moveaxis(x, 2, sequence_dim(name)) for name, x in part.items()}
    return layouts.nest({name: np.ascontiguousarray(x) for name, x in arrays.items()})


def bytes_sent(
    transfers: Sequence[Transfer], layout: Layout, num_ranks: int
) -> Int64[np.ndarray, "sources destinations"]:
    """Bytes from each rank to each; the diagonal stays where it is."""
    unit = {
        stream: sum(_empty((1,), name, layout).nbytes for name in names)
        for stream, names in STREAMS.items()
    }
    total = np.zeros((num_ranks, num_ranks), np.int64)
    for t in transfers:
        total[t.source, t.destination] += (t.stop - t.start) * unit[t.stream]
    return total


def _stretches(size: Size, place: Place) -> list[tuple[str, Stretch, int]]:
    """(stream, where, how long) of a document and its pictures."""
    pictures = zip(place.pictures, size.pictures, strict=True)
    return [("text", place.text, size.tokens), *(("image", where, n) for where, n in pictures)]


def _pieces(
    group: int, stretch: Stretch, length: int, stream: str, layout: Layout, num_shards: int
) -> Iterator[tuple[int, int, int, int]]:
    """(offset in the stretch, rank, first place of the rank's part, length) of what stays whole."""
    rows, share = _rows_and_share(stream, layout)
    num = share * layout.context
    laid = np.argsort(zigzag(num, layout.context)) if stream == "text" else np.arange(num)
    laid = laid[stretch.start : stretch.start + length]
    # Places of a row that follow each other on one rank are laid out next to each other.
    cuts = [0, *(np.flatnonzero(np.diff(laid // share)) + 1).tolist(), length]
    shard, group = divmod(group, layout.global_groups // num_shards)
    for start, stop in itertools.pairwise(cuts):
        place, within = divmod(int(laid[start]), share)
        to = (group * rows + stretch.row) * share + within
        yield start, shard * layout.context + place, to, stop - start


def _rows_and_share(stream: str, layout: Layout) -> tuple[int, int]:
    """Rows per group, and tokens or patches of a row that one rank has."""
    if stream == "text":
        return layout.rows, layout.seq_len // layout.context
    return layout.vision_rows, layout.vision_row_length // layout.context


def _empty(shape: tuple[int, ...], name: str, layout: Layout) -> np.ndarray:
    """Zeros with the sequence last in `shape`, before an array's own dims."""
    dtype, dims = ARRAYS[name]
    own = [d for d in dims[1:] if d not in ("tokens", "patches")]
    sizes = (layout.sizes[d] if isinstance(d, str) else d for d in own)
    return np.zeros((*shape, *sizes), dtype)
