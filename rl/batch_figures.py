"""Figures of a packed batch for the log: how full, how even, and how many bytes."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from mmtp.data import packing as mmtp_packing
from mmtp.data.layout import ARRAYS, Layout
from mmtp.data.planner import Size
from rl import packing
from rl.batch_arrays import token_arrays


def figures_of(
    sizes: Sequence[Size],
    layout: Layout,
    num_shards: int,
    packed: packing.Packing,
    costs: Float[np.ndarray, "shards turns"],
) -> dict[str, float]:
    """Figures of a plan, all under `packing/`.

    `bins`: micro-batches that the packing needs, `lower_bound`: no packing has fewer, `groups`:
    what there is of them after rounding up, `fill_tokens`, `fill_patches`: shares of their capacity
    in use, `imbalance_ranks`: by how much the rank with most cost exceeds the mean,
    `imbalance_turns`: the same when ranks wait for each other after each micro-batch,
    `naive_bytes`: see `naive_bytes`.

    Args:
        sizes: of all samples.
        layout: of all micro-batches.
        num_shards: batch shards.
        packed: before it was spread.
        costs: of the micro-batches of each batch shard.
    """
    totals = packing.totals_of(sizes)
    full = packing.capacity(mmtp_packing.room_of(layout)) * layout.global_groups
    fill = totals.sum(axis=0) / full
    return {
        "packing/bins": float(packed.num_groups),
        "packing/lower_bound": float(packed.lower),
        "packing/groups": float(layout.global_groups),
        "packing/fill_tokens": float(fill[0]),
        "packing/fill_patches": float(fill[1]),
        "packing/imbalance_ranks": _excess(costs.sum(axis=1)),
        "packing/imbalance_turns": _excess_of(costs.max(axis=0).sum(), costs.mean(axis=0).sum()),
        "packing/naive_bytes": float(naive_bytes(totals, layout, num_shards)),
    }


def naive_bytes(totals: Int[np.ndarray, "n 2"], layout: Layout, num_shards: int) -> int:
    """What the same samples take, over all ranks, with one to a row that is padded to the longest,
    and all patches of the batch on every batch shard, as before a split in the forward pass.
    """
    text, patch = unit_bytes(layout)
    longest = int(totals[:, 0].max(initial=0))
    return text * len(totals) * longest + patch * int(totals[:, 1].sum()) * num_shards


def unit_bytes(layout: Layout) -> tuple[int, int]:
    """Bytes of all arrays per token, and per patch."""
    units = {"text": sum(np.dtype(t).itemsize for t in token_arrays().values()), "image": 0}
    for name, (dtype, dims) in ARRAYS.items():
        own = [d for d in dims[1:] if d not in ("tokens", "patches")]
        num = int(np.prod([layout.sizes[d] if isinstance(d, str) else d for d in own]))
        units["image" if name.startswith("image/") else "text"] += np.dtype(dtype).itemsize * num
    return units["text"], units["image"]


def _excess(loads: np.ndarray) -> float:
    """Share by which the largest exceeds the mean."""
    return _excess_of(loads.max(), loads.mean())


def _excess_of(most: float, mean: float) -> float:
    return float(most / mean - 1) if mean else 0.0
