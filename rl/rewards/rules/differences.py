"""Places of differences: boxes without names, matched one to one."""

from collections.abc import Mapping

from rl.answers.places import parse_boxes
from rl.rewards.rules import boxes
from rl.types import Json


def differences(answer: str, reference: Mapping[str, Json]) -> float:
    """F1 of the boxes that were said against reference["boxes"], from 0.5 on, else 0.

    A pair matches at IoU 0.5, each box once (Hungarian algorithm): a box over the whole picture
    matches nothing, and boxes that are said twice or everywhere count as false.
    """
    said = parse_boxes(answer)
    if not said:
        return 0.0
    ours = [("", box) for box in said]
    return boxes.gated(boxes.f1(ours, [("", box) for box in reference["boxes"]]))
