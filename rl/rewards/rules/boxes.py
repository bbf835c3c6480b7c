"""Boxes in a picture: intersection over union, gated, and F1 of a detection.

RefCOCO counts a box from IoU 0.5 on; here the reward is the IoU itself from there on and 0 below.
COCO's detections are judged by F1 of a one-to-one matching. Boxes are areas of real numbers, so two
equal boxes have IoU 1 however small they are (whole pixels with a "+ 1" or without one give 0 for
equal boxes of 1 x 1 pixel, and divide by zero for empty ones). What is no box never gets this far:
NaN, infinity, boxes that are empty or turned inside out on one axis or both, and numbers somewhere
in a sentence are refused by `rl.answers`.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from rl.answers.json_answer import parse_json
from rl.answers.places import GRID, MAX_PLACES, Box, parse_box
from rl.types import Json

GATE = 0.5  # IoU, or F1, below which nothing is paid

Detection = tuple[str, Box]  # what it is and where


def iou(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union of two boxes (left, top, right, bottom); 0 where one is no box."""
    areas = _area(one), _area(other)
    if areas[0] <= 0 or areas[1] <= 0:
        return 0.0
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (areas[0] + areas[1] - shared)


def gated(value: float, gate: float = GATE) -> float:
    """The value from the gate on, 0 below it and for NaN; at most 1."""
    return min(1.0, value) if value >= gate else 0.0


def box(answer: str, reference: Mapping[str, Json]) -> float:
    """RefCOCO with partial credit: the IoU with reference["box"] from the gate on, else 0.

    Args:
        answer: one box in thousandths, and nothing else.
        reference: "box": [x1,y1,x2,y2] in thousandths; "gate": of the IoU, 0.5 if not given.
    """
    said = parse_box(answer)
    if said is None:
        return 0.0
    return gated(iou(said, reference["box"]), reference.get("gate", GATE))


def detections(answer: str) -> list[Detection] | None:
    """`[{"label": "…", "bbox_2d": [x1,y1,x2,y2]}, …]`, as GLM-V writes what it detects.

    Returns:
        What was found, with labels in lower case; [] for an empty list; None where it is anything
        else, has other keys, or has more than MAX_PLACES entries. Coordinates of one digit are
        coordinates (a pattern that needs two digits loses every box that has 0 … 9 in it).
    """
    value = parse_json(answer, max_depth=3)
    if not isinstance(value, list) or len(value) > MAX_PLACES:
        return None
    found: list[Detection] = []
    for entry in value:
        if not isinstance(entry, dict) or set(entry) != {"label", "bbox_2d"}:
            return None
        label, place = entry["label"], _box(entry["bbox_2d"])
        if not isinstance(label, str) or place is None:
            return None
        found.append((_name(label), place))
    return found


def detection(answer: str, reference: Mapping[str, Json]) -> float:
    """F1 of a one-to-one matching at IoU 0.5 with equal labels, from 0.5 on, else 0.

    Args:
        answer: see `detections`.
        reference: "objects": list of {"label", "bbox_2d"}, at least one; "iou": at which a box
            counts, 0.5 if not given; "gate": of the F1, 0.5 if not given.
    """
    said = detections(answer)
    if not said:
        return 0.0
    gold = [(_name(o["label"]), o["bbox_2d"]) for o in reference["objects"]]
    return gated(f1(said, gold, reference.get("iou", GATE)), reference.get("gate", GATE))


def f1(
    said: Sequence[Detection], gold: Sequence[tuple[str, Sequence[float]]], threshold: float = GATE
) -> float:
    """2 · matched / (said + gold); 1 where both are empty.

    The matching is the largest that there is (Hungarian algorithm), each box being used once: the
    same box said often counts once as found and otherwise as false.
    """
    if not said and not gold:
        return 1.0
    matched = 0
    ours, theirs = _by_label(said), _by_label(gold)
    for label, boxes in ours.items():
        matched += _matched(boxes, theirs.get(label, []), threshold)
    return 2 * matched / (len(said) + len(gold))


def _matched(
    ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]], threshold: float
) -> int:
    good = [[iou(one, other) >= threshold for other in theirs] for one in ours]
    if all(sum(row) <= 1 for row in good):  # who is matched is no question
        return len({row.index(True) for row in good if any(row)})
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    matrix = np.array(good, np.float64)
    rows, columns = linear_sum_assignment(matrix, maximize=True)
    return int(matrix[rows, columns].sum())


def _by_label(pairs: Sequence[tuple[str, Sequence[float]]]) -> dict[str, list[Sequence[float]]]:
    found: dict[str, list[Sequence[float]]] = defaultdict(list)
    for label, place in pairs:
        found[label].append(place)
    return found


def _name(label: str) -> str:
    return " ".join(label.split()).casefold()


def _area(place: Sequence[float]) -> float:
    """Of a box; 0 where it is turned inside out, on both axes too."""
    width, height = place[2] - place[0], place[3] - place[1]
    return width * height if width > 0 and height > 0 else 0.0


def _box(value: Json) -> Box | None:
    if not isinstance(value, list) or len(value) != 4:
        return None
    if any(type(number) is not int or not 0 <= number <= GRID for number in value):
        return None
    left, top, right, bottom = value
    return (left, top, right, bottom) if left < right and top < bottom else None
