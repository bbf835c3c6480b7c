"""Captions in rows of fixed shape: several per row (packed), or one per row (padded).

A row of 64 tokens per caption is mostly padding, since a caption has some 20 to 50. Packed rows
hold captions end to end, told apart by segment ids. How many rows there are is fixed beforehand
from the captions' mean length; where a batch has more tokens than that, its longest captions are
cut.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int


@dataclass(frozen=True)
class TextPlan:
    """Where each of n captions goes; all arrays are int `[n]`, in the captions' order.

    Attributes:
        groups: group, from 0; all groups have equally many captions.
        rows: row within the group.
        starts: column of the first token.
        segments: number within the row, from 1.
        lengths: tokens kept.
    """

    groups: Int[np.ndarray, "n"]
    rows: Int[np.ndarray, "n"]
    starts: Int[np.ndarray, "n"]
    segments: Int[np.ndarray, "n"]
    lengths: Int[np.ndarray, "n"]


def plan_texts(lengths: Sequence[int], num_groups: int, num_rows: int, row_length: int) -> TextPlan:
    """Deals captions to groups of equal number and nearly equal tokens, then to rows.

    Rows are filled by first-fit decreasing. What does not fit is made up for by cutting the
    longest captions of all groups, token by token, so that short ones stay whole.

    Args:
        lengths: tokens of each caption, `[n]`.
        num_groups: a divisor of n.
        num_rows: rows per group.
        row_length: tokens per row.

    Raises:
        ValueError: `num_groups` does not divide n, a caption is empty, or the rows have fewer
            tokens than a group has captions.
    """
    wanted = np.asarray(lengths)
    if not len(wanted) or len(wanted) % num_groups:
        raise ValueError(f"{len(wanted)} captions cannot be dealt evenly to {num_groups} groups")
    if wanted.min() < 1:
        raise ValueError(f"lengths[{wanted.argmin()}]={wanted.min()}: a caption has at least eos")
    size = len(wanted) // num_groups
    if num_rows * row_length < size:
        raise ValueError(f"{num_rows} rows of {row_length} tokens cannot hold {size} captions")
    target = num_groups * num_rows * row_length
    while True:
        kept = shorten(np.minimum(wanted, row_length), target)
        groups = _deal(kept, num_groups)
        rows, starts, segments = (np.zeros(len(kept), int) for _ in range(3))
        left_over = 0
        for group in range(num_groups):
            members = np.flatnonzero(groups == group)
            *places, missing = _fill(kept[members], num_rows, row_length)
            rows[members], starts[members], segments[members] = places
            left_over += missing
        if not left_over:
            return TextPlan(groups, rows, starts, segments, kept)
        target = int(kept.sum()) - left_over


def shorten(lengths: Int[np.ndarray, "n"], total: int) -> Int[np.ndarray, "n"]:
    """Cuts the longest, by as little as it takes, until all sum to at most `total` (>= n)."""
    if lengths.sum() <= total:
        return lengths
    levels = np.arange(1, lengths.max() + 1)
    sums = np.array([np.minimum(lengths, level).sum() for level in levels])
    level = levels[np.searchsorted(sums, total, side="right") - 1]
    kept = np.minimum(lengths, level)
    longer = np.flatnonzero(lengths > level)
    kept[longer[: total - kept.sum()]] += 1
    return kept


def pack_texts(
    captions: Sequence[Sequence[int]],
    plan: TextPlan,
    num_rows: int,
    row_length: int,
    pad_id: int,
) -> tuple[dict[str, np.ndarray], Int[np.ndarray, "n"]]:
    """Lays captions out as planned. A cut caption keeps its last token, which is eos.

    Returns:
        tokens, segments, positions: int32 `[g, num_rows, row_length]`: ids (`pad_id` where there
            is none), segment numbers (0 = padding) and places within the caption.
        slots: int32 `[g, n / g]`, `row * row_length + column` of each caption's last token.
        The order of the captions in `slots`: entry k of the flattened slots is caption `order[k]`.
    """
    num_groups = int(plan.groups.max()) + 1
    shape = (num_groups, num_rows, row_length)
    batch = {name: np.zeros(shape, np.int32) for name in ("segments", "positions")}
    batch["tokens"] = np.full(shape, pad_id, np.int32)
    for caption, *place, start, segment, length in zip(
        captions, plan.groups, plan.rows, plan.starts, plan.segments, plan.lengths, strict=True
    ):
        where = (*place, slice(start, start + length))
        batch["tokens"][where] = cut(caption, length)
        batch["segments"][where] = segment
        batch["positions"][where] = np.arange(length)
    order = np.argsort(plan.groups, kind="stable")
    last = plan.rows * row_length + plan.starts + plan.lengths - 1
    slots = last[order].reshape(num_groups, -1).astype(np.int32)
    return {**batch, "slots": slots}, order


def pad_texts(captions: Sequence[Sequence[int]], length: int, pad_id: int) -> dict[str, np.ndarray]:
    """One caption per row: tokens and segments, int32 `[n, length]`."""
    tokens = np.full((len(captions), length), pad_id, np.int32)
    segments = np.zeros(tokens.shape, np.int32)
    for row, caption in enumerate(captions):
        ids = cut(caption, length)
        tokens[row, : len(ids)] = ids
        segments[row, : len(ids)] = 1
    return {"tokens": tokens, "segments": segments}


def cut(caption: Sequence[int], length: int) -> list[int]:
    """At most `length` ids, of which the last stays (eos is sticky, as in SigLIP)."""
    return list(caption) if len(caption) <= length else [*caption[: length - 1], caption[-1]]


def _deal(lengths: np.ndarray, num_groups: int) -> np.ndarray:
    """The group of each: the longest first, to and fro, so that the sums stay close."""
    there = np.arange(num_groups)
    rounds = len(lengths) // num_groups
    turns = np.concatenate([there if i % 2 == 0 else there[::-1] for i in range(rounds)])
    groups = np.empty(len(lengths), int)
    groups[np.argsort(-lengths, kind="stable")] = turns
    return groups


def _fill(
    lengths: np.ndarray, num_rows: int, row_length: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """(rows, starts, segments, tokens that found no row) by first-fit decreasing."""
    rows, starts, segments = (np.zeros(len(lengths), int) for _ in range(3))
    used, count, missing = np.zeros(num_rows, int), np.zeros(num_rows, int), 0
    for item in np.argsort(-lengths, kind="stable"):
        fits = used + lengths[item] <= row_length
        row = fits.argmax()
        if not fits[row]:
            missing += int(lengths[item])
            continue
        rows[item], starts[item] = row, used[row]
        used[row] += lengths[item]
        count[row] += 1
        segments[item] = count[row]
    return rows, starts, segments, missing
