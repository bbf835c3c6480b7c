"""Which group, row and place each document of a batch goes to, and each of its pictures.

A document takes a stretch of one row of tokens; its pictures go to rows of patches of the same
group. Documents are placed largest first, each in the group with the least to compute that has room
for both. So, if nothing is turned away for want of room, loads of groups differ by at most the
costliest document (Graham 1969, list scheduling). A document is left out only where no group has
room for it: a batch of text is then more than half full, since every row has at least one document
that is no smaller and yet too little room (first-fit decreasing).

Only sizes are read, so a plan for all hosts needs no more than their exchange.
"""

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Size:
    """Tokens of a document, and patches of each of its pictures."""

    tokens: int
    pictures: tuple[int, ...] = ()

    @property
    def patches(self) -> int:
        """Of all pictures."""
        return sum(self.pictures)


@dataclasses.dataclass(frozen=True)
class Room:
    """What there is to fill.

    Attributes:
        groups: number of groups.
        rows, row_length: rows of tokens per group, and tokens in each.
        vision_rows, vision_row_length: rows of patches per group, and patches in each.
        vision_cost: of a patch, relative to a token.
        padded: one document, or picture, per row.
    """

    groups: int
    rows: int
    row_length: int
    vision_rows: int
    vision_row_length: int
    vision_cost: float = 1.0
    padded: bool = False


@dataclasses.dataclass(frozen=True)
class Stretch:
    """Part of a row: its first place, and its segment id, from 1."""

    row: int
    start: int
    segment: int


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a document is, and its pictures, in their own order."""

    group: int
    text: Stretch
    pictures: tuple[Stretch, ...]


def plan(sizes: Sequence[Size], room: Room) -> tuple[Place | None, ...]:
    """The place of every document; None = left out. Equal sizes give equal plans.

    Example:
        plan([Size(3, (4,)), Size(5), Size(4)], Room(1, 1, 8, 1, 4))
        == (Place(0, Stretch(0, 0, 1), (Stretch(0, 0, 1),)), Place(0, Stretch(0, 3, 2), ()), None)
    """
    groups = [Group.empty(room) for _ in range(room.groups)]
    loads = [0.0] * room.groups
    places: list[Place | None] = [None] * len(sizes)
    for item in sorted(range(len(sizes)), key=lambda i: -share(sizes[i], room)):
        size = sizes[item]
        for group in sorted(range(room.groups), key=loads.__getitem__):
            found = groups[group].place(size)
            if found is not None:
                places[item] = Place(group, *found)
                loads[group] += cost(size, room)
                break
    return tuple(places)


def fits_alone(size: Size, room: Room) -> bool:
    """Whether an empty group has room for the document."""
    return Group.empty(room).place(size) is not None


def share(size: Size, room: Room) -> float:
    """How large a document is: the larger of its shares of a row of tokens and of the patches of a
    group.
    """
    vision = room.vision_rows * room.vision_row_length
    return max(size.tokens / room.row_length, size.patches / vision)


def cost(size: Size, room: Room) -> float:
    """What a document costs to compute, in tokens."""
    return size.tokens + room.vision_cost * size.patches


class _Rows:
    """Rows of one kind of one group, filled first-fit."""

    def __init__(self, num: int, length: int, padded: bool):
        self.length, self.padded = length, padded
        self.used, self.counts = [0] * num, [0] * num

    def find(self, sizes: Sequence[int]) -> list[int] | None:
        """Rows for all of `sizes`, placed in this order, or None; changes nothing."""
        used, counts, found = self.used.copy(), self.counts.copy(), []
        for size in sizes:
            for row, start in enumerate(used):
                if start + size <= self.length and not (self.padded and counts[row]):
                    break
            else:
                return None
            used[row] += size
            counts[row] += 1
            found.append(row)
        return found

    def add(self, row: int, size: int) -> Stretch:
        start = self.used[row]
        self.used[row] += size
        self.counts[row] += 1
        return Stretch(row, start, self.counts[row])


@dataclasses.dataclass(frozen=True)
class Group:
    """Rows of one group that are being filled, each document first-fit."""

    text: _Rows
    vision: _Rows

    @classmethod
    def empty(cls, room: Room) -> "Group":
        """Without any document."""
        text = _Rows(room.rows, room.row_length, room.padded)
        return cls(text, _Rows(room.vision_rows, room.vision_row_length, room.padded))

    def place(self, size: Size) -> tuple[Stretch, tuple[Stretch, ...]] | None:
        """Puts a document in, or returns None and leaves all as it was."""
        order = sorted(range(len(size.pictures)), key=lambda i: -size.pictures[i])
        text = self.text.find([size.tokens])
        vision = self.vision.find([size.pictures[i] for i in order])
        if text is None or vision is None:
            return None
        pictures = {
            i: self.vision.add(row, size.pictures[i]) for i, row in zip(order, vision, strict=True)
        }
        in_order = tuple(pictures[i] for i in range(len(order)))
        return self.text.add(text[0], size.tokens), in_order
