"""How few micro-batches there can be, and how many there are at most, from sizes alone.

A micro-batch is a group of `mmtp.data.planner`: R rows of tokens and W rows of patches. Both bounds
are of *vector* packing: a micro-batch is full when either of its two sizes is.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from mmtp.data.planner import Room, Size


def lower_bound(sizes: Sequence[Size], room: Room) -> int:
    """No packing has fewer micro-batches: the largest of four bounds, each of a relaxation.

    Tokens as one-dimensional items in rows, R rows to a micro-batch; pictures in rows of patches, W
    to a micro-batch; and each sample's tokens, or patches, as one item of a whole micro-batch. Each
    is `dual_feasible`, which is never below ceil(sum / capacity).
    """
    tokens = np.asarray([s.tokens for s in sizes], np.int64)
    patches = np.asarray([s.patches for s in sizes], np.int64)
    pictures = np.asarray([p for s in sizes for p in s.pictures], np.int64)
    rows, vision_rows = room.rows, room.vision_rows
    return max(
        math.ceil(dual_feasible(tokens, room.row_length) / rows),
        math.ceil(dual_feasible(pictures, room.vision_row_length) / vision_rows),
        dual_feasible(tokens, rows * room.row_length),
        dual_feasible(patches, vision_rows * room.vision_row_length),
    )


def dual_feasible(items: Int[np.ndarray, " n"], capacity: int) -> int:
    """The bound L2 of Martello and Toth (1990) for one-dimensional bin packing.

    For a threshold k <= capacity / 2: items above capacity - k are alone (as far as items of k and
    more go), each item above capacity / 2 has a bin of its own, and what items from k up to
    capacity / 2 do not find room for beside those needs more bins. The best k is an item's size.
    """
    items = np.sort(np.asarray(items, np.int64))
    items = items[items > 0]
    if not len(items):
        return 0
    sums = np.concatenate([[0], np.cumsum(items)])
    half = int(np.searchsorted(items, capacity // 2, "right"))  # items[half:] are above the half
    ks = np.unique(np.concatenate([[0], items[:half]]))
    alone = np.searchsorted(items, capacity - ks, "right")  # items[alone:] > capacity - k
    alone = np.maximum(alone, half)
    first = np.searchsorted(items, ks, "left")  # items[first:half] are small ones of k and more
    middle = alone - half
    room = middle * capacity - (sums[alone] - sums[half])
    over = np.maximum(0, sums[half] - sums[first] - room)
    return int((len(items) - half + -(-over // capacity)).max())


def upper_bound(sizes: Sequence[Size], room: Room) -> int:
    """No packing in which any two micro-batches conflict (see `rl.packing.pack`) has more.

    Say a micro-batch i has loads (a_i, b_i), its tokens and patches over capacity. Groups i and j
    *conflict* when first-fit of the contents of both in one group fails for tokens, or for
    patches. Where it fails for tokens, first-fit has R + 1 stretches of which any two together are
    longer than a row, so that their sum is above (R + 1) / 2 rows: with a' = a 2R / (R + 1) and
    likewise b' = b 2W / (W + 1), a conflict means a'_i + a'_j > 1 or b'_i + b'_j > 1. (One row:
    a' = a.) Let A and B be the sums of a' and b', K = max(A, B), and n micro-batches.

    1. n <= max(1, ceil(2 S) - 1), where S is the sum over samples of max(a', b'): sums S_i over
       what is in i are at least a'_i and b'_i, so S_i + S_j > 1 for any two; added up around the
       circle of n >= 2, 2 S > n.
    2. n <= ceil(3 K). Let P be the groups with a' > 1/2 >= b', Q those with b' > 1/2 >= a', and Z
       those with both above 1/2, in numbers p, q, z; at most one has neither, since two such do
       not conflict. Say p >= q (else exchange tokens and patches), and pair each of Q with one of
       P. A pair conflicts in tokens and has another 1/2 of patches (its Q), or in patches and has
       another 1/2 of tokens (its P): a' + b' > 3/2. The rest of P has more than 1/2 each, Z more
       than 1 each: 3/2 q + (p - q) / 2 + z < A + B <= 2 K, so q + z < 2 K - p / 2. P and Z alone
       have (p + z) / 2 < A <= K. So p + q + z < 2 K + p / 2 < 3 K, and n < 3 K + 1.

    Both are against sums, so the second is also at most 3 times the optimum where rows are single.
    """
    if not sizes:
        return 0
    rows, vision_rows = room.rows, room.vision_rows
    row_factor, vision_factor = 2 * rows / (rows + 1), 2 * vision_rows / (vision_rows + 1)
    tokens, patches = _totals(sizes, room)
    both = max(row_factor * tokens, vision_factor * patches)
    capacity, vision = rows * room.row_length, vision_rows * room.vision_row_length
    total = sum(
        max(row_factor * s.tokens / capacity, vision_factor * s.patches / vision) for s in sizes
    )
    return max(1, min(math.ceil(3 * both), math.ceil(2 * total) - 1))


def _totals(sizes: Sequence[Size], room: Room) -> tuple[float, float]:
    """Tokens and patches, in micro-batches."""
    tokens = sum(s.tokens for s in sizes) / (room.rows * room.row_length)
    return tokens, sum(s.patches for s in sizes) / (room.vision_rows * room.vision_row_length)
