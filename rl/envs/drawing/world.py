"""Solids that stand on a floor, and a pinhole camera that looks on.

The floor is the plane of x (right) and z (forward) of the world, in metres; y points down, so that
what is `h` above the floor has y = -h.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from mmtp.data.tasks.scenes import PALETTE, Named

KINDS = {
    "box": Named("box", "箱子"),
    "cylinder": Named("cylinder", "圆柱"),
    "cone": Named("cone", "圆锥"),
    "ball": Named("ball", "球"),
}
COLOURS = ("red", "green", "blue", "yellow", "purple", "orange", "pink")
NEAR = 0.3  # metres before the camera from where on things are drawn
_SQUARE = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
_AROUND = np.arange(24) * np.pi / 12
_CIRCLE = np.stack([np.cos(_AROUND), np.sin(_AROUND)], 1)

Corners = tuple[float, float, float, float]  # left, top, right, bottom in pixels
Points = Float[np.ndarray, "_ 3"]


@dataclass(frozen=True)
class Camera:
    """A pinhole camera above the floor.

    Attributes:
        size: (width, height) of the picture in pixels.
        focal: focal length in pixels, of both axes.
        centre: (cx, cy), the principal point in pixels.
        height: above the floor in metres.
        tilt: radians by which it looks down.
        place: x, z in the world.
        heading: radians by which it is turned to the right; 0 looks along z.
    """

    size: tuple[int, int]
    focal: float
    centre: tuple[float, float]
    height: float
    tilt: float = 0.0
    place: tuple[float, float] = (0.0, 0.0)
    heading: float = 0.0

    @functools.cached_property
    def turn(self) -> Float[np.ndarray, "3 3"]:
        """World directions to the camera's: rows are its x, y and z axes."""
        cos, sin, low, dip = *_cos_sin(self.heading), *_cos_sin(self.tilt)
        return np.array(
            [[cos, 0, -sin], [-dip * sin, low, -dip * cos], [low * sin, dip, low * cos]]
        )

    @functools.cached_property
    def eye(self) -> Float[np.ndarray, "3"]:
        """Where it is in the world."""
        return np.array([self.place[0], -self.height, self.place[1]])

    def seen(self, points: Points) -> Points:
        """World points in the camera's frame: x right, y down, z forward."""
        return (points - self.eye) @ self.turn.T

    def project(self, points: Points) -> list[tuple[float, float]]:
        """Pixels of world points that are before the camera."""
        return self.picture(self.seen(points))

    def picture(self, seen: Points) -> list[tuple[float, float]]:
        """Pixels of points of the camera's frame."""
        places = seen[:, :2] * (self.focal / seen[:, 2:]) + self.centre
        return [(u, v) for u, v in places.tolist()]


@dataclass(frozen=True)
class Solid:
    """Something that stands on the floor.

    Attributes:
        kind: key of KINDS.
        colour: one of COLOURS.
        at: x, z of its middle.
        size: (w, h, l) in metres, along its own x, y, z; a ball, cylinder or cone has w = l.
        yaw: radians that it is turned about y, from z towards x.
    """

    kind: str
    colour: str
    at: tuple[float, float]
    size: tuple[float, float, float]
    yaw: float = 0.0

    @property
    def reach(self) -> float:
        """Radius of the circle that it stands in."""
        w, _, length = self.size
        return float(np.hypot(w, length) / 2) if self.kind == "box" else w / 2

    def name(self, language: str) -> str:
        """Colour and kind."""
        colour, kind = PALETTE[self.colour][0].of(language), KINDS[self.kind].of(language)
        return colour + kind if language == "zh" else f"{colour} {kind}"

    def ring(self, height: float, share: float = 1.0) -> Points:
        """Its outline at some height, made smaller by `share`."""
        w, _, length = self.size
        flat = _SQUARE if self.kind == "box" else _CIRCLE
        cos, sin = _cos_sin(self.yaw)
        a, b = share * w / 2, share * length / 2
        turn = np.array([[a * cos, 0, -a * sin], [b * sin, 0, b * cos]])
        return flat @ turn + np.array([self.at[0], -height, self.at[1]])


def screen_box(camera: Camera, solid: Solid) -> Corners | None:
    """(left, top, right, bottom) in pixels; None where it is not wholly before the camera."""
    seen = camera.seen(np.concatenate([solid.ring(0), solid.ring(solid.size[1])]))
    if seen[:, 2].min() < NEAR:
        return None
    u, v = zip(*camera.picture(seen), strict=True)
    return min(u), min(v), max(u), max(v)


def fits(
    camera: Camera, solid: Solid, others: Mapping[Solid, Corners], edge: float = 3, gap: float = 2
) -> Corners | None:
    """Where it is in the picture, if it neither touches nor covers any part of the others.

    Args:
        camera: what looks on.
        solid: what is to be put there.
        others: what is there, and the box of each.
        edge, gap: pixels that are left to the edges and between two things.
    """
    if any(math.dist(solid.at, there.at) < solid.reach + there.reach for there in others):
        return None
    box = screen_box(camera, solid)
    width, height = camera.size
    if box is None or min(box[:2]) < edge or box[2] > width - edge or box[3] > height - edge:
        return None
    for other in others.values():
        beside = box[0] > other[2] + gap or other[0] > box[2] + gap
        if not beside and not (box[1] > other[3] + gap or other[1] > box[3] + gap):
            return None
    return box


def draw_solid(
    rng: np.random.Generator, kind: str, colour: str, at: tuple[float, float], turned: bool = True
) -> Solid:
    """A solid of random size, 0.4 to 1 metre; lengths in centimetres, angles in hundredths."""
    w, h, length = (int(v) / 100 for v in rng.integers(40, 101, 3))
    yaw = int(rng.integers(-75, 76)) / 100 if turned and kind == "box" else 0.0
    size = {"box": (w, h, length), "ball": (w, w, w)}.get(kind, (w, max(h, 0.6), w))
    return Solid(kind, colour, at, size, yaw)


def stand(
    rng: np.random.Generator,
    camera: Camera,
    things: Sequence[tuple[str, str]],
    distances: Sequence[tuple[float, float]],
    turned: bool = True,
) -> list[Solid]:
    """Puts things of these (kind, colour) on the floor, so that all of each can be seen.

    Args:
        rng: random numbers.
        camera: what looks on; it stands at the origin, and not turned.
        things: of each, in order.
        distances: of each, from the camera along the floor in metres: the nearest, the farthest.
        turned: whether boxes are turned.
    """
    widest = math.atan(camera.size[0] / camera.focal / 2)
    while True:
        solids: dict[Solid, Corners] = {}
        for (kind, colour), (least, most) in zip(things, distances, strict=True):
            for _ in range(30):
                far = float(rng.uniform(least, most))
                angle = float(rng.uniform(-widest, widest))
                at = round(far * math.sin(angle), 2), round(far * math.cos(angle), 2)
                solid = draw_solid(rng, kind, colour, at, turned)
                box = fits(camera, solid, solids)
                if box:
                    solids[solid] = box
                    break
            else:
                break
        if len(solids) == len(things):
            return list(solids)


def _cos_sin(angle: float) -> tuple[float, float]:
    return math.cos(angle), math.sin(angle)
