"""The batch that process 0 has built, on the devices of all processes that train it.

Alone, a process writes the arrays and puts them on its devices. Where there are several, process 0
has all samples and the others none:

    process 0, in the thread that builds    samples -> plan, records of bytes, outline
    all, by `rl.lead`                       the outline: sizes and places, a few numbers per sample
    all, together                           the rounds of `rl.dispatch`: each rank gets its part

So episodes, texts, pictures and verdicts stay on process 0, plans are made once, off the trainer's
thread, and what a device does not train is not sent to it. The exchange is one between all ranks,
of which only process 0's have anything to say: the others send padding of the same size. So
`Traffic.sent` is large beside what is needed, but all links are used alike and process 0's would
be waited for in any case; buffers are bounded, nothing waits for the devices, and there are neither
sockets nor second copies on any host.
"""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jax.sharding import Mesh

from cogvit_jax.program import BatchArrays
from mmtp.data.layout import Layout
from mmtp.data.planner import Place, Size, Stretch
from rl import batch_arrays, batching, dispatch
from rl.balance import Cost
from rl.batch_arrays import PackingSettings
from rl.batching import BatchPlan, Packed


@dataclass(frozen=True)
class Parcel:
    """A batch on process 0.

    Attributes:
        cargo: what only `Delivery.put` knows; stays here.
        outline: JSON that all processes need to know; None = nothing.
        figures: for the log.
    """

    cargo: Any
    outline: Any
    figures: dict[str, float]


Pack = Callable[[Sequence[Packed]], Parcel]


@dataclass(frozen=True)
class Delivery:
    """How batches get to the devices.

    Attributes:
        pack: samples -> a parcel; on process 0, in any thread.
        put: (cargo, or None on the other processes; outline) -> arrays on the devices and figures
            for the log; called by all processes, and waits for no device.
    """

    pack: Pack
    put: Callable[[Any, Any], tuple[BatchArrays, dict[str, float]]]


def within(mesh: Mesh, layout: Layout, packing: PackingSettings, cost: Cost) -> Delivery:
    """In one process: arrays are written, and put where they belong.

    Args:
        mesh: that trains.
        layout: of one micro-batch on all batch shards.
        packing, cost: how rows are filled, and what is balanced.
    """

    def pack(samples: Sequence[Packed]) -> Parcel:
        made = batching.collate(
            samples, layout, packing.microbatches, cost=cost, ladder=packing.ladder
        )
        return Parcel(made["arrays"], None, made["figures"])

    def put(cargo: Any, outline: Any) -> tuple[BatchArrays, dict[str, float]]:
        return batch_arrays.put_batch(mesh, cargo), {}

    return Delivery(pack, put)


def between(mesh: Mesh, layout: Layout, packing: PackingSettings, cost: Cost) -> Delivery:
    """From process 0 to all processes.

    Args:
        mesh, layout, packing, cost: as in `within`.

    Raises:
        ConfigError: the devices of a batch shard and context place belong to several processes.
    """
    route = functools.partial(_sources, mesh)
    route(())

    def pack(samples: Sequence[Packed]) -> Parcel:
        plan = batching.plan_samples(
            samples, layout, packing.microbatches, cost=cost, ladder=packing.ladder
        )
        sizes, extra = [s.size for s in samples], batching.extra_names(samples)
        loaded = dispatch.load(mesh, dict(enumerate(samples)), route(sizes), plan, extra)
        arrays = batch_arrays.shapes(layout, plan.num_microbatches, extra)
        num_bytes = sum(math.prod(s) * np.dtype(t).itemsize for s, t in arrays.values())
        figures = plan.figures | {"packing/bytes": float(num_bytes)}
        return Parcel(loaded, outline_of(sizes, plan, extra), figures)

    def put(cargo: Any, outline: Any) -> tuple[BatchArrays, dict[str, float]]:
        sizes, plan, extra = read_outline(outline, layout)
        sources = route(sizes)
        loaded = dispatch.load(mesh, {}, (), plan, extra) if cargo is None else cargo
        arrays, traffic = dispatch.move(mesh, loaded, sizes, sources, plan, extra=extra)
        figures = {
            "rl/dispatch/needed_megabytes": traffic.needed / 1e6,
            "rl/dispatch/sent_megabytes": traffic.sent / 1e6,
            "rl/dispatch/buffer_megabytes": traffic.buffer / 1e6,
        }
        return arrays, figures

    return Delivery(pack, put)


def outline_of(sizes: Sequence[Size], plan: BatchPlan, extra: tuple[str, ...]) -> dict[str, Any]:
    """What all processes need to know of a batch, as JSON.

    Args:
        sizes: of all samples.
        plan: of them.
        extra: names of their further arrays.
    """
    samples = []
    for size, place in zip(sizes, plan.places, strict=True):
        pictures = [_numbers(picture) for picture in place.pictures]
        patches = [int(number) for number in size.pictures]
        samples.append([int(size.tokens), patches, place.group, _numbers(place.text), pictures])
    return {"samples": samples, "microbatches": plan.num_microbatches, "extra": [*extra]}


def read_outline(
    outline: dict[str, Any], layout: Layout
) -> tuple[list[Size], BatchPlan, tuple[str, ...]]:
    """(sizes, plan without figures, names of further arrays) of an outline.

    Args:
        outline: from `outline_of`, also after it was sent.
        layout: of one micro-batch on all batch shards.
    """
    sizes = [Size(tokens, tuple(pictures)) for tokens, pictures, *_ in outline["samples"]]
    places = tuple(
        Place(group, Stretch(*text), tuple(Stretch(*picture) for picture in pictures))
        for _, _, group, text, pictures in outline["samples"]
    )
    number = outline["microbatches"]
    plan = BatchPlan(places, batch_arrays.enlarge(layout, number), number, {})
    return sizes, plan, tuple(outline["extra"])


def _numbers(place: Stretch) -> tuple[int, int, int]:
    return int(place.row), int(place.start), int(place.segment)


def _sources(mesh: Mesh, sizes: Sequence[Size]) -> list[int]:
    """The rank of process 0 that sends each sample."""
    return dispatch.choose_sources(sizes, [0] * len(sizes), mesh)
