"""The table that a run prints at its start: what becomes of each parameter."""

from collections.abc import Mapping
from typing import Any

import jax
from rich.table import Table

from cogvit_jax import tree


def routing_table(
    params: Any,
    groups: Any,
    algorithms: Any,
    matrices: Any,
    peaks: Mapping[str, float],
    rates: Any,
    shardings: Any,
) -> Table:
    """One row per parameter.

    Args:
        params: arrays or shapes; the next three are trees like it.
        groups, algorithms, matrices: group, "muon" | "adamw" | "frozen", and such as
            `24 of 1024×4096` or "".
        peaks: group -> peak learning rate.
        rates: tree of weight decay rates.
        shardings: tree of NamedSharding, or None where nobody has placed the parameters.
    """
    table = Table(title="Optimizer routing and sharding", title_justify="left")
    right = ("peak lr", "decay")
    columns = ("parameter", "shape", "group", "algorithm", "matrices", *right, "mesh axes")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", no_wrap=True)
    named = tree.named_leaves(params)
    specs = ["" if shardings is None else _spec(s) for s in jax.tree.leaves(shardings)]
    rest = (jax.tree.leaves(t) for t in (groups, algorithms, matrices, rates))
    for (name, x), group, algorithm, matrix, rate, spec in zip(
        named, *rest, specs or [""] * len(named), strict=True
    ):
        frozen = algorithm == "frozen"
        table.add_row(
            name,
            "×".join(map(str, x.shape)) or "scalar",
            group,
            algorithm,
            matrix,
            "" if frozen else f"{peaks[group]:g}",
            "" if frozen else f"{rate:g}",
            spec,
        )
    return table


def _spec(sharding: Any) -> str:
    """Such as `-, fsdp, tensor`: a mesh axis per array dim; "" where every device has it all."""
    if not any(sharding.spec):
        return ""
    return ", ".join("-" if axis is None else str(axis) for axis in sharding.spec)
