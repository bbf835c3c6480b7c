"""Optical illusions with an exact truth: each draws two things that differ by `step`, or do not.

Every function takes (rng, truth, step, difficulty) and gives the picture and the two sizes: lengths
and diameters in pixels, or grey levels. `truth` 0 = the first is longer, larger or darker, 1 = the
second, 2 = neither. All ends of what is compared lie on whole pixels, so equal things are equal to
the pixel. The illusion helps or misleads by chance; it grows with the difficulty.
"""

from collections.abc import Callable

import numpy as np

from cogvit_jax.data.rendering.canvas import BLACK, WHITE, Colour, Sheet, new_sheet
from mmtp.data.tasks.example import Pixels

RED: Colour = (220, 30, 36)
BLUE: Colour = (32, 84, 214)
SCALE = 2
Painted = tuple[Pixels, list[int]]
Paint = Callable[[np.random.Generator, int, int, int], Painted]


def mueller_lyer(rng: np.random.Generator, truth: int, step: int, difficulty: int) -> Painted:
    """Two lines whose ends have fins that point inwards or outwards."""
    lengths = _two(rng, truth, step, 110)
    sheet = new_sheet((224, 140), WHITE, SCALE)
    out = 1 if rng.random() < 0.5 else -1
    for i, (length, colour) in enumerate(zip(lengths, (RED, BLUE), strict=True)):
        y, left = 42 + 56 * i, int(rng.integers(28, 196 - length + 1))
        reach = (6 + 2.5 * difficulty) * out * (1 if i else -1)
        for end, side in ((left, -1), (left + length, 1)):
            for up in (-1, 1):
                tip = (end + side * reach, y + 1.5 + up * 12)
                sheet.line([(end, y + 1.5), tip], BLACK, 1.5)
        _bar(sheet, (left, y), (length, 3), colour)
    return sheet.pixels(), lengths


def ponzo(rng: np.random.Generator, truth: int, step: int, difficulty: int) -> Painted:
    """Two lines between rails that seem to run into the distance."""
    lengths = _two(rng, truth, step, 64)
    sheet = new_sheet((224, 196), (236, 236, 228), SCALE)
    near = 60 + 10 * difficulty
    for side in (-1, 1):
        sheet.line([(112 + side * 16, 4), (112 + side * near, 192)], BLACK, 2)
    for y in range(10, 196, 14 + 2 * (4 - difficulty)):
        half = 16 + (near - 16) * (y - 4) / 188
        sheet.line([(112 - half, y), (112 + half, y)], (170, 170, 164), 1.5)
    ys = [42, 146] if rng.random() < 0.5 else [146, 42]
    for y, length, colour in zip(ys, lengths, (RED, BLUE), strict=True):
        _bar(sheet, (112 - length // 2, y), (length, 4), colour)
    return sheet.pixels(), lengths


def upright(rng: np.random.Generator, truth: int, step: int, difficulty: int) -> Painted:
    """A level line and an upright one, which seems longer; it stands on the other at the end."""
    lengths = _two(rng, truth, step, 110)
    sheet = new_sheet((224, 224), WHITE, SCALE)
    pairs = list(zip(lengths, (RED, BLUE), strict=True))
    (level, below), (high, beside) = pairs if rng.random() < 0.5 else pairs[::-1]
    left, bottom = int(rng.integers(14, 210 - level + 1)), int(rng.integers(14 + high, 211))
    gap = 0 if difficulty >= 2 else 4
    _bar(sheet, (left, bottom), (level, 3), below)
    at = left + (level // 2 if difficulty >= 1 else 0)
    _bar(sheet, (at, bottom - gap - high), (3, high), beside)
    return sheet.pixels(), lengths


def ebbinghaus(rng: np.random.Generator, truth: int, step: int, difficulty: int) -> Painted:
    """Two discs, one among larger discs, the other among smaller ones."""
    sizes = _two(rng, truth, max(4, step // 4 * 2), 44)
    sheet = new_sheet((280, 140), (244, 240, 228), SCALE)
    big = int(rng.integers(2))
    for i, (size, colour) in enumerate(zip(sizes, (RED, BLUE), strict=True)):
        middle = (70 + 140 * i, 70)
        radius, count = (14 + 0.5 * difficulty, 7) if i == big else (6 - 0.5 * difficulty, 9)
        ring = max(sizes) / 2 + radius + 3
        for k in range(count):
            angle = 2 * np.pi * k / count
            at = (middle[0] + ring * np.cos(angle), middle[1] + ring * np.sin(angle))
            sheet.disc(at, radius, (150, 150, 156))
        sheet.disc(middle, size / 2, colour)
    return sheet.pixels(), sizes


def delboeuf(rng: np.random.Generator, truth: int, step: int, difficulty: int) -> Painted:
    """Two discs in rings, one close around it, the other wide."""
    sizes = _two(rng, truth, max(4, step // 4 * 2), 60)
    sheet = new_sheet((280, 140), WHITE, SCALE)
    wide = int(rng.integers(2))
    for i, (size, colour) in enumerate(zip(sizes, (RED, BLUE), strict=True)):
        middle = (70 + 140 * i, 70)
        sheet.disc(middle, 64 if i == wide else max(sizes) / 2 + 8 - difficulty, None, BLACK)
        sheet.disc(middle, size / 2, colour)
    return sheet.pixels(), sizes


def contrast(rng: np.random.Generator, truth: int, step: int, difficulty: int) -> Painted:
    """Two grey squares, one on a dark ground and the other on a light one."""
    grey = int(rng.integers(115, 141))
    levels = [grey, grey]
    if truth < 2:
        levels[truth] -= step // 2
        levels[1 - truth] += step - step // 2
    pixels = np.zeros((112, 224, 3), np.uint8)
    dark, light = 70 - 15 * difficulty, 180 + 18 * difficulty
    grounds = (dark, light) if rng.random() < 0.5 else (light, dark)
    for i, (ground, level) in enumerate(zip(grounds, levels, strict=True)):
        half = pixels[:, 112 * i : 112 * i + 112]
        half[:] = ground
        half[38:74, 38:74] = level
    return pixels, levels


ILLUSIONS: tuple[tuple[str, Paint], ...] = (
    ("longer", mueller_lyer),
    ("longer", ponzo),
    ("longer", upright),
    ("larger", ebbinghaus),
    ("larger", delboeuf),
    ("darker", contrast),
)


def _two(rng: np.random.Generator, truth: int, step: int, about: int) -> list[int]:
    """Two even sizes near `about`, `step` apart or equal."""
    small = 2 * int(rng.integers((about - step) // 2 - 3, (about - step) // 2 + 4))
    if truth == 2:
        return [small + step // 4 * 2] * 2
    return [small + step, small] if truth == 0 else [small, small + step]


def _bar(sheet: Sheet, at: tuple[int, int], size: tuple[int, int], colour: Colour) -> None:
    """A bar of exactly `size` pixels from its upper left corner `at`."""
    left, top = (value * sheet.scale for value in at)
    width, height = (value * sheet.scale for value in size)
    sheet.pen.rectangle((left, top, left + width - 1, top + height - 1), colour)
