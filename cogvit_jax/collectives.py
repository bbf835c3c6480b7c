"""Which mesh axes a compiled collective spans, and how long the interconnect needs for it.

Times are estimates: bytes over the bandwidth of all links of the torus axes that the group spans
(how-to-scale-your-model, jax-ml.github.io/scaling-book/sharding), plus a latency per hop. The
compiler's own cycle counts leave the interconnect out.
"""

import dataclasses
import itertools
import re
from collections.abc import Sequence

import numpy as np
from jax.sharding import Mesh

from cogvit_jax.hlo import Instruction
from cogvit_jax.topology import Chip

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "collective-permute", "all-to-all")
HOP_SECONDS = 1e-6  # latency of one hop, from the same book


@dataclasses.dataclass(frozen=True)
class Collective:
    """One collective of the schedule.

    Attributes:
        kind: one of KINDS.
        operand_bytes: per device, what goes in.
        groups: device numbers that talk to each other, one row per group; for a permute the
            (source, target) pairs.
        asynchronous: whether other work runs between its start and its end.
        window_cycles: cycles of that work.
        matmul_window_cycles: those of them in instructions with matrix products.
        op_name: the JAX operation.
        one_ring: the compiler lays it out as one ring through all devices, which uses two links of
            each however many torus axes there are.
        over_dcn: between slices, through the hosts' network.
        count: executions per step.
    """

    kind: str
    operand_bytes: int
    groups: tuple[tuple[int, ...], ...]
    asynchronous: bool
    window_cycles: float
    matmul_window_cycles: float
    op_name: str
    one_ring: bool = False
    over_dcn: bool = False
    count: float = 1

    @property
    def wire_bytes(self) -> float:
        """Bytes that each device sends, by the usual ring algorithms; between slices once what goes
        in.
        """
        if self.over_dcn:
            return self.operand_bytes
        n = len(self.groups[0]) if self.groups else 1
        share = (n - 1) / n
        factors = {
            "all-gather": n - 1,
            "all-reduce": 2 * share,
            "reduce-scatter": share,
            "all-to-all": share,
            "collective-permute": 1,
        }
        return self.operand_bytes * factors[self.kind]

    def axes(self, mesh: Mesh) -> str:
        """Mesh axes along which the devices of a group differ: `data+fsdp`."""
        if self.over_dcn:
            return "dcn"
        if not self.groups:
            return ""
        places = np.array([np.unravel_index(i, mesh.devices.shape) for i in self.groups[0]])
        varying = [
            a for a, column in zip(mesh.axis_names, places.T, strict=True) if len(set(column)) > 1
        ]
        return "+".join(varying) or "none"

    def seconds(self, mesh: Mesh, chip: Chip) -> float:
        """Estimated time of one execution, if nothing else uses the links."""
        if self.over_dcn:
            return self.wire_bytes / chip.dcn_bandwidth
        if not self.groups or len(self.groups[0]) < 2:
            return 0.0
        devices = mesh.devices.flat
        torus = _torus(mesh.devices.flat, chip)
        if self.kind == "collective-permute":
            hops = [sum(_distances(devices[s], devices[t], torus)) for s, t in self.groups]
            return self.operand_bytes * max(1.0, float(np.mean(hops))) / chip.ici_bandwidth + (
                HOP_SECONDS * max(hops)
            )
        return _group_seconds(self, [devices[i] for i in self.groups[0]], torus, chip)


def _group_seconds(
    collective: Collective, members: Sequence, torus: Sequence[tuple[int, bool]], chip: Chip
) -> float:
    coords = np.array([d.coords for d in members])
    links, hops, crossed = 0, 0.0, 0.0
    for dim, (size, wraps) in enumerate(torus):
        extent = int(np.ptp(coords[:, dim])) + 1
        if extent < 2:
            continue
        ring = wraps and extent > size - max(size // len(set(coords[:, dim])), 1)
        links += 2 if ring else 1
        hops += extent / 2 if ring else extent
        crossed += extent / 4  # links that a message to a random member crosses, both ways at once
    if not links:  # the cores of one chip
        return 0.0
    if collective.one_ring:
        links, hops = min(links, 2), len(members) / 2
    latency = HOP_SECONDS * hops
    if collective.kind == "all-to-all":
        return collective.operand_bytes * crossed / (links * chip.ici_bandwidth) + latency
    passes = 2 if collective.kind == "all-reduce" else 1
    return collective.wire_bytes / (links * chip.ici_bandwidth) + passes * latency


def _torus(devices, chip: Chip) -> list[tuple[int, bool]]:
    """(size, whether it wraps round) per axis: 2-D pods wrap at 16, 3-D ones at multiples of 4."""
    sizes = np.array([d.coords for d in devices]).max(0) + 1
    wraps = (lambda n: n == 16) if chip.torus_dims == 2 else (lambda n: n % 4 == 0)
    return [(int(n), wraps(int(n))) for n in sizes]


def _distances(a, b, torus: Sequence[tuple[int, bool]]) -> list[int]:
    found = []
    for x, y, (size, wraps) in zip(a.coords, b.coords, torus, strict=True):
        straight = abs(x - y)
        found.append(min(straight, size - straight) if wraps else straight)
    return found


def replica_groups(instruction: Instruction) -> tuple[tuple[int, ...], ...]:
    """Device numbers of each group, from any of the forms in which the compiler writes them."""
    pairs = instruction.attribute("source_target_pairs")
    text = pairs or instruction.attribute("replica_groups")
    if match := re.search(r"mesh\[([^\]]*)\]", text):
        return _mesh_groups(match[1], instruction.rest)
    if match := re.match(r"\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", text):
        shape, order = _numbers(match[1]), match[3]
        ids = _iota(_numbers(match[2]), order).reshape(shape)
        return tuple(map(tuple, ids.tolist()))
    found = re.findall(r"\{([\d,]+)\}", text)
    return tuple(tuple(_numbers(group)) for group in found)


def _mesh_groups(axes: str, rest: str) -> tuple[tuple[int, ...], ...]:
    """Groups written as `mesh['a'=2,'b'=4], device_ids=([4,2]T(1,0)) {'b'}`."""
    sizes = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", axes)}
    match = re.search(
        r"mesh\[[^\]]*\](?:, device_ids=\(\[([\d,]+)\](?:T\(([\d,]+)\))?\))? ?\{([^}]*)\}", rest
    )
    if not match:
        return ()
    shape = list(sizes.values())
    order = _iota(_numbers(match[1]), match[2]) if match[1] else np.arange(np.prod(shape))
    along = re.findall(r"'(\w+)'", match[3])
    names = list(sizes)
    kept = [i for i, name in enumerate(names) if name not in along]
    moved = np.transpose(order.reshape(shape), [*kept, *(names.index(a) for a in along)])
    groups = moved.reshape(-1, int(np.prod([sizes[a] for a in along])))
    return tuple(map(tuple, groups.tolist()))


def _iota(dims: Sequence[int], order: str | None) -> np.ndarray:
    ids = np.arange(np.prod(dims)).reshape(dims)
    return (np.transpose(ids, _numbers(order)) if order else ids).reshape(-1)


def _numbers(text: str) -> list[int]:
    return [int(n) for n in text.split(",") if n]


def summarize(collectives: Sequence[Collective], mesh: Mesh) -> list[dict]:
    """Rows (kind, mesh axes, asynchronous) -> executions and bytes sent per device and step."""

    def key(c: Collective) -> tuple[str, str, bool]:
        return c.kind, c.axes(mesh), c.asynchronous

    rows = []
    for (kind, axes, asynchronous), same in itertools.groupby(sorted(collectives, key=key), key):
        members = list(same)
        rows.append(
            {
                "kind": kind,
                "axes": axes,
                "asynchronous": asynchronous,
                "count": sum(c.count for c in members),
                "bytes": sum(c.count * c.wire_bytes for c in members),
            }
        )
    return rows
