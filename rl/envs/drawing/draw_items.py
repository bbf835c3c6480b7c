"""Pictures of flat things whose outlines are known: for boxes, points, masks and polygons."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cogvit_jax.data.rendering.canvas import BLACK, WHITE, Colour, Sheet, mix, new_sheet, pick
from mmtp.data.tasks.example import Pixels, on_grid
from mmtp.data.tasks.scenes import COLOURS, PALETTE, SHAPES, Named

SIDES = (112, 168, 224, 336, 448)  # of pictures, by difficulty
NAMES: dict[str, Named] = {
    **SHAPES,
    "heart": Named("heart", "心形"),
    "arrow": Named("arrow", "箭头"),
}
KINDS = tuple(NAMES)
THING = Named("shape", "图形")  # any kind

Place = tuple[float, float]


@dataclass(frozen=True)
class Item:
    """One thing.

    Attributes:
        kind: key of NAMES.
        colour: key of scenes.PALETTE.
        middle: (x, y) in pixels.
        radius: of the circle around it, in pixels.
        turn: radians, clockwise.
    """

    kind: str
    colour: str
    middle: Place
    radius: float
    turn: float = 0.0

    @property
    def outline(self) -> list[Place]:
        """Corners in pixels, in order."""
        (x, y), cos, sin = self.middle, np.cos(self.turn), np.sin(self.turn)
        unit = np.array(unit_outline(self.kind)) * self.radius
        turned = unit @ np.array([[cos, sin], [-sin, cos]]) + (x, y)
        return [(float(a), float(b)) for a, b in turned]

    @property
    def box(self) -> tuple[float, float, float, float]:
        """The smallest box around it, in pixels."""
        xs, ys = zip(*self.outline, strict=True)
        return min(xs), min(ys), max(xs), max(ys)

    def name(self, language: str) -> str:
        """Colour and kind."""
        colour, kind = PALETTE[self.colour][0].of(language), NAMES[self.kind].of(language)
        return colour + kind if language == "zh" else f"{colour} {kind}"


@functools.cache
def unit_outline(kind: str) -> tuple[Place, ...]:
    """Corners of a kind within a circle of radius 1, y downwards."""
    if kind == "square":
        return (-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)
    if kind == "triangle":
        return (0.0, -0.95), (0.95, 0.8), (-0.95, 0.8)
    if kind == "diamond":
        return (0.0, -1.0), (0.7, 0.0), (0.0, 1.0), (-0.7, 0.0)
    if kind == "cross":
        w, r = 0.3, 0.95
        quarter = [(-w, -r), (w, -r), (w, -w)]
        return tuple(p for i in range(4) for p in _turned(quarter, i))
    if kind == "arrow":
        head = [(0.0, -1.0), (0.75, -0.15), (0.3, -0.15), (0.3, 0.95)]
        return (*head, (-0.3, 0.95), (-0.3, -0.15), (-0.75, -0.15))
    angles = np.arange(48 if kind != "star" else 10) * 2 * np.pi / (48 if kind != "star" else 10)
    if kind == "heart":
        x = 16 * np.sin(angles) ** 3
        y = 13 * np.cos(angles) - 5 * np.cos(2 * angles) - 2 * np.cos(3 * angles)
        y = y - np.cos(4 * angles) + 2
        return tuple((float(a) / 17, float(-b) / 17) for a, b in zip(x, y, strict=True))
    reach = np.where(np.arange(10) % 2 == 0, 1, 0.42) if kind == "star" else np.ones(48)
    x, y = reach * np.sin(angles), -reach * np.cos(angles)
    return tuple((float(a), float(b)) for a, b in zip(x, y, strict=True))


def scatter(
    rng: np.random.Generator,
    pairs: Sequence[tuple[str, str]],
    size: tuple[int, int],
    radii: tuple[float, float],
    turn: float = 0.0,
) -> list[Item]:
    """Puts things of these (kind, colour) on a picture, none touching another.

    Args:
        rng: random numbers.
        pairs: of each, in order.
        size: (width, height) of the picture in pixels.
        radii: smallest and largest, as shares of the shorter side; where there is no room left,
            all get smaller.
        turn: largest angle in radians, to both sides.
    """
    shrink = 1.0
    while True:
        items: list[Item] = []
        for kind, colour in pairs:
            radius = float(rng.uniform(*radii)) * min(size) * shrink
            place = _free(rng, items, size, radius)
            if place is None:
                break
            items.append(Item(kind, colour, place, radius, float(rng.uniform(-turn, turn))))
        if len(items) == len(pairs):
            return items
        shrink *= 0.9


def draw(items: Sequence[Item], size: tuple[int, int], ground: Colour, scale: int = 2) -> Pixels:
    """A picture of `size` = (width, height), with a soft shadow under each thing."""
    sheet = new_sheet(size, ground, scale)
    draw_on(sheet, items, mix(ground, BLACK, 0.16))
    return sheet.pixels()


def draw_on(sheet: Sheet, items: Sequence[Item], shadow: Colour) -> None:
    """Draws things, each on its shadow."""
    for item in items:
        outline, drop = item.outline, 0.08 * item.radius
        sheet.polygon([(x + drop, y + drop) for x, y in outline], shadow)
        sheet.polygon(outline, PALETTE[item.colour][1])


def light_ground(rng: np.random.Generator) -> Colour:
    """White, or a little of some colour."""
    return mix(WHITE, PALETTE[pick(rng, COLOURS)][1], float(pick(rng, (0, 0.04, 0.08))))


def box_in_thousandths(item: Item, size: tuple[int, int]) -> list[int]:
    """The box around a thing, 0 … 999 of the picture's `size` = (width, height)."""
    return [on_grid(value, side) for value, side in zip(item.box, size * 2, strict=True)]


def middle_in_thousandths(item: Item, size: tuple[int, int]) -> list[int]:
    """The middle of a thing, 0 … 999; every kind covers its middle."""
    return [on_grid(value, side) for value, side in zip(item.middle, size, strict=True)]


def outline_in_thousandths(item: Item, size: tuple[int, int]) -> list[list[int]]:
    """The outline of a thing, 0 … 999."""
    return [[on_grid(v, side) for v, side in zip(p, size, strict=True)] for p in item.outline]


def _turned(points: Sequence[Place], quarters: int) -> list[Place]:
    cos, sin = ((1, 0), (0, 1), (-1, 0), (0, -1))[quarters]
    return [(x * cos - y * sin, x * sin + y * cos) for x, y in points]


def _free(
    rng: np.random.Generator, items: Sequence[Item], size: tuple[int, int], radius: float
) -> Place | None:
    """A place where a circle touches no other, or None after some tries."""
    edge = radius + 2
    if 2 * edge >= min(size):
        return None
    tries = rng.uniform((edge, edge), (size[0] - edge, size[1] - edge), (60, 2))
    if not items:
        return float(tries[0, 0]), float(tries[0, 1])
    middles, radii = np.array([i.middle for i in items]), np.array([i.radius for i in items])
    gaps = np.linalg.norm(tries[:, None] - middles, axis=2) - radii - radius
    good = np.flatnonzero(gaps.min(1) > 0.02 * min(size) + 1)
    return (float(tries[good[0], 0]), float(tries[good[0], 1])) if good.size else None
