"""Samples that any host has -> the devices that train them, each sent its own part only.

The plan (`rl.batching.plan_rows`) is the same on all hosts, since it reads sizes only, and
`mmtp.data.dispatch` says which range of whose tokens and patches goes where. Here they go there: a
rank's tokens (and its patches) are records of bytes, one record per token with all of its arrays,
and an all-to-all takes them round by round, each of bounded size, while the host fills the next.
Padding is not sent as rows; tasks, texts, pictures and verdicts are not sent at all.

A rank is a (batch shard, context) place of the mesh; ranks of a shard follow each other.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Int, UInt8

from cogvit_jax import sharding
from cogvit_jax.settings import ConfigError
from mmtp.data import layout as layouts
from mmtp.data.dispatch import STREAMS, Transfer, plan_dispatch, source_buffers
from mmtp.data.layout import Layout
from mmtp.data.planner import Size
from mmtp.data.reorder import zigzag
from rl.batch_arrays import array_sharding
from rl.batching import BatchPlan, Packed, extra_names, labelled, token_values
from rl.dispatch_records import Record, pack_records, record_of, unpack_records

RANK_AXES = (*sharding.BATCH_AXES, "context")
CHUNK_BYTES = 1 << 20  # from a rank to each other one in a round

Loaded = dict[str, dict[int, UInt8[np.ndarray, "n unit"]]]  # stream -> rank of ours -> records


@dataclasses.dataclass(frozen=True)
class Route:
    """A transfer, and its first place among all that its source sends to its destination."""

    transfer: Transfer
    at: int


@dataclasses.dataclass(frozen=True)
class Traffic:
    """What an exchange moves.

    Attributes:
        needed: bytes that go to another rank.
        sent: the same with the padding of the all-to-all.
        buffer: bytes on a rank that are there only for sending and receiving a round.
    """

    needed: int
    sent: int
    buffer: int


def choose_sources(sizes: Sequence[Size], owners: Sequence[int], mesh: Mesh) -> list[int]:
    """The rank that each sample is sent from: one of its process, with the least to send so far.

    Args:
        sizes: of all samples.
        owners: the process that has each.
        mesh: of the ranks.

    Raises:
        ConfigError: a rank's devices belong to several processes.
    """
    ranks = ranks_of(mesh)
    mine: dict[int, list[int]] = {}
    for rank, devices in enumerate(ranks):
        processes = sorted({d.process_index for d in devices})
        if len(processes) > 1:
            raise ConfigError(
                f"config.mesh puts the devices of a batch shard and context place on processes "
                f"{processes}: choose config.mesh.tensor and config.mesh.stage so that they are on "
                "one."
            )
        mine.setdefault(processes[0], []).append(rank)
    loads, sources = [0] * len(ranks), []
    for size, owner in zip(sizes, owners, strict=True):
        rank = min(mine[owner], key=loads.__getitem__)
        loads[rank] += size.tokens + size.patches
        sources.append(rank)
    return sources


def load(
    mesh: Mesh,
    samples: Mapping[int, Packed],
    sources: Sequence[int],
    plan: BatchPlan,
    extra: tuple[str, ...] = (),
) -> Loaded:
    """What this process's ranks have to send; nothing but host work, so any thread may do it.

    Args:
        mesh: that trains.
        samples: those that this process has, by their number in the batch.
        sources: the rank that has each of the batch's samples, from `choose_sources`.
        plan: of all samples, for this mesh.
        extra: names of all samples' further arrays.

    Raises:
        ValueError: a sample has other further arrays.
    """
    if samples and extra_names(list(samples.values())) != extra:
        raise ValueError(f"samples have not the further arrays {extra}")
    arrays = {
        rank: _arrays(samples, sources, rank, plan, plan.layout) for rank in _local_ranks(mesh)
    }
    return {
        stream: {
            rank: pack_records(record_of(stream, plan.layout, extra), values)
            for rank, values in arrays.items()
        }
        for stream in STREAMS
    }


def move(
    mesh: Mesh,
    loaded: Loaded,
    sizes: Sequence[Size],
    sources: Sequence[int],
    plan: BatchPlan,
    chunk_bytes: int = CHUNK_BYTES,
    extra: tuple[str, ...] = (),
) -> tuple[dict[str, Any], Traffic]:
    """The batch as global arrays: what `batching.write` makes, put on the mesh.

    All processes call it together. It returns while bytes are on their way.

    Args:
        mesh, sources, plan, extra: as in `load`.
        loaded: of this process, from `load`.
        sizes: of all samples.
        chunk_bytes: from a rank to each other rank in a round; at least one record goes.
    """
    layout, num_ranks = plan.layout, len(ranks_of(mesh))
    shards = num_ranks // layout.context
    transfers = plan_dispatch(sizes, plan.places, sources, layout, shards)
    moved, needed, sent, buffer = {}, 0, 0, 0
    for stream, parts in loaded.items():
        record = record_of(stream, layout, extra)
        routes, width = route(transfers, stream)
        places = record.places // num_ranks
        chunk = _chunk(width, chunk_bytes // record.unit)
        moved |= _move(mesh, record, parts, routes, (width, chunk, places), layout, extra)
        needed += record.unit * sum(_away(r.transfer) for r in routes)
        sent += record.unit * num_ranks * (num_ranks - 1) * -(-width // chunk) * chunk
        buffer = max(buffer, 2 * record.unit * num_ranks * chunk)
    moved["order"] = _order(mesh, layout)
    return layouts.nest(moved), Traffic(needed, sent, buffer)


def route(transfers: Sequence[Transfer], stream: str) -> tuple[list[Route], int]:
    """Places of a stream's transfers between each pair of ranks, and the most between any."""
    used: dict[tuple[int, int], int] = {}
    routes = []
    for transfer in transfers:
        if transfer.stream != stream:
            continue
        pair = transfer.source, transfer.destination
        routes.append(Route(transfer, used.get(pair, 0)))
        used[pair] = used.get(pair, 0) + transfer.stop - transfer.start
    return routes, max(used.values(), default=0)


def ranks_of(mesh: Mesh) -> list[list[Any]]:
    """Devices of each rank; several where layers or matrices are split."""
    order = [sharding.AXES.index(axis) for axis in RANK_AXES]
    rest = [i for i in range(len(sharding.AXES)) if i not in order]
    num = int(np.prod([mesh.devices.shape[i] for i in order]))
    return mesh.devices.transpose(*order, *rest).reshape(num, -1).tolist()


def _local_ranks(mesh: Mesh) -> list[int]:
    here = jax.process_index()
    return [r for r, devices in enumerate(ranks_of(mesh)) if devices[0].process_index == here]


def _arrays(
    samples: Mapping[int, Packed],
    sources: Sequence[int],
    rank: int,
    plan: BatchPlan,
    layout: Layout,
) -> dict[str, np.ndarray]:
    """Arrays of what a rank sends, `[tokens or patches, …]`."""
    mine = [i for i, source in enumerate(sources) if source == rank]
    documents = [labelled(samples[i]) for i in mine]
    arrays = source_buffers(documents, [plan.places[i] for i in mine], layout)
    values = [token_values(samples[i], i) for i in mine]
    names = values[0] if values else ()
    return arrays | {name: np.concatenate([v[name] for v in values]) for name in names}


def _chunk(width: int, limit: int) -> int:
    """Records per round: a power of two that holds all, so that few shapes are compiled."""
    return max(1, min(limit, 1 << max(0, width - 1).bit_length()))


def _away(transfer: Transfer) -> int:
    return (transfer.stop - transfer.start) * (transfer.source != transfer.destination)


def _move(
    mesh: Mesh,
    record: Record,
    parts: Mapping[int, UInt8[np.ndarray, "n unit"]],
    routes: Sequence[Route],
    sizes: tuple[int, int, int],
    layout: Layout,
    extra: tuple[str, ...],
) -> dict[str, Any]:
    width, chunk, places = sizes
    num_ranks = len(ranks_of(mesh))
    index = _scatter(mesh, lambda rank: _index(routes, rank, places), (places, 2), np.int32)
    result = _scatter(
        mesh, lambda _: np.zeros((places, record.unit), np.uint8), (places, record.unit), np.uint8
    )
    take_round, finish = _functions(mesh, record, layout, extra)
    for first in range(0, width, chunk):
        shape = (num_ranks, chunk, record.unit)
        sent = _scatter(
            mesh,
            lambda rank, first=first, shape=shape: _sent(parts[rank], routes, rank, first, shape),
            shape,
            np.uint8,
        )
        result = take_round(result, sent, index, np.int32(first))
    return finish(result)


def _index(routes: Sequence[Route], rank: int, places: int) -> Int[np.ndarray, "places 2"]:
    """(source, place in what it sends here) of each place of a rank's part; -1 = padding."""
    index = np.full((places, 2), -1, np.int32)
    for found in routes:
        transfer = found.transfer
        if transfer.destination == rank:
            num = transfer.stop - transfer.start
            index[transfer.to : transfer.to + num, 0] = transfer.source
            index[transfer.to : transfer.to + num, 1] = found.at + np.arange(num)
    return index


def _sent(
    records: UInt8[np.ndarray, "n unit"],
    routes: Sequence[Route],
    rank: int,
    first: int,
    shape: tuple[int, int, int],
) -> UInt8[np.ndarray, "ranks chunk unit"]:
    """What a rank sends to each in the round of places `first` to `first + chunk`."""
    sent = np.zeros(shape, np.uint8)
    for found in routes:
        transfer = found.transfer
        begin = max(found.at, first)
        end = min(found.at + transfer.stop - transfer.start, first + shape[1])
        if transfer.source == rank and begin < end:
            source = transfer.start + begin - found.at
            sent[transfer.destination, begin - first : end - first] = records[
                source : source + end - begin
            ]
    return sent


def _scatter(
    mesh: Mesh, make: Callable[[int], np.ndarray], shape: tuple[int, ...], dtype: Any
) -> jax.Array:
    """`[ranks, …]`, each rank's made by its own process."""
    num_ranks = len(ranks_of(mesh))
    placed = NamedSharding(mesh, PartitionSpec(RANK_AXES))
    cached = functools.lru_cache(None)(make)

    def part(at: tuple[slice, ...] | None) -> np.ndarray:
        rank = at[0].indices(num_ranks)[0] if at else 0
        return cached(rank)[None]

    return jax.make_array_from_callback((num_ranks, *shape), placed, part, dtype=dtype)


@functools.lru_cache(32)
def _functions(
    mesh: Mesh, record: Record, layout: Layout, extra: tuple[str, ...]
) -> tuple[Callable[..., jax.Array], Callable[..., dict[str, Any]]]:
    """(a round, records -> arrays), jitted."""
    spec = PartitionSpec(RANK_AXES)

    def take_round(
        result: jax.Array, sent: jax.Array, index: jax.Array, first: jax.Array
    ) -> jax.Array:
        received = jax.lax.all_to_all(sent[0], RANK_AXES, 0, 0, tiled=True)
        source, at = index[0, :, 0], index[0, :, 1] - first
        inside = (source >= 0) & (at >= 0) & (at < sent.shape[2])
        found = received[jnp.maximum(source, 0), jnp.clip(at, 0, sent.shape[2] - 1)]
        return jnp.where(inside[:, None], found, result[0])[None]

    def finish(result: jax.Array) -> dict[str, Any]:
        return unpack_records(record, result[0], layout)

    placed = {field.name: array_sharding(mesh, field.name) for field in record.fields}
    specs = {name: found.spec for name, found in placed.items()}
    shard = functools.partial(jax.shard_map, mesh=mesh, check_vma=False)
    rounds = shard(take_round, in_specs=(spec, spec, spec, PartitionSpec()), out_specs=spec)
    return (
        jax.jit(rounds, donate_argnums=0),
        jax.jit(shard(finish, in_specs=spec, out_specs=specs), out_shardings=placed),
    )


def _order(mesh: Mesh, layout: Layout) -> jax.Array:
    """The one array that is the same for all documents."""
    order = zigzag(layout.seq_len, layout.context).astype(np.int32)
    shape = (layout.global_groups, layout.rows, layout.seq_len)
    return jax.make_array_from_callback(
        shape, array_sharding(mesh, "order"), lambda at: np.broadcast_to(order, shape)[at]
    )
