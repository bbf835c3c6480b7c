"""Documents: pages of blocks, receipts, forms, and the grain of a scan; not a category."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from cogvit_jax.data.rendering import texts
from cogvit_jax.data.rendering.canvas import (
    BLACK,
    COLOURS,
    WHITE,
    Colour,
    Sheet,
    mix,
    new_sheet,
    pick,
    text_width,
    wrap,
)
from rl.envs.drawing.draw_tables import draw_table, random_table, size_of

PAPERS: tuple[Colour, ...] = (WHITE, (250, 246, 234), (240, 243, 248))
GAP = 14  # pixels between blocks
LETTERS = 11
LEADING = 15


class Box(NamedTuple):
    """Pixels."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True)
class Block:
    """Of a page: "title", "text", "figure" or "table", and where it is."""

    label: str
    box: Box


def grain(
    rng: np.random.Generator, pixels: UInt8[np.ndarray, "h w 3"], strength: int
) -> UInt8[np.ndarray, "h w 3"]:
    """The picture with the grain of a scan, up to `strength` grey levels."""
    noise = rng.integers(-strength, strength + 1, (*pixels.shape[:2], 1), np.int8)
    return np.clip(pixels + np.int16(noise), 0, 255).astype(np.uint8)


def page(
    rng: np.random.Generator, size: tuple[int, int], columns: int, wide: bool, language: str
) -> tuple[UInt8[np.ndarray, "h w 3"], list[Block]]:
    """A page and its blocks in reading order: a title, columns from left to right, a wide block.

    Args:
        rng: random numbers.
        size: (width, height).
        columns: 1 … 3.
        wide: whether a figure runs across below all columns.
        language: of the text.
    """
    width, height = size
    sheet, margin = new_sheet(size, pick(rng, PAPERS)), 12
    title = pick(rng, texts.TITLES[language])
    letters = 17 if columns == 1 else 22
    sheet.text((margin, margin), title, letters, BLACK, "lt")
    right = margin + text_width(title, letters)
    blocks = [Block("title", Box(margin, margin - 1, right, margin + letters))]
    top, bottom = margin + letters + GAP, height - margin
    if wide:
        bottom -= round(height * rng.uniform(0.2, 0.27)) + GAP
    room = (width - 2 * margin - GAP * (columns - 1)) / columns
    for column in range(columns):
        left = margin + column * (room + GAP)
        blocks += _column(rng, sheet, Box(left, top, left + room, bottom), language)
    if wide:
        box = Box(margin, bottom + GAP, width - margin, height - margin)
        _figure(rng, sheet, box)
        blocks.append(Block("figure", box))
    return sheet.pixels(), blocks


def _column(rng: np.random.Generator, sheet: Sheet, box: Box, language: str) -> list[Block]:
    """Blocks from above to below, of which no two pictures follow each other."""
    blocks: list[Block] = []
    top = box.top
    while box.bottom - top >= 4 * LEADING:
        room = Box(box.left, top, box.right, box.bottom)
        kinds = ("text",) if blocks and blocks[-1].label != "text" else ("text", "figure", "table")
        label = pick(rng, kinds)
        if label == "text":
            block = Block(label, _text(rng, sheet, room, language))
        elif label == "figure":
            high = min(room.bottom - top, rng.uniform(55, 110))
            block = Block(label, Box(box.left, top, box.right, top + high))
            _figure(rng, sheet, block.box)
        else:
            table = random_table(rng, int(rng.integers(2, 5)), 1, language)
            wide, high = size_of(table)
            if wide > box.right - box.left or high > room.bottom - top:
                continue
            draw_table(rng, sheet, (box.left, top), table)
            block = Block(label, Box(box.left, top, box.left + wide, top + high))
        blocks.append(block)
        top = block.box.bottom + GAP
    return blocks


def _text(rng: np.random.Generator, sheet: Sheet, box: Box, language: str) -> Box:
    """A paragraph of three lines to seven."""
    most = min(int((box.bottom - box.top) / LEADING), int(rng.integers(3, 8)))
    joint = " " if language == "en" else ""
    lines: list[str] = wrap(texts.sentence(rng, language), LETTERS, box.right - box.left)
    while len(lines) <= most:  # one more, so that the last one kept is full
        last = lines.pop() + joint + texts.sentence(rng, language)
        lines += wrap(last, LETTERS, box.right - box.left)
    for i, line in enumerate(lines[:most]):
        sheet.text((box.left, box.top + i * LEADING), line, LETTERS)
    wide = max(text_width(line, LETTERS) for line in lines[:most])
    return Box(box.left, box.top, box.left + wide, box.top + most * LEADING - 2)


def _figure(rng: np.random.Generator, sheet: Sheet, box: Box) -> None:
    """A landscape, or bars in a frame."""
    colour = pick(rng, COLOURS)[2]
    sheet.box(box, mix(colour, WHITE, 0.75), mix(colour, BLACK, 0.3))
    xs = np.linspace(box.left, box.right, 8)
    ys = rng.uniform(box.top + 8, box.bottom - 8, 8)
    if rng.random() < 0.5:
        ridge = list(zip(xs.tolist(), ys.tolist(), strict=True))
        sheet.polygon([(box.left, box.bottom), *ridge, (box.right, box.bottom)], colour)
        return
    for x, y in zip(xs[:-1].tolist(), ys.tolist(), strict=False):
        sheet.box((x + 3, y, x + (xs[1] - xs[0]) - 3, box.bottom - 3), colour)


Line = tuple[str, str]


def form(
    rng: np.random.Generator, sections: list[tuple[str, list[Line]]], title: str, width: int
) -> Sheet:
    """Labels and values in lines, under the heads of sections.

    Args:
        rng: random numbers.
        sections: (head or "", [(label, value), …]) of each.
        title: above all.
        width: pixels.
    """
    count = sum(len(lines) + bool(head) for head, lines in sections)
    height = -(-(44 + 20 * count) // 28) * 28
    sheet, accent = new_sheet((width, height), pick(rng, PAPERS)), pick(rng, COLOURS)[2]
    sheet.text((12, 9), title, 16, accent if rng.random() < 0.5 else BLACK)
    ruled, middle = rng.random() < 0.5, 12 + (width - 24) * 0.42
    y = 36.0
    for head, lines in sections:
        if head:
            sheet.box((8, y, width - 8, y + 19), mix(accent, WHITE, 0.8))
            sheet.text((12, y + 10), head, 12, BLACK, "lm")
            y += 20
        for label, value in lines:
            sheet.text((12, y + 10), label, 12, mix(BLACK, WHITE, 0.3), "lm")
            sheet.text((middle, y + 10), value, 13, BLACK, "lm")
            if ruled:
                sheet.line([(8, y + 19), (width - 8, y + 19)], mix(BLACK, WHITE, 0.75))
            y += 20
    return sheet


def receipt(
    heads: list[str], items: list[Line], sums: list[Line], width: int, paper: Colour
) -> Sheet:
    """A strip of paper: centred heads, items with amounts at the right, a rule, sums.

    Args:
        heads: lines; the first is the shop.
        items, sums: (text, amount).
        width: pixels.
        paper: its colour.
    """
    count = len(heads) + len(items) + len(sums)
    height = -(-(40 + 18 * count) // 28) * 28
    sheet = new_sheet((width, height), paper)
    y = 14.0
    for i, head in enumerate(heads):
        sheet.text((width / 2, y + 4), head, 14 if i == 0 else 12, BLACK, "mm")
        y += 18
    for lines in (items, sums):
        for x in range(8, width - 8, 6):
            sheet.line([(x, y), (x + 3, y)], mix(BLACK, WHITE, 0.4))
        y += 8
        for text, amount in lines:
            sheet.text((10, y + 6), text, 12, BLACK, "lm")
            sheet.text((width - 10, y + 6), amount, 12, BLACK, "rm")
            y += 18
    return sheet
