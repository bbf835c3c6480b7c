"""Boxes in space: intersection over union of volumes, as SUN RGB-D and Omni3D count them.

    IoU = V(A and B) / (V(A) + V(B) - V(A and B))

Exact, not sampled. Boxes that stand upright: the area that their footprints share (a convex
polygon) times the height that they share. All others: one box cut by the six planes of the other.
The order of the angles is part of the reference: the same nine numbers mean another box in another
order.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Float

from rl.answers.places3d import Box3D, box_of, parse_box_3d
from rl.rewards.rules.boxes import gated
from rl.types import Json

GATE = 0.25  # the looser of the usual thresholds, .25 and .5
_FLAT = 1e-9  # metres; nearer to a plane is on it

Points = Float[np.ndarray, "_ 3"]


def rotation(angles: Sequence[float], axes: str) -> Float[np.ndarray, "3 3"]:
    """The turn by the first angle about the first of the fixed axes, then the second, the third."""
    turned = np.eye(3)
    for angle, axis in zip(angles, axes, strict=True):
        first, second = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
        turn = np.eye(3)
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        turned = turn @ turned
    return turned


def corners(box: Box3D) -> Float[np.ndarray, "8 3"]:
    """The corners; number 4i + 2j + k has the sign of x by i, of y by j, of z by k."""
    signs = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)])
    half = signs * np.array(box.size) / 2
    return half @ rotation(box.angles, box.axes).T + np.array(box.middle)


def iou(one: Box3D, other: Box3D) -> float:
    """Intersection over union of two boxes."""
    if (one.middle, one.size, one.angles, one.axes) == (
        other.middle,
        other.size,
        other.angles,
        other.axes,
    ):
        return 1.0
    volumes = float(np.prod(one.size)), float(np.prod(other.size))
    shared = shared_upright(one, other) if _both_upright(one, other) else shared_volume(one, other)
    return min(1.0, shared / (volumes[0] + volumes[1] - shared))


def shared_upright(one: Box3D, other: Box3D) -> float:
    """Shared volume of two boxes that are turned about the same axis only, the last of `axes`."""
    up = "xyz".index(one.axes[-1])
    low, high = (
        pick(one.middle[up] + sign * one.size[up] / 2, other.middle[up] + sign * other.size[up] / 2)
        for pick, sign in ((max, -1), (min, 1))
    )
    if high <= low:
        return 0.0
    ours, theirs = _footprint(one, up), _footprint(other, up)
    for start, end in pairwise((*theirs, theirs[0])):
        ours = _left_of(ours, start, end)
    return (high - low) * abs(_area(ours))


def shared_volume(one: Box3D, other: Box3D) -> float:
    """Shared volume of any two boxes: the one cut by each plane of the other."""
    faces, turn = _faces(one), rotation(other.angles, other.axes)
    middle = np.array(other.middle)
    for axis in range(3):
        for sign in (-1, 1):
            normal = sign * turn[:, axis]
            faces = _cut(faces, normal, float(normal @ middle) + other.size[axis] / 2)
            if not faces:
                return 0.0
    return _volume(faces)


def box_3d(answer: str, reference: Mapping[str, Json]) -> float:
    """The IoU with the reference from the gate on, else 0; 0 for another label.

    Args:
        answer: `{"bbox_3d": [x,y,z,w,h,l,a1,a2,a3], "label": "…"}`, and nothing else.
        reference: "bbox_3d": nine numbers; "axes": what the angles turn about; "label": what it is;
            "gate": of the IoU, 0.25 if not given.
    """
    said = parse_box_3d(answer, reference["axes"])
    gold = box_of(reference["bbox_3d"], reference["label"], reference["axes"])
    if said is None or gold is None or said.label.strip().casefold() != gold.label.casefold():
        return 0.0
    return gated(iou(said, gold), reference.get("gate", GATE))


def _both_upright(one: Box3D, other: Box3D) -> bool:
    return one.axes[-1] == other.axes[-1] and not any((*one.angles[:2], *other.angles[:2]))


def _footprint(box: Box3D, up: int) -> list[tuple[float, float]]:
    """Corners of the base, in order, in the two axes that follow `up`."""
    first, second = (up + 1) % 3, (up + 2) % 3
    cos, sin = np.cos(box.angles[2]), np.sin(box.angles[2])
    found = []
    for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
        a, b = i * box.size[first] / 2, j * box.size[second] / 2
        found.append(
            (box.middle[first] + a * cos - b * sin, box.middle[second] + a * sin + b * cos)
        )
    return [(float(a), float(b)) for a, b in found]


def _left_of(
    polygon: Sequence[tuple[float, float]], start: tuple[float, float], end: tuple[float, float]
) -> list[tuple[float, float]]:
    """What of a convex polygon is to the left of a line (Sutherland and Hodgman)."""
    kept: list[tuple[float, float]] = []
    across = end[0] - start[0], end[1] - start[1]
    sides = [across[0] * (y - start[1]) - across[1] * (x - start[0]) for x, y in polygon]
    for i, here in enumerate(polygon):
        before, side, side_before = polygon[i - 1], sides[i], sides[i - 1]
        if (side >= 0) != (side_before >= 0):
            share = side_before / (side_before - side)
            x, y = (p + share * (q - p) for p, q in zip(before, here, strict=True))
            kept.append((x, y))
        if side >= 0:
            kept.append(here)
    return kept


def _area(polygon: Sequence[tuple[float, float]]) -> float:
    around = pairwise((*polygon, *polygon[:1]))
    return sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in around) / 2


def _faces(box: Box3D) -> list[Points]:
    places = corners(box)
    indices = ((0, 1, 3, 2), (4, 5, 7, 6), (0, 1, 5, 4), (2, 3, 7, 6), (0, 2, 6, 4), (1, 3, 7, 5))
    return [places[list(four)] for four in indices]


def _cut(faces: list[Points], normal: Float[np.ndarray, "3"], reach: float) -> list[Points]:
    """What of a convex solid is within a plane: normal · point <= reach; [] for nothing."""
    sides = [face @ normal - reach for face in faces]
    if all((side <= _FLAT).all() for side in sides):
        return faces
    if all((side >= -_FLAT).all() for side in sides):
        return []
    kept: list[Points] = []
    rim: list[Float[np.ndarray, "3"]] = []
    for face, side in zip(faces, sides, strict=True):
        ring: list[Float[np.ndarray, "3"]] = []
        for i in range(len(face)):
            if (side[i] > _FLAT and side[i - 1] < -_FLAT) or (
                side[i] < -_FLAT and side[i - 1] > _FLAT
            ):
                share = side[i - 1] / (side[i - 1] - side[i])
                ring.append(face[i - 1] + share * (face[i] - face[i - 1]))
                rim.append(ring[-1])
            if side[i] <= _FLAT:
                ring.append(face[i])
                if side[i] >= -_FLAT:
                    rim.append(face[i])
        if len(ring) >= 3:
            kept.append(np.array(ring))
    return [*kept, _ring(np.array(rim), normal)]


def _ring(points: Points, normal: Float[np.ndarray, "3"]) -> Points:
    """Points of a plane in order around their middle; the same point may come twice."""
    first = np.cross(normal, np.eye(3)[int(np.argmin(np.abs(normal)))])
    second = np.cross(normal, first)
    around = points - points.mean(0)
    return points[np.argsort(np.arctan2(around @ second, around @ first), kind="stable")]


def _volume(faces: Sequence[Points]) -> float:
    """Of a convex solid: pyramids from a point inside to each face."""
    inside = np.concatenate(faces).mean(0)
    total = 0.0
    for face in faces:
        spokes = face - inside
        for a, b in pairwise(spokes[1:]):
            total += abs(float(np.linalg.det(np.array([spokes[0], a, b])))) / 6
    return total
