"""Layouts of pages: boxes of blocks and the order in which they are read.

After OmniDocBench, which scores detection and reading order apart. Here they are one answer, so
that boxes in no order, or an order of few boxes, are not half right.
"""

from collections.abc import Mapping, Sequence

from rl.rewards.rules.boxes import GATE, Detection, detections, iou
from rl.types import Json


def layout(answer: str, reference: Mapping[str, Json]) -> float:
    """(F1 + τ) / 2; 0 where F1 is below one half or Kendall's τ is not positive.

    F1 of blocks, matched one to one by equal label and IoU ≥ 0.5; τ of the order of the matched
    ones, of which there must be two.

    Args:
        answer: see `boxes.detections`; in reading order.
        reference: "blocks": the true list, of {"label", "bbox_2d"} in thousandths.
    """
    gold = [(block["label"], tuple(block["bbox_2d"])) for block in reference["blocks"]]
    said = detections(answer)
    if not said or len(said) * GATE > len(gold) * (2 - GATE):
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


def match(said: Sequence[Detection], gold: Sequence[Detection]) -> list[int]:
    """The true block of each matched one, in the order said: as many pairs as can be had."""
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    worth = np.array([[_worth(a, b) for b in gold] for a in said])
    rows, columns = linear_sum_assignment(-worth)
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    return [j for i, j in sorted(pairs) if worth[i, j] > 0]


def _worth(said: Detection, gold: Detection) -> float:
    """0 of no match; a match is worth more than any difference of overlaps."""
    overlap = iou(said[1], gold[1])
    return 1000 + overlap if said[0] == gold[0] and overlap >= GATE else 0.0
