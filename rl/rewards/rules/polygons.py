"""Polygons: intersection over union of areas, as segmentation is judged (RefCOCO's mIoU).

A polygon that crosses itself has no area to speak of and is worth nothing; it is not mended.
"""

from collections.abc import Mapping, Sequence

from rl.answers.places import parse_polygon
from rl.rewards.rules.boxes import GATE, gated
from rl.types import Json


def iou(one: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> float:
    """Shared area over the area of both; 0 where one of them is not simple or has no area."""
    import shapely

    first, second = shapely.Polygon(one), shapely.Polygon(other)
    if not (first.is_valid and second.is_valid) or first.area <= 0 or second.area <= 0:
        return 0.0
    if first.equals(second):
        return 1.0
    shared = first.intersection(second).area
    return shared / (first.area + second.area - shared)


def polygon(answer: str, reference: Mapping[str, Json]) -> float:
    """The IoU with reference["polygon"] from reference["gate"] (0.5 if not given) on, else 0.

    Args:
        answer: three points or more in thousandths, along the outline, and nothing else.
        reference: "polygon": the outline in thousandths.
    """
    said = parse_polygon(answer)
    if said is None:
        return 0.0
    return gated(iou(said, reference["polygon"]), reference.get("gate", GATE))
