"""Figures of plane geometry: lines, circles, right angles, and labels beside them, to scale."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from cogvit_jax.data.rendering.canvas import BLACK, WHITE, Colour, Point, Sheet, mix, new_sheet

SCALE = 2
TEXT = 13  # pixels


@dataclass(frozen=True)
class Figure:
    """What is drawn, in lengths of its own, y upwards.

    Attributes:
        points: by their names.
        outlines: closed shapes as strings of names, filled lightly.
        lines: strings of names.
        circles: name of the middle, radius.
        sides: two names and the label of that side, outside of the figure.
        angles: three names, the corner second, and the label inside; "" = a mark of a right angle.
        dots: names of points that are marked.
        inner: as `sides`, but the label stays near the line wherever the middle of the figure is.
        holes: whether circles are cut out of the outlines.
    """

    points: dict[str, Point]
    outlines: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    circles: tuple[tuple[str, float], ...] = ()
    sides: tuple[tuple[str, str], ...] = ()
    angles: tuple[tuple[str, str], ...] = ()
    dots: str = ""
    inner: tuple[tuple[str, str], ...] = ()
    holes: bool = False


def turned(figure: Figure, degrees: float) -> dict[str, Point]:
    """The figure's points after a turn."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return {name: (x * c - y * s, x * s + y * c) for name, (x, y) in figure.points.items()}


def picture(
    figure: Figure, side: int, ink: Colour, degrees: float = 0
) -> UInt8[np.ndarray, "h w 3"]:
    """The figure on white, as large as fits into a square of `side` pixels with its labels.

    Args:
        figure: to draw.
        side: of the picture.
        ink: of its lines.
        degrees: by which it is turned, counter-clockwise.
    """
    points = turned(figure, degrees)
    reach = [(x, y, 0.0) for x, y in points.values()]
    reach += [(*points[name], radius) for name, radius in figure.circles]
    left, right = min(x - r for x, _, r in reach), max(x + r for x, _, r in reach)
    low, high = min(y - r for _, y, r in reach), max(y + r for _, y, r in reach)
    margin = 52 if figure.sides else 28
    zoom = (side - margin) / max(right - left, high - low)
    shift = (side / 2 - zoom * (left + right) / 2, side / 2 + zoom * (low + high) / 2)
    at = {name: (shift[0] + zoom * x, shift[1] - zoom * y) for name, (x, y) in points.items()}
    sheet = new_sheet((side, side), WHITE, SCALE)
    fill = mix(ink, WHITE, 0.85)
    for outline in figure.outlines:
        sheet.polygon([at[name] for name in outline], fill)
    for name, radius in figure.circles:
        _circle(sheet, at[name], radius * zoom, WHITE if figure.holes else None, ink)
    for outline in figure.outlines:
        sheet.line([at[name] for name in outline + outline[0]], ink, 2)
    for line in figure.lines:
        sheet.line([at[name] for name in line], ink, 1.6)
    middle = (side / 2, side / 2)
    for ends, label in figure.sides:
        _side_label(sheet, at[ends[0]], at[ends[1]], middle, label)
    for ends, label in figure.inner:
        _side_label(sheet, at[ends[0]], at[ends[1]], None, label)
    for corner, label in figure.angles:
        _angle(sheet, [at[name] for name in corner], label, ink)
    for name in figure.dots:
        sheet.disc(at[name], 2.6, BLACK)
    return sheet.pixels()


def _circle(sheet: Sheet, at: Point, radius: float, fill: Colour | None, ink: Colour) -> None:
    x, y, r = (value * sheet.scale for value in (*at, radius))
    sheet.pen.ellipse((x - r, y - r, x + r, y + r), fill, ink, 2 * sheet.scale)


def _side_label(sheet: Sheet, one: Point, other: Point, away: Point | None, label: str) -> None:
    """A label beside the middle of a side, away from a point or to the right and below."""
    along = np.subtract(other, one)
    across = np.array([-along[1], along[0]]) / max(1e-9, float(np.hypot(*along)))
    half = np.add(one, other) / 2
    outward = float(across @ (half - away)) if away else float(across @ (1.0, 0.4))
    across = across if outward >= 0 else -across
    room = 9 + 3.2 * (len(label) - 1) * abs(float(across[0]))
    x, y = half + across * room
    sheet.text((float(x), float(y)), label, TEXT, BLACK, "mm")


def _angle(sheet: Sheet, corner: Sequence[Point], label: str, ink: Colour) -> None:
    """An arc and a label inside an angle, or the little square of a right one."""
    first, tip, last = (np.array(point) for point in corner)
    arms = [(end - tip) / max(1e-9, float(np.hypot(*(end - tip)))) for end in (first, last)]
    if not label:
        marks = [tip + 8 * arms[0], tip + 8 * (arms[0] + arms[1]), tip + 8 * arms[1]]
        sheet.line([(float(x), float(y)) for x, y in marks], ink, 1)
        return
    start, end = (math.degrees(math.atan2(arm[1], arm[0])) for arm in arms)
    if (end - start) % 360 > 180:
        start, end = end, start
    spread = (end - start) % 360
    x, y = tip * sheet.scale
    r = 11 * sheet.scale
    sheet.pen.arc((x - r, y - r, x + r, y + r), start, start + spread, ink, sheet.scale)
    far = 14 + 8 / max(0.3, math.sin(math.radians(min(spread, 180) / 2)))
    turn = math.radians(start + spread / 2)
    place = (float(tip[0] + far * math.cos(turn)), float(tip[1] + far * math.sin(turn)))
    sheet.text(place, label, TEXT - 1, BLACK, "mm")
