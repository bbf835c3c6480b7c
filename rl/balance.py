"""Micro-batches of equal cost, and ranks of equal cost: which sample goes where after packing.

The report's balance is of compute and memory. Memory is the capacity of a micro-batch, which
packing keeps; compute is what is evened out here: samples over micro-batches, largest first into
the cheapest one with room, and micro-batches over ranks, as many to each.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from mmtp.data import planner
from mmtp.data.planner import Group, Place, Room, Size
from rl.packing import Packing


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a sample costs to compute, in any unit; see `rl.costs`.

    Attributes:
        token: of a token, attention aside.
        pair: of a pair of tokens that attend to each other, n (n + 1) / 2 in a sample.
        patch: of a patch in the vision tower and the projector, attention aside.
        patch_pair: of a pair of patches of one picture, p^2.
    """

    token: float = 1.0
    pair: float = 0.0
    patch: float = 1.0
    patch_pair: float = 0.0

    def of(self, size: Size) -> float:
        """Of a sample."""
        squares = sum(p * p for p in size.pictures)
        text = self.token * size.tokens + self.pair * size.tokens * (size.tokens + 1) / 2
        return text + self.patch * size.patches + self.patch_pair * squares


TOKENS = Cost()  # a patch costs as much as a token, attention nothing


def spread(
    sizes: Sequence[Size], packing: Packing, room: Room, num_groups: int, cost: Cost
) -> Packing:
    """The same samples over `num_groups` micro-batches, at least as many, of about equal cost.

    Samples go largest share first into the cheapest micro-batch with room. Where that leaves one
    out, which can be if there is hardly a micro-batch to spare, the packing is kept. Then samples
    move from the costliest micro-batch to cheaper ones while that lowers the maximum.

    Raises:
        ValueError: fewer micro-batches than the packing has.
    """
    if num_groups < packing.num_groups:
        raise ValueError(f"{packing.num_groups} micro-batches do not go into {num_groups}")
    costs = [cost.of(s) for s in sizes]
    places = _cheapest_first(sizes, costs, room, num_groups) or packing.places
    return dataclasses.replace(
        packing, places=_even_out(sizes, costs, room, places, num_groups), num_groups=num_groups
    )


def arrange(
    costs: Float[np.ndarray, " n"], num_ranks: int
) -> Int[np.ndarray, "ranks microbatches"]:
    """Which micro-batch each rank computes in each turn; n is a multiple of `num_ranks`.

    In turn m all ranks compute at once, and whoever is done waits. Micro-batches are sorted by cost
    and each turn takes the next `num_ranks`: the sum over turns of the costliest is the least there
    is, since the costliest of all turns are n / num_ranks different ones, and the m-th costliest of
    them cannot be below place (m - 1) num_ranks + 1 of the sorted costs. In a turn, the rank with
    the smallest sum so far gets the costliest. So sums of two ranks differ by at most the largest
    difference within a turn: of sums a <= b that get x >= y, the new difference is
    (x - y) - (b - a), between -(b - a) and x - y.
    """
    order = np.argsort(-np.asarray(costs), kind="stable").reshape(-1, num_ranks)
    sums = np.zeros(num_ranks)
    turns = []
    for turn in order:
        ranks = np.argsort(sums, kind="stable")
        taken = np.empty(num_ranks, np.int64)
        taken[ranks] = turn
        sums += np.asarray(costs)[taken]
        turns.append(taken)
    return np.stack(turns, axis=1)


def group_costs(
    sizes: Sequence[Size], packing: Packing, cost: Cost
) -> Float[np.ndarray, " groups"]:
    """Of each micro-batch."""
    costs = np.zeros(packing.num_groups)
    for size, place in zip(sizes, packing.places, strict=True):
        costs[place.group] += cost.of(size)
    return costs


def _cheapest_first(
    sizes: Sequence[Size], costs: Sequence[float], room: Room, num: int
) -> tuple[Place, ...] | None:
    groups = [Group.empty(room) for _ in range(num)]
    loads = np.zeros(num)
    places: dict[int, Place] = {}
    for item in sorted(range(len(sizes)), key=lambda i: -planner.share(sizes[i], room)):
        for index in np.argsort(loads, kind="stable").tolist():
            found = groups[index].place(sizes[item])
            if found is not None:
                places[item] = Place(index, *found)
                loads[index] += costs[item]
                break
        else:
            return None
    return tuple(places[i] for i in range(len(sizes)))


def _even_out(
    sizes: Sequence[Size],
    costs: Sequence[float],
    room: Room,
    places: Sequence[Place],
    num: int,
) -> tuple[Place, ...]:
    """Moves one sample at a time from the costliest group; each move lowers it."""
    placed = list(places)
    members: list[list[int]] = [[] for _ in range(num)]
    loads = np.zeros(num)
    for sample, place in enumerate(placed):
        members[place.group].append(sample)
        loads[place.group] += costs[sample]
    for _ in range(len(sizes)):
        source = int(loads.argmax())
        if not _move_one(sizes, costs, room, placed, members, loads, source):
            break
    return tuple(placed)


def _move_one(
    sizes: Sequence[Size],
    costs: Sequence[float],
    room: Room,
    placed: list[Place],
    members: list[list[int]],
    loads: np.ndarray,
    source: int,
) -> bool:
    """Whether a sample of group `source` found room where the larger of both loads is smaller."""
    for target in itertools.islice(np.argsort(loads, kind="stable").tolist(), 4):
        gap = loads[source] - loads[target]
        helps = [i for i in members[source] if 0 < costs[i] < gap]
        for item in sorted(helps, key=lambda i: abs(costs[i] - gap / 2)):
            kept = [i for i in members[source] if i != item]
            grown = [*members[target], item]
            found, rest = _refit(sizes, grown, room, target), _refit(sizes, kept, room, source)
            if found is None or rest is None:
                continue
            for sample, place in (*found, *rest):
                placed[sample] = place
            members[source], members[target] = kept, grown
            loads[source] -= costs[item]
            loads[target] += costs[item]
            return True
    return False


def _refit(
    sizes: Sequence[Size], samples: Sequence[int], room: Room, group: int
) -> list[tuple[int, Place]] | None:
    """Places of samples in one group of their own, or None."""
    alone = dataclasses.replace(room, groups=1)
    found = planner.plan([sizes[i] for i in samples], alone)
    moved = [
        (i, dataclasses.replace(p, group=group)) for i, p in zip(samples, found, strict=True) if p
    ]
    return moved if len(moved) == len(samples) else None
