"""Diagrams of physics: circuits with values, forces on a block, levers, a ray at a mirror."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from cogvit_jax.data.rendering.canvas import (
    BLACK,
    WHITE,
    Colour,
    Point,
    Sheet,
    mix,
    new_sheet,
    text_width,
)

SCALE = 2
TEXT = 12
GREY: Colour = (120, 120, 126)
Pixels = UInt8[np.ndarray, "h w 3"]


def arrow(sheet: Sheet, start: Point, end: Point, ink: Colour, width: float = 2) -> None:
    """A line with a head at its end."""
    along = np.subtract(end, start)
    along = along / max(1e-9, float(np.hypot(*along)))
    across = np.array([-along[1], along[0]])
    neck = np.array(end) - 7 * along
    sheet.line([start, (float(neck[0]), float(neck[1]))], ink, width)
    head = [np.array(end), neck + 4.5 * across, neck - 4.5 * across]
    sheet.polygon([(float(x), float(y)) for x, y in head], ink)


def forces(pulls: Sequence[tuple[int, int, str]], ink: Colour) -> Pixels:
    """A block and arrows at it.

    Args:
        pulls: (dx, dy) of the direction, y upwards, each -1, 0 or 1, and the label; two that pull
            the same way stand in a row.
        ink: of the block.
    """
    sheet = new_sheet((196, 140), WHITE, SCALE)
    x, y = 98.0, 84.0 if any(dy for _, dy, _ in pulls) else 70.0
    sheet.box((x - 20, y - 17, x + 20, y + 17), mix(ink, WHITE, 0.7), ink, width=2)
    seen: dict[tuple[int, int], int] = {}
    ways = [(dx, dy) for dx, dy, _ in pulls]
    for dx, dy, label in pulls:
        many, k = ways.count((dx, dy)), seen.get((dx, dy), 0)
        seen[dx, dy] = k + 1
        shift = 0.0 if many == 1 else (-9.0, 9.0)[k]
        start = (x + 20 * dx, y - 17 * dy + (shift if dx else 0))
        end = (start[0] + 50 * dx, start[1] - 42 * dy)
        arrow(sheet, start, end, BLACK)
        if dx:
            above = -10 if shift <= 0 else 10
            sheet.text(((start[0] + end[0]) / 2, start[1] + above), label, TEXT, BLACK, "mm")
        else:
            sheet.text((x + 8, (start[1] + end[1]) / 2), label, TEXT, BLACK, "lm")
    return sheet.pixels()


def lever(loads: Sequence[tuple[int, str, str]], ink: Colour) -> Pixels:
    """A beam on a pivot with loads hanging at both sides.

    Args:
        loads: place from -5 to 5, label of the load, label of its distance to the pivot.
        ink: of the loads.
    """
    sheet = new_sheet((252, 140), WHITE, SCALE)
    x, y = 126.0, 56.0
    sheet.box((x - 116, y - 3, x + 116, y + 3), (196, 150, 96), (120, 84, 40))
    sheet.polygon([(x, y + 3), (x + 11, y + 26), (x - 11, y + 26)], GREY)
    levels = {-1: 0, 1: 0}
    for place, load, distance in sorted(loads, key=lambda one: abs(one[0])):
        at, side = x + 21.0 * place, 1 if place > 0 else -1
        sheet.line([(at, y), (at, y + 34)], BLACK, 1.2)
        half = max(15.0, text_width(load, TEXT) / 2 + 5)
        sheet.box((at - half, y + 34, at + half, y + 58), mix(ink, WHITE, 0.75), ink, width=1)
        sheet.text((at, y + 46), load, TEXT, BLACK, "mm")
        top = y - 14 - 22 * levels[side]
        levels[side] += 1
        _measure(sheet, x, at, top, distance)
    return sheet.pixels()


def mirror(degrees: int, label: str, from_normal: bool, ink: Colour) -> Pixels:
    """A ray that meets a level mirror, the normal dashed; the given angle is labelled.

    Args:
        degrees: between the ray and the normal.
        label: of the given angle.
        from_normal: whether that is the one to the normal, else the one to the mirror.
        ink: of the ray.
    """
    sheet = new_sheet((168, 126), WHITE, SCALE)
    x, y, far = 84.0, 98.0, 76.0
    for k in range(17):
        sheet.line([(16 + 8.5 * k, y + 8), (22 + 8.5 * k, y)], GREY, 0.8)
    sheet.line([(12, y), (156, y)], BLACK, 2)
    for k in range(9):
        sheet.line([(x, y - 9 * k), (x, y - 9 * k - 5)], GREY, 1)
    turn = math.radians(degrees)
    for side in (-1, 1):
        tip = (x + side * far * math.sin(turn), y - far * math.cos(turn))
        middle = ((x + tip[0]) / 2, (y + tip[1]) / 2)
        sheet.line([(x, y), tip], ink, 2)
        arrow(sheet, *((tip, middle) if side < 0 else ((x, y), middle)), ink)
    spans = {True: (270 - degrees, 270), False: (180, 270 - degrees)}
    _arc(sheet, (x, y), spans[from_normal], label)
    _arc(sheet, (x, y), (270, 270 + degrees), "?")
    return sheet.pixels()


def circuit(volts: str, series: Sequence[str], parallel: Sequence[str], asked: str) -> Pixels:
    """A battery at the left, resistors in a row above, and branches side by side at the right.

    Args:
        volts: label of the battery.
        series: labels of the resistors in the upper wire.
        parallel: labels of the branches; () = the right side is a plain wire.
        asked: "A" puts an ammeter into the lower wire.
    """
    room = 62 * max(1, len(series)) + 56 * len(parallel)
    sheet = new_sheet((28 * ((room + 68) // 28), 140), WHITE, SCALE)
    left, top, low = 40.0, 38.0, 114.0
    right = left + 62 * max(1, len(series))
    ends = [right + 56 * k for k in range(len(parallel))] or [right]
    loop = [(left, top), (ends[-1], top), (ends[-1], low), (left, low), (left, top)]
    sheet.line(loop, BLACK, 1.6)
    for x in ends[:-1]:
        sheet.line([(x, top), (x, low)], BLACK, 1.6)
        for y in (top, low):
            sheet.disc((x, y), 2.8, BLACK)
    middle = (top + low) / 2
    sheet.box((left - 8, middle - 3, left + 8, middle + 3), WHITE)
    sheet.line([(left - 11, middle - 3), (left + 11, middle - 3)], BLACK, 1.6)
    sheet.line([(left - 5, middle + 3), (left + 5, middle + 3)], BLACK, 3)
    sheet.text((left - 13, middle), volts, TEXT, BLACK, "rm")
    for k, label in enumerate(series):
        x = left + 62 * k + 31
        sheet.box((x - 14, top - 6, x + 14, top + 6), WHITE, BLACK, width=1)
        _ohms(sheet, (x, top - 16), label)
    for x, label in zip(ends, parallel, strict=False):
        sheet.box((x - 6, middle - 14, x + 6, middle + 14), WHITE, BLACK, width=1)
        _ohms(sheet, (x - 26, middle), label)
    if asked == "A":
        sheet.disc(((left + right) / 2, low), 10, WHITE, BLACK)
        sheet.text(((left + right) / 2, low), "A", TEXT, BLACK, "mm")
    return sheet.pixels()


def _measure(sheet: Sheet, start: float, end: float, y: float, label: str) -> None:
    """A measure between two places above the beam."""
    sheet.line([(start, y), (end, y)], GREY, 1)
    for x in (start, end):
        sheet.line([(x, y - 4), (x, y + 4)], GREY, 1)
    half = text_width(label, TEXT - 1) / 2 + 2
    middle = (start + end) / 2
    sheet.box((middle - half, y - 7, middle + half, y + 7), WHITE)
    sheet.text((middle, y), label, TEXT - 1, BLACK, "mm")


def _arc(sheet: Sheet, at: Point, span: tuple[float, float], label: str) -> None:
    """An arc from one turn to another (degrees, clockwise from the right) and its label."""
    x, y, r = at[0] * sheet.scale, at[1] * sheet.scale, 26 * sheet.scale
    sheet.pen.arc((x - r, y - r, x + r, y + r), *span, BLACK, sheet.scale)
    turn = math.radians(sum(span) / 2)
    place = (at[0] + 42 * math.cos(turn), at[1] + 40 * math.sin(turn))
    half = text_width(label, TEXT) / 2 + 1
    sheet.box((place[0] - half, place[1] - 7, place[0] + half, place[1] + 7), WHITE)
    sheet.text(place, label, TEXT, BLACK, "mm")


def _ohms(sheet: Sheet, at: Point, label: str) -> None:
    """A resistance around a place: the label, and the sign of the ohm, which the font lacks."""
    width = text_width(label, TEXT)
    x = at[0] - (width + 12) / 2
    sheet.text((x, at[1]), label, TEXT, BLACK, "lm")
    middle, s = (x + width + 7.5, at[1]), sheet.scale
    box = [value * s for value in (middle[0] - 4, middle[1] - 5, middle[0] + 4, middle[1] + 3)]
    sheet.pen.arc(box, 125, 55, BLACK, round(1.2 * s))
    for side in (-1, 1):
        foot = [(middle[0] + side * 2.2, middle[1] + 2), (middle[0] + side * 2.2, middle[1] + 4.4)]
        sheet.line([*foot, (middle[0] + side * 4.6, middle[1] + 4.4)], BLACK, 1.1)
