"""NaFlex batches of fixed shape: several pictures per row (packed), or one per row (padded).

Segment ids tell the pictures of a row apart: 0 is padding, k the picture in slot k of that row.
Rows are planned from token budgets, which are known before any picture is decoded, so that the
number of rows does not depend on the pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32, UInt8


@dataclass(frozen=True)
class RowPlan:
    """Which row, and which slot of it, each item goes to.

    Example:
        plan_rows((64, 256, 192), row_length=256)
        == RowPlan(rows=(1, 0, 1), slots=(2, 1, 1), num_rows=2, max_slots=2)

    Attributes:
        rows: row of each item, from 0.
        slots: place of each item within its row, from 1: its segment id.
        num_rows: rows in use.
        max_slots: most items in one row.
    """

    rows: tuple[int, ...]
    slots: tuple[int, ...]
    num_rows: int
    max_slots: int


def plan_rows(budgets: Sequence[int], row_length: int) -> RowPlan:
    """Assigns items to rows by first-fit decreasing.

    Uses at most 11/9 of the fewest possible rows, plus 6/9 (Dosa 2007). Ties keep their order, so
    equal budgets give an equal plan.

    Args:
        budgets: most tokens that each item can have, `[n]`.
        row_length: tokens per row.

    Raises:
        ValueError: a budget is below 1 or above `row_length`.
    """
    for item, budget in enumerate(budgets):
        if not 1 <= budget <= row_length:
            raise ValueError(
                f"budgets[{item}]={budget} does not fit a row of row_length={row_length} tokens; "
                "lower the budget or lengthen the rows"
            )
    rows, slots = np.zeros(len(budgets), int), np.zeros(len(budgets), int)
    free, used = np.full(len(budgets), row_length), np.zeros(len(budgets), int)
    for item in sorted(range(len(budgets)), key=lambda i: -budgets[i]):
        row = np.argmax(free >= budgets[item])  # the first row with room
        free[row] -= budgets[item]
        used[row] += 1
        rows[item], slots[item] = row, used[row]
    return RowPlan(
        rows=tuple(rows.tolist()),
        slots=tuple(slots.tolist()),
        num_rows=int(np.count_nonzero(used)),
        max_slots=int(used.max(initial=0)),
    )


def stretch(
    budgets: Sequence[int], plan: RowPlan, row_length: int, limit: float
) -> tuple[int, ...]:
    """Raises the budgets of each row in proportion, by at most the share `limit`, to fill it.

    Example:
        stretch((784, 128), plan_rows((784, 128), 1024), 1024, limit=0.25) == (880, 143)
    """
    loads = np.bincount(plan.rows, weights=budgets, minlength=plan.num_rows)
    factors = np.clip(row_length / loads, 1, 1 + limit)
    # The small term keeps a budget that should come out whole from being rounded below it.
    raised = np.floor(np.asarray(budgets) * factors[list(plan.rows)] + 1e-9)
    return tuple(int(b) for b in raised)


def pack(
    patches: Sequence[UInt8[np.ndarray, "_ d"]],
    positions: Sequence[Int32[np.ndarray, "_ 2"]],
    plan: RowPlan,
    row_length: int,
    num_slots: int,
) -> dict[str, np.ndarray]:
    """Lays pictures out in rows, in slot order and without gaps.

    Args:
        patches: one `[n_i, d]` per picture, n_i at most its budget.
        positions: one `[n_i, 2]` per picture.
        plan: from `plan_rows` with the pictures' budgets, in the same order.
        row_length: tokens per row.
        num_slots: slots per row in the model's output, at least `plan.max_slots`.

    Returns:
        patches: uint8 `[rows, row_length, d]`, 0 where padded.
        positions: int32 `[rows, row_length, 2]`, 0 where padded.
        segments: int32 `[rows, row_length]`, 0 where padded, else the slot.
        slots: int32 `[n]`, where picture i is found once the model's per-slot output
            `[rows, num_slots, ...]` is flattened to `[rows * num_slots, ...]`.

    Raises:
        ValueError: the plan is for another number of pictures or does not fit.
    """
    if len(plan.rows) != len(patches):
        raise ValueError(f"the plan is for {len(plan.rows)} pictures; got {len(patches)}")
    if plan.max_slots > num_slots:
        raise ValueError(f"num_slots={num_slots} is below the plan's {plan.max_slots} per row")
    batch = _empty_rows(patches, plan.num_rows, row_length)
    filled = [0] * plan.num_rows
    for item in sorted(range(len(patches)), key=lambda i: plan.slots[i]):
        row = plan.rows[item]
        start = filled[row]
        filled[row] = _write(batch, row, start, plan.slots[item], patches[item], positions[item])
    rows, slots = np.asarray(plan.rows, np.int32), np.asarray(plan.slots, np.int32)
    return {**batch, "slots": rows * num_slots + slots - 1}


def pad(
    patches: Sequence[UInt8[np.ndarray, "_ d"]],
    positions: Sequence[Int32[np.ndarray, "_ 2"]],
    row_length: int,
) -> dict[str, np.ndarray]:
    """Lays pictures out one per row, padded to `row_length`.

    Returns:
        patches, positions and segments as from `pack`, with segments 1 and, for padding, 0.

    Raises:
        ValueError: a picture has more than `row_length` patches.
    """
    batch = _empty_rows(patches, len(patches), row_length)
    for row, (patch, position) in enumerate(zip(patches, positions, strict=True)):
        _write(batch, row, 0, 1, patch, position)
    return batch


def waste(segments: Int32[np.ndarray, "*rows length"]) -> float:
    """The share of tokens that is padding, 0 to 1."""
    return float(np.mean(segments == 0))


def _empty_rows(patches: Sequence[np.ndarray], rows: int, length: int) -> dict[str, np.ndarray]:
    if not patches:
        raise ValueError("a batch needs at least one picture")
    return {
        "patches": np.zeros((rows, length, patches[0].shape[1]), np.uint8),
        "positions": np.zeros((rows, length, 2), np.int32),
        "segments": np.zeros((rows, length), np.int32),
    }


def _write(
    batch: dict[str, np.ndarray],
    row: int,
    start: int,
    segment: int,
    patches: np.ndarray,
    positions: np.ndarray,
) -> int:
    """Writes one picture into a row in place; returns where the next one starts."""
    stop, length = start + len(patches), batch["segments"].shape[1]
    if stop > length:
        raise ValueError(
            f"row {row} needs {stop} tokens but has {length}: a picture of {len(patches)} patches "
            "exceeds the budget its row was planned with"
        )
    batch["patches"][row, start:stop] = patches
    batch["positions"][row, start:stop] = positions
    batch["segments"][row, start:stop] = segment
    return stop
