"""Points in masks, and free places.

PointBench asks for a point on each of some things; its own score, the share of points inside of a
mask, grows when points are strewn over the picture. Here all must fit: as many points as things,
and one on each. Where2Place asks for a free place that a description fits.

A mask is, as in COCO, a list of polygons (its parts) in thousandths of the picture, or run lengths
{"size": [h, w], "counts": [...]}: pixels column by column, outside first.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from rl.answers.places import GRID, parse_box, parse_point, parse_points
from rl.types import Json

Polygon = Sequence[Sequence[float]]


def in_polygon(point: Sequence[float], polygon: Polygon) -> bool:
    """Whether a point is inside of a polygon or on its edge (even-odd rule)."""
    x, y = point
    inside = False
    for (x1, y1), (x2, y2) in pairwise((*polygon, polygon[0])):
        side = (x2 - x1) * (y - y1) - (y2 - y1) * (x - x1)
        if side == 0 and min(x1, x2) <= x <= max(x1, x2) and min(y1, y2) <= y <= max(y1, y2):
            return True
        if (y1 > y) != (y2 > y) and (side > 0) == (y2 > y1):
            inside = not inside
    return inside


def in_runs(point: Sequence[float], mask: Mapping[str, Json]) -> bool:
    """Whether the pixel that a point (thousandths) falls on is in a mask of run lengths."""
    height, width = mask["size"]
    column, row = (
        min(side - 1, int(value * side / GRID))
        for value, side in zip(point, (width, height), strict=True)
    )
    index, end, inside = column * height + row, 0, False
    for length in mask["counts"]:
        end += length
        if index < end:
            return inside
        inside = not inside
    return False


def in_mask(point: Sequence[float], mask: Json) -> bool:
    """Whether a point (thousandths) is in a mask, however it is written."""
    if isinstance(mask, Mapping):
        return in_runs(point, mask)
    return any(in_polygon(point, part) for part in mask)


def on_each(answer: str, reference: Mapping[str, Json]) -> float:
    """1 where there are as many points as masks and each mask has a point of its own, else 0.

    Args:
        answer: points in thousandths, and nothing else.
        reference: "masks": one of each thing that was asked for.
    """
    said = parse_points(answer)
    masks = reference["masks"]
    if not said or len(said) != len(masks):
        return 0.0
    hits = [[i for i, mask in enumerate(masks) if in_mask(point, mask)] for point in said]
    return float(_all_matched(hits))


def free_place(answer: str, reference: Mapping[str, Json]) -> float:
    """1 where a point, or a whole box, lies in a region and touches nothing in it, else 0.

    Args:
        answer: a point, or a box where "size" is given; in thousandths.
        reference: "region": a polygon; "taken": polygons of what stands about; "size": [w, h] that
            the box must have at least.
    """
    if "size" not in reference:
        point = parse_point(answer)
        if point is None or not in_polygon(point, reference["region"]):
            return 0.0
        return float(not any(in_polygon(point, taken) for taken in reference["taken"]))
    box = parse_box(answer)
    if (
        box is None
        or box[2] - box[0] < reference["size"][0]
        or box[3] - box[1] < reference["size"][1]
    ):
        return 0.0
    import shapely

    place = shapely.box(*box)
    if not shapely.Polygon(reference["region"]).covers(place):
        return 0.0
    return float(not any(shapely.Polygon(taken).intersects(place) for taken in reference["taken"]))


def _all_matched(hits: Sequence[Sequence[int]]) -> bool:
    """Whether each point can have a mask of its own (augmenting paths)."""
    owner: dict[int, int] = {}

    def place(point: int, seen: set[int]) -> bool:
        for mask in hits[point]:
            if mask not in seen:
                seen.add(mask)
                if mask not in owner or place(owner[mask], seen):
                    owner[mask] = point
                    return True
        return False

    return all(place(point, set()) for point in range(len(hits)))
