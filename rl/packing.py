"""Samples -> the fewest micro-batches that hold them, by tokens and by ViT patches at once.

A micro-batch is a group of `mmtp.data.planner`: rows of tokens and rows of patches. A sample goes
into one row of one group, with all of its pictures in rows of patches of the same group. Packing by
length alone leaves the number of patches to chance, so that some micro-batches run out of memory in
the vision tower while others have no picture (GLM-5V-Turbo's report, section 2.4).

Nothing is left out: a sample that fits no empty micro-batch is an error that names it.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int

from cogvit_jax.settings import ConfigError
from mmtp.data import planner
from mmtp.data.planner import Group, Place, Room, Size
from rl.packing_bounds import lower_bound, upper_bound


@dataclasses.dataclass(frozen=True)
class Packing:
    """Which group each sample is in, and where.

    Attributes:
        places: of every sample; `Place.group` counts from 0.
        num_groups: micro-batches, empty ones too.
        lower: no packing has fewer.
        upper: `pack` never makes more; see `packing_bounds.upper_bound`.
    """

    places: tuple[Place, ...]
    num_groups: int
    lower: int
    upper: int

    def members(self) -> list[list[int]]:
        """Samples of each group."""
        members: list[list[int]] = [[] for _ in range(self.num_groups)]
        for sample, place in enumerate(self.places):
            members[place.group].append(sample)
        return members


# name -> (shares of tokens, shares of patches) -> what to sort by, largest first.
Shares = Float[np.ndarray, " n"]
ORDERS: dict[str, Callable[[Shares, Shares], Shares]] = {
    "larger share": np.maximum,
    "both shares": np.add,
    "patches": lambda tokens, patches: patches + tokens * 1e-6,
    "tokens": lambda tokens, patches: tokens + patches * 1e-6,
}


def pack(sizes: Sequence[Size], room: Room, names: Sequence[str] = ()) -> Packing:
    """The fewest micro-batches found, at most `upper_bound(sizes, room)`: ceil(3 K) or less.

    Samples are placed one after the other, in each of the orders of ORDERS, in the first
    micro-batch that has room for both (and in the one that is left with least), and the best result
    counts. A sample opens a micro-batch only where no other has room for it, so any two conflict,
    which is all that the proof in `packing_bounds.upper_bound` needs: with one row of each kind, K
    is the larger of the sums of tokens and of patches, in micro-batches.

    Args:
        sizes: of samples, tokens and patches of each picture.
        room: of one micro-batch; its `groups` is not read.
        names: of samples, for errors.

    Raises:
        ConfigError: a sample is larger than a micro-batch.

    Example:
        pack([Size(6, (4,)), Size(4), Size(4, (4,))], Room(1, 1, 8, 1, 4)).num_groups == 2
    """
    check_fits(sizes, room, names)
    lower, upper = lower_bound(sizes, room), upper_bound(sizes, room)
    totals = totals_of(sizes)
    shares = totals / capacity(room)
    best: list[Place] | None = None
    fewest = 0
    for key in ORDERS.values():
        order = np.argsort(-key(shares[:, 0], shares[:, 1]), kind="stable")
        for tightest in (False, True):
            places, num = _fill(sizes, totals, order, room, tightest)
            if best is None or num < fewest:
                best, fewest = places, num
            if fewest == lower:
                break
        if fewest == lower:
            break
    return Packing(tuple(best or ()), fewest, lower, upper)


def check_fits(sizes: Sequence[Size], room: Room, names: Sequence[str] = ()) -> None:
    """Raises ConfigError where a sample is larger than an empty micro-batch."""
    for index, size in enumerate(sizes):
        if size.tokens > 0 and planner.fits_alone(size, room):
            continue
        name = names[index] if names else f"sample {index}"
        largest = max(size.pictures, default=0)
        if size.tokens < 1:
            problem = "has no tokens: leave it out of the batch"
        elif size.tokens > room.row_length:
            problem = (
                f"is longer than a row of {room.row_length} tokens: raise config.packing.seq_len, "
                "or lower the limit of a reply"
            )
        elif largest > room.vision_row_length:
            problem = (
                f"has a picture of {largest} patches, more than a row of "
                f"{room.vision_row_length}: raise config.packing.vision_row_length, or lower the "
                "largest size of pictures"
            )
        else:
            problem = (
                f"does not fit the {room.vision_rows} rows of {room.vision_row_length} patches of "
                "a micro-batch: raise config.packing.vision_rows, or lower the number of pictures"
            )
        raise ConfigError(
            f"{name} of {size.tokens} tokens and {len(size.pictures)} pictures with {size.patches} "
            f"patches {problem}."
        )


def totals_of(sizes: Sequence[Size]) -> Int[np.ndarray, "n 2"]:
    """Tokens and patches of each sample."""
    return np.asarray([(s.tokens, s.patches) for s in sizes], np.int64).reshape(-1, 2)


def capacity(room: Room) -> Int[np.ndarray, "2"]:
    """Tokens and patches of a micro-batch."""
    tokens = room.rows * room.row_length
    return np.asarray([tokens, room.vision_rows * room.vision_row_length], np.int64)


def _fill(
    sizes: Sequence[Size],
    totals: Int[np.ndarray, "n 2"],
    order: Int[np.ndarray, " n"],
    room: Room,
    tightest: bool,
) -> tuple[list[Place], int]:
    """First-fit, or best-fit, in an order: places, and the number of groups."""
    full = capacity(room)
    free = np.zeros((2, len(sizes)), np.int64)  # a row each: comparing rows is ten times faster
    groups: list[Group] = []
    places: dict[int, Place] = {}
    for item in order.tolist():
        tokens, patches = free[:, : len(groups)]
        fits = np.flatnonzero((tokens >= totals[item, 0]) & (patches >= totals[item, 1]))
        if tightest:
            left = tokens[fits] / full[0] + patches[fits] / full[1]
            fits = fits[np.argsort(left, kind="stable")]
        for index in itertools.chain(fits, (len(groups),)):
            if index == len(groups):
                groups.append(Group.empty(room))
                free[:, index] = full
            found = groups[index].place(sizes[item])
            if found is not None:
                free[:, index] -= totals[item]
                places[item] = Place(int(index), *found)
                break
    return [places[i] for i in range(len(sizes))], len(groups)
