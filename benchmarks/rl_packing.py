"""Joint packing of RL samples by tokens and ViT patches, against packing by length alone.

    python -m benchmarks.rl_packing [--num=10000] [--json=FILE]

Samples are draws of (length, pictures): lengths lognormal with deviation 1.2; text, one picture,
several pictures, or frames of a video. Packers by length see tokens only, as RL trainers do
(first-fit decreasing; Karmarkar-Karp differencing into as few sets as first-fit needed), so a
micro-batch may have more patches than there is room for: that is an out-of-memory error of the
vision tower. Bytes of dispatch are of real arrays and pickles, multiplied out.
"""

import argparse
import heapq
import itertools
import json
import pickle
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from mmtp.data.encoded import Encoded, Visual
from mmtp.data.planner import Room, Size
from rl import balance, packing
from rl.balance import Cost
from rl.batch_arrays import PackingSettings, make_layout
from rl.batching import Packed, plan_rows, token_values
from rl.dispatch_records import record_of

TOKENS = PATCHES = 16384  # of a micro-batch
RANKS = 8


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--num", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", help="write the rows to this file too")
    args = parser.parse_args()
    sizes = draw_sizes(args.num, args.seed)
    rows = packing_rows(sizes)
    show(rows, f"{args.num} samples, micro-batches of {TOKENS} tokens and {PATCHES} patches")
    moved = dispatch_rows(args.seed)
    show(moved, "dispatch of a step of 2,048 samples to 64 ranks")
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump({"status": "measured", "packing": rows, "dispatch": moved}, file, indent=1)


def draw_sizes(num: int, seed: int) -> list[Size]:
    """30% text, 35% with one picture, 20% with 2 to 8, 15% with 8 to 32 frames of a video."""
    rng = np.random.default_rng(seed)
    counts = ((0, 0), (1, 1), (2, 8), (8, 32))
    sizes = []
    for text in np.clip(np.exp(rng.normal(6.2, 1.2, num)), 8, 12288).astype(int).tolist():
        low, high = counts[rng.choice(4, p=(0.3, 0.35, 0.2, 0.15))]
        largest = 1024 if high == 1 else 256
        pictures = (4 * rng.integers(32, largest + 1, rng.integers(low, high + 1))).tolist()
        while sum(pictures) > PATCHES or text + sum(pictures) // 4 > TOKENS:
            pictures.pop()
        sizes.append(Size(text + sum(pictures) // 4, tuple(pictures)))
    return sizes


def packing_rows(sizes: Sequence[Size]) -> list[dict[str, Any]]:
    """One row per way to pack."""
    room = Room(1, 1, TOKENS, 1, PATCHES)
    cost = model_cost()
    began = time.perf_counter()
    packed = packing.pack(sizes, room)
    seconds = time.perf_counter() - began
    groups = -(-packed.num_groups // RANKS) * RANKS
    even = balance.spread(sizes, packed, room, groups, cost)
    lengths = [s.tokens for s in sizes]
    by_length = first_fit(lengths, TOKENS)
    # With the same number of micro-batches as ours, the comparison most in favour of lengths.
    sets = differencing(lengths, len(by_length))
    same = differencing(lengths, groups)
    found = {
        f"joint ({seconds:.1f} s)": packed.members(),
        "joint, spread by cost": even.members(),
        "length only, first-fit decreasing": by_length,
        "length only, Karmarkar-Karp": sets,
        "length only, Karmarkar-Karp, as many as joint": same,
    }
    rows = [row_of(name, sizes, members, cost) for name, members in found.items()]
    for row in rows[:2]:
        row |= {"lower bound": packed.lower, "proven bound": packed.upper}
    return rows


def row_of(
    name: str, sizes: Sequence[Size], members: Sequence[Sequence[int]], cost: Cost
) -> dict[str, Any]:
    """Figures of a packing: micro-batches, overflows, and ranks that wait for each other."""
    totals = packing.totals_of(sizes)
    tokens, patches = (
        np.asarray([sum(totals[i, dim] for i in m) for m in members]) for dim in (0, 1)
    )
    costs = np.asarray([sum(cost.of(sizes[i]) for i in m) for m in members])
    padded = np.zeros(-(-len(members) // RANKS) * RANKS)
    padded[: len(costs)] = costs
    turns = padded[balance.arrange(padded, RANKS)]
    return {
        "packer": name,
        "micro-batches": len(members),
        "lower bound": "",
        "proven bound": "",
        "too many tokens": int((tokens > TOKENS).sum()),
        "too many patches": int((patches > PATCHES).sum()),
        "most patches / room": round(float(patches.max() / PATCHES), 2),
        "patches max / mean": round(float(patches.max() / patches.mean()), 2),
        "cost max / mean": round(float(costs.max() / costs.mean()), 2),
        "time of turns / mean": round(float(turns.max(axis=0).sum() / turns.mean(axis=0).sum()), 3),
    }


def first_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """First-fit decreasing by length."""
    free, members = np.zeros(len(lengths), np.int64), []
    for item in np.argsort(-np.asarray(lengths), kind="stable").tolist():
        fits = np.flatnonzero(free[: len(members)] >= lengths[item])
        index = int(fits[0]) if len(fits) else len(members)
        if index == len(members):
            members.append([])
            free[index] = capacity
        members[index].append(item)
        free[index] -= lengths[item]
    return members


def differencing(lengths: Sequence[int], num: int) -> list[list[int]]:
    """The largest differencing method of Karmarkar and Karp (1982) into `num` sets."""
    # A partial solution: sums, ascending, and what is in each; only its differences matter.
    count = itertools.count()
    heap = []
    for item, length in enumerate(lengths):
        heap.append((-length, next(count), [(length, [item])]))  # sets that are empty left out
    heapq.heapify(heap)
    while len(heap) > 1:
        _, _, first = heapq.heappop(heap)
        _, _, second = heapq.heappop(heap)
        merged = _merge(first, second, num)
        spread = merged[-1][0] - (merged[0][0] if len(merged) == num else 0)
        heapq.heappush(heap, (-spread, next(count), merged))
    return [items for _, items in heap[0][2]]


def _merge(first: list[Any], second: list[Any], num: int) -> list[Any]:
    """Largest of one with smallest of the other, and so on."""
    empty = num - len(first) - len(second)
    if empty >= 0:  # all can keep a set of their own
        return sorted([*first, *second], key=lambda s: s[0])
    overlap = -empty  # sets that have to be shared
    # `second`'s largest meet `first`'s smallest.
    joined = [
        (a[0] + b[0], [*a[1], *b[1]])
        for a, b in zip(first[:overlap], reversed(second[-overlap:]), strict=False)
    ]
    rest = [*first[overlap:], *second[: len(second) - overlap]]
    return sorted([*joined, *rest], key=lambda s: s[0])


def model_cost() -> Cost:
    """Of a decoder of 8B and CogViT-L, as shares of a token: only ratios matter."""
    width, layers, mlp, heads, head_dim, vocab = 4096, 36, 12288, 32, 128, 151_552
    token = layers * (2 * width * (2 * heads + 16) * head_dim + 6 * width * mlp) + 2 * width * vocab
    vision, blocks = 1024, 24
    patch = blocks * 2 * (4 * vision**2 + 3 * vision * 4096)
    return Cost(
        token=1.0,
        pair=4 * layers * heads * head_dim / token,
        patch=patch / token,
        patch_pair=4 * blocks * vision / token,
    )


def dispatch_rows(seed: int) -> list[dict[str, Any]]:
    """Bytes of a step of 2,048 samples on 64 ranks; each is built and pickled."""
    ranks, num = 64, 2048
    settings = PackingSettings(seq_len=TOKENS, vision_row_length=PATCHES)
    layout = make_layout(settings, num_shards=ranks, patch_dim=588, image_token=7)
    sizes = draw_sizes(num, seed + 1)
    plan = plan_rows(sizes, layout, cost=model_cost())
    text, patch = (record_of(stream, plan.layout).unit for stream in ("text", "image"))
    objects = [len(pickle.dumps(make_object(size))) for size in sizes]
    tokens = sum(s.tokens for s in sizes)
    patches = sum(s.patches for s in sizes)
    whole = tokens * text + patches * patch
    home = np.random.default_rng(seed).integers(0, ranks, num)
    turns = plan.num_microbatches
    away = sum(
        s.tokens * text + s.patches * patch
        for s, place, source in zip(sizes, plan.places, home, strict=True)
        if place.group // turns != source
    )
    gb = 1e9
    own = turns * (TOKENS * text + PATCHES * patch)
    gathered = max(np.bincount(home, weights=objects, minlength=ranks)) * ranks
    return [
        {
            "what": "pickled objects, all-gathered on the device, padded to the longest",
            "buffer per rank, GB": round(gathered / gb, 2),
            "received per rank, GB": round(sum(objects) * (ranks - 1) / ranks / gb, 3),
        },
        {
            "what": "arrays of the whole batch on each rank, split in the forward pass",
            "buffer per rank, GB": round(whole / gb, 3),
            "received per rank, GB": round(whole * (ranks - 1) / ranks / gb, 3),
        },
        {
            "what": "records by all-to-all, 1 MiB per pair and round; objects stay on their host",
            "buffer per rank, GB": round(2 * ranks * (1 << 20) / gb, 3),
            "received per rank, GB": round(away / ranks / gb, 3),
        },
        {
            "what": f"(what is left on a rank: its {turns} micro-batches)",
            "buffer per rank, GB": round(own / gb, 3),
            "received per rank, GB": "",
        },
    ]


def make_object(size: Size) -> dict[str, Any]:
    """What a trainer that keeps samples as Python objects sends: arrays, text and metadata."""
    visuals, start = [], 0
    for num in size.pictures:
        visuals.append(Visual(np.zeros((num, 588), np.uint8), (2, num // 2), start))
        start += num // 4
    n = size.tokens
    zeros = np.zeros(n, np.float32)
    document = Encoded(np.zeros(n, np.int32), np.zeros(n, bool), tuple(visuals), 0, "sample")
    packed = Packed(document, np.zeros(n, bool), zeros, zeros, np.zeros(n, np.int32))
    return {"sample": packed, "values": token_values(packed, 0), "text": "word " * n}


def show(rows: Sequence[dict[str, Any]], title: str) -> None:
    """As a table."""
    table = Table(*rows[0], title=title)
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console(width=200).print(table)


if __name__ == "__main__":
    main()
