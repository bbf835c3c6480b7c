"""What a compiled step sends along each mesh axis.

    rows = ledger.count(compiled.as_text(), mesh)
    ledger.per_axis(rows)["stage"]

The groups and (source, target) pairs of every collective are mapped to the mesh axes along which
their devices differ; loops count as often as they run. A collective in a branch that only some
devices take counts as if it were taken each time: such rows are marked, and are upper bounds.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh

from cogvit_jax import hlo_cost
from cogvit_jax.collectives import Collective

PERMUTE = "collective-permute"


@dataclasses.dataclass(frozen=True)
class Row:
    """Collectives of one kind, along the same axes and of the same size.

    Attributes:
        axes: `stage`, or `data+fsdp` where a group differs in both; "none" where in no axis.
        kind: such as `collective-permute`.
        size: bytes that one device puts in, per execution.
        times: executions per step of one of them; more than 1 in a loop.
        count: executions per step of all of them.
        sent: bytes that one device sends per step, by the usual ring algorithms.
        in_branch: whether it stands in a conditional.
    """

    axes: str
    kind: str
    size: int
    times: float
    count: float
    sent: float
    in_branch: bool


def count(text: str, mesh: Mesh) -> list[Row]:
    """Everything that the program with this scheduled HLO sends, the most first."""
    found: dict[tuple, list[Collective]] = {}
    for collective in hlo_cost.analyse(text).collectives:
        in_branch = "branch_" in collective.op_name
        axes = spanned(collective, mesh)
        key = (axes, collective.kind, collective.operand_bytes, collective.count, in_branch)
        found.setdefault(key, []).append(collective)
    rows = [
        Row(axes, kind, size, times, times * len(same), sum(map(_sent, same)), in_branch)
        for (axes, kind, size, times, in_branch), same in found.items()
    ]
    return sorted(rows, key=lambda row: -row.sent)


def spanned(collective: Collective, mesh: Mesh) -> str:
    """Mesh axes along which devices of any group differ: `stage`, `data+fsdp`, or "none"."""
    if collective.over_dcn:
        return "dcn"
    differs = np.zeros(mesh.devices.ndim, bool)
    for group in collective.groups:
        places = np.array(np.unravel_index(group, mesh.devices.shape))
        differs |= (places != places[:, :1]).any(1)
    along = [axis for axis, is_so in zip(mesh.axis_names, differs, strict=True) if is_so]
    return "+".join(along) or "none"


def per_axis(rows: Sequence[Row]) -> dict[str, float]:
    """Bytes that one device sends per step along each axis (or axes)."""
    total: dict[str, float] = {}
    for row in rows:
        total[row.axes] = total.get(row.axes, 0.0) + row.sent
    return total


def hops(rows: Sequence[Row], axis: str) -> dict[str, Any]:
    """What goes from device to neighbour along an axis in a loop: executions, bytes of one, of all.

    In a pipeline an iteration sends forward what the next stage needs and, in the backward pass,
    its gradient. What is sent once per step is parameters on their way to another layout.
    """
    along = [r for r in rows if r.axes == axis and r.kind == PERMUTE and r.times > 1]
    return {
        "count": sum(row.count for row in along),
        "sizes": sorted({row.size for row in along}),
        "sent": sum(row.sent for row in along),
    }


def _sent(collective: Collective) -> float:
    return collective.count * collective.wire_bytes
