"""Programs as pictures: lines of code, a flow chart, a table of examples."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import UInt8

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
)
from mmtp.data.tasks.scenes import PATCH
from rl.types import Json

Pixels = UInt8[np.ndarray, "h w 3"]
Rng = np.random.Generator
INDENT, ROW = 24, 20  # pixels
STEP, GAP = 34, 22  # height of a box of a flow chart, and of an arrow
# Dark and light editors: ground, text, words of the language.
EDITORS: tuple[tuple[Colour, Colour, Colour], ...] = (
    ((250, 250, 250), (36, 41, 46), (170, 13, 145)),
    ((253, 246, 227), (60, 76, 82), (133, 100, 0)),
    ((40, 44, 52), (220, 223, 228), (198, 120, 221)),
)
WORDS = ("def", "for", "in", "if", "else:", "return", "while", "print", "range", "not", "and")


def code(rng: Rng, source: str) -> Pixels:
    """The lines of a program, indented."""
    ground, ink, accent = pick(rng, EDITORS)
    lines = source.split("\n")
    widths = [_indent(line) + text_width(line.strip(), 14) for line in lines]
    size = (_even(max(widths) + 44), _even(len(lines) * ROW + 12))
    sheet = new_sheet(size, ground, 2)
    for i, line in enumerate(lines):
        y = 8 + i * ROW
        sheet.text((24, y), str(i + 1), 10, mix(ink, ground, 0.5), "ra")
        x = 34 + _indent(line)
        for piece in _pieces(line.strip()):
            sheet.text((x, y), piece, 14, accent if piece.strip() in WORDS else ink)
            x += text_width(piece, 28) / 2
    return sheet.pixels()


def flow_chart(rng: Rng, nodes: Sequence[Mapping[str, Json]], words: tuple[str, str]) -> Pixels:
    """Steps from top to bottom.

    Args:
        rng: for the colours.
        nodes: {"kind": "do", "yes": step}; {"kind": "if", "test", "yes": step, "no": step};
            {"kind": "while", "test", "yes": step}.
        words: for yes and no.
    """
    accent = pick(rng, COLOURS[:5])[2]
    heights = {"do": STEP + GAP, "if": 2 * STEP + 3 * GAP, "while": STEP + 2 * GAP}
    rows = [heights[node["kind"]] for node in nodes]
    plain = all(node["kind"] == "do" for node in nodes)
    middle, y = 70.0 if plain else 77.0, 8.0
    sheet = new_sheet((140 if plain else 308, _even(2 * (STEP + GAP) + sum(rows) + 8)), WHITE, 2)
    _box(sheet, middle, y, "x", accent, radius=15)
    y += STEP
    for node, height in zip(nodes, rows, strict=True):
        if node["kind"] == "do":
            _arrow(sheet, [(middle, y), (middle, y + GAP)])
            _box(sheet, middle, y + GAP, node["yes"], accent)
        elif node["kind"] == "if":
            _choice(sheet, middle, y, node, words, accent)
        else:
            _loop(sheet, middle, y, node, words, accent)
        y += height
    _arrow(sheet, [(middle, y), (middle, y + GAP)])
    _box(sheet, middle, y + GAP, "return x", accent, radius=15)
    return sheet.pixels()


def table(rng: Rng, head: tuple[str, str], rows: Sequence[tuple[str, str]]) -> Pixels:
    """Two columns with lines between."""
    accent = mix(pick(rng, COLOURS[:7])[2], WHITE, 0.75)
    sheet = new_sheet((168, _even((len(rows) + 1) * 24 + 8)), WHITE, 2)
    sheet.box((6, 4, 162, 28), accent)
    for i, row in enumerate((head, *rows)):
        y = 4 + 24 * i
        for x, text in zip((45, 123), row, strict=True):
            sheet.text((x, y + 12), text, 15, BLACK, "mm")
        sheet.line([(6, y + 24), (162, y + 24)], (150, 150, 150))
    sheet.line([(84, 4), (84, 4 + 24 * (len(rows) + 1))], (150, 150, 150))
    return sheet.pixels()


def _choice(
    sheet: Sheet,
    x: float,
    y: float,
    node: Mapping[str, Json],
    words: tuple[str, str],
    accent: Colour,
) -> None:
    """A test; below it what is done if it fails, beside that what is done if it holds."""
    _arrow(sheet, [(x, y), (x, y + GAP)])
    top, side = y + GAP, x + 150
    below = top + STEP + GAP
    _diamond(sheet, x, top, node["test"], accent)
    _arrow(sheet, [(x + 62, top + STEP / 2), (side, top + STEP / 2), (side, below)])
    _arrow(sheet, [(x, top + STEP), (x, below)])
    sheet.text((x + 72, top + STEP / 2 - 6), words[0], 12, BLACK, "ls")
    sheet.text((x + 8, below - 8), words[1], 12, BLACK, "ls")
    _box(sheet, x, below, node["no"], accent)
    _box(sheet, side, below, node["yes"], accent)
    end = below + STEP
    _arrow(sheet, [(side, end), (side, end + GAP / 2), (x, end + GAP / 2)])
    sheet.line([(x, end), (x, end + GAP)], BLACK, 1.4)


def _loop(
    sheet: Sheet,
    x: float,
    y: float,
    node: Mapping[str, Json],
    words: tuple[str, str],
    accent: Colour,
) -> None:
    """A test, and beside it what is done again and again while it holds."""
    _arrow(sheet, [(x, y), (x, y + GAP)])
    top, side = y + GAP, x + 160
    _diamond(sheet, x, top, node["test"], accent)
    _arrow(sheet, [(x + 62, top + STEP / 2), (side - 44, top + STEP / 2)])
    _box(sheet, side, top, node["yes"], accent, half=44)
    _arrow(sheet, [(side, top), (side, y + GAP / 2), (x, y + GAP / 2)])
    sheet.text((x + 72, top + STEP / 2 - 6), words[0], 12, BLACK, "ls")
    sheet.text((x + 8, top + STEP + 16), words[1], 12, BLACK, "ls")
    sheet.line([(x, top + STEP), (x, y + STEP + 2 * GAP)], BLACK, 1.4)


def _box(
    sheet: Sheet, x: float, y: float, text: str, accent: Colour, radius: int = 3, half: float = 58
) -> None:
    sheet.box((x - half, y, x + half, y + STEP), mix(accent, WHITE, 0.85), accent, radius, 1)
    sheet.text((x, y + STEP / 2), text, 15, BLACK, "mm")


def _diamond(sheet: Sheet, x: float, y: float, text: str, accent: Colour) -> None:
    corners = [(x, y), (x + 62, y + STEP / 2), (x, y + STEP), (x - 62, y + STEP / 2)]
    sheet.polygon(corners, mix(accent, WHITE, 0.7))
    sheet.line([*corners, corners[0]], accent, 1.2)
    sheet.text((x, y + STEP / 2), text, 14, BLACK, "mm")


def _arrow(sheet: Sheet, points: Sequence[tuple[float, float]]) -> None:
    sheet.line(points, BLACK, 1.4)
    (x0, y0), (x1, y1) = points[-2], points[-1]
    length = max(abs(x1 - x0), abs(y1 - y0))
    dx, dy = (x1 - x0) / length, (y1 - y0) / length
    back = (x1 - 7 * dx, y1 - 7 * dy)
    wings = [(back[0] - 4 * dy, back[1] + 4 * dx), (back[0] + 4 * dy, back[1] - 4 * dx)]
    sheet.polygon([(x1, y1), *wings], BLACK)


def _indent(line: str) -> float:
    return INDENT * ((len(line) - len(line.lstrip())) // 4)


def _pieces(line: str) -> list[str]:
    """Words with the spaces after them; a bracket ends one."""
    pieces, piece = [], ""
    for character in line:
        if (character == "(" and piece) or (piece.endswith(" ") and character != " "):
            pieces.append(piece)
            piece = ""
        piece += character
        if character == "(":
            pieces.append(piece)
            piece = ""
    return [*pieces, piece] if piece else pieces


def _even(length: float) -> int:
    """The next multiple of the side of a merged token."""
    return max(2, -int(-length // PATCH)) * PATCH
