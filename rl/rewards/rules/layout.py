"""Layouts of pages: boxes of blocks and the order in which they are read.

After OmniDocBench, which scores detection and reading order apart. Here they are one answer, so
that boxes in no order, or an order of few boxes, are not half right.
"""

from collections.abc import Mapping, Sequence

from rl.answers.json_answer import parse_json
from rl.answers.places import GRID, Box
from rl.types import Json

IOU = 0.5
GATE = 0.5

Block = tuple[str, Box]


def layout(answer: str, reference: Mapping[str, Json]) -> float:
    """(F1 + τ) / 2; 0 where F1 is below one half or Kendall's τ is not positive.

    F1 of blocks, matched one to one by equal type and IoU ≥ 0.5; τ of the order of the matched
    ones, of which there must be two.

    Args:
        answer: a JSON list of {"type": …, "box": [x1, y1, x2, y2]} in reading order, thousandths.
        reference: "blocks": the true list.
    """
    gold, said = parse_blocks(reference["blocks"]), parse_blocks(parse_json(answer))
    if not gold or not said or len(said) * GATE > len(gold) * (2 - GATE):
        return 0.0  # so many that the gate is out of reach
    order = match(said, gold)
    f1 = 2 * len(order) / (len(said) + len(gold))
    tau = kendall_tau(order)
    return (f1 + tau) / 2 if f1 >= GATE and tau > 0 else 0.0


def kendall_tau(order: Sequence[int]) -> float:
    """(concordant − discordant) / pairs of different numbers; 0 of fewer than two."""
    count = len(order)
    if count < 2:
        return 0.0
    signs = [1 if order[i] < order[j] else -1 for j in range(count) for i in range(j)]
    return sum(signs) / len(signs)


def match(said: Sequence[Block], gold: Sequence[Block]) -> list[int]:
    """The true block of each matched one, in the order said: as many pairs as can be had."""
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    worth = np.array([[_worth(a, b) for b in gold] for a in said])
    rows, columns = linear_sum_assignment(-worth)
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    return [j for i, j in sorted(pairs) if worth[i, j] > 0]


def parse_blocks(value: Json) -> list[Block] | None:
    """The blocks of a JSON list; None where an item is anything else, or its box is empty."""
    if not isinstance(value, list):
        return None
    blocks = [_block(item) for item in value]
    found = [block for block in blocks if block is not None]
    return found if len(found) == len(blocks) else None


def iou(one: Box, other: Box) -> float:
    """Intersection over union."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0, width) * max(0, height)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return shared / (areas - shared)


def _block(item: Json) -> Block | None:
    if not isinstance(item, dict) or set(item) != {"type", "box"}:
        return None
    kind, box = item["type"], item["box"]
    if not isinstance(kind, str) or not isinstance(box, list) or len(box) != 4:
        return None
    if not all(type(n) is int and 0 <= n <= GRID for n in box):
        return None
    left, top, right, bottom = box
    return (kind, (left, top, right, bottom)) if left < right and top < bottom else None


def _worth(said: Block, gold: Block) -> float:
    """0 of no match; a match is worth more than any difference of overlaps."""
    overlap = iou(said[1], gold[1])
    return 1000 + overlap if said[0] == gold[0] and overlap >= IOU else 0.0
