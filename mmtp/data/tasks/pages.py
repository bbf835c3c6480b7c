"""Small HTML pages, and a renderer of that same HTML.

The renderer knows what the pages use: h1, p and button with text, div with a background and a
height, and a div of class row whose children share its width. Colours are those of scenes.PALETTE.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html.parser import HTMLParser

import numpy as np

from cogvit_jax.data.rendering import texts
from cogvit_jax.data.rendering.canvas import (
    BLACK,
    WHITE,
    Sheet,
    mix,
    new_sheet,
    pick,
    pick_some,
    text_width,
)
from mmtp.data.tasks.example import Corners, Pixels
from mmtp.data.tasks.scenes import COLOURS, PALETTE, SCALE

WIDTH, HEIGHT = 112, 84
MARGIN = 4
HEIGHTS = {"h1": 20, "p": 14, "button": 18, "row": 16}  # pixels
SIZES = {"h1": 16, "p": 11, "button": 12}  # of the text

PALE = ("yellow",)  # not read on white


@dataclass(frozen=True)
class Block:
    """One block of a page.

    Attributes:
        tag: "h1", "p", "button", "div" or "row".
        colour: of the text of h1, of the ground of button and div; "" for p.
        text: of h1, p and button.
        height: of div, pixels.
        cells: colours of a row's children.
    """

    tag: str
    colour: str = ""
    text: str = ""
    height: int = 0
    cells: tuple[str, ...] = ()

    def code(self) -> str:
        """As HTML, one line."""
        if self.tag == "row":
            cells = "".join(f'<div style="background:{key}"></div>' for key in self.cells)
            return f'<div class="row">{cells}</div>'
        if self.tag == "div":
            return f'<div style="background:{self.colour};height:{self.height}px"></div>'
        if self.tag == "p":
            return f"<p>{self.text}</p>"
        key = "color" if self.tag == "h1" else "background"
        return f'<{self.tag} style="{key}:{self.colour}">{self.text}</{self.tag}>'

    @property
    def space(self) -> int:
        """Pixels from top to bottom."""
        return self.height or HEIGHTS[self.tag]


def document(blocks: Sequence[Block]) -> str:
    """The whole page, one block per line."""
    return "\n".join(["<body>", *(block.code() for block in blocks), "</body>"])


def blocks(rng: np.random.Generator, language: str, buttons: int = 1) -> list[Block]:
    """Two to four blocks that fit on a page, of different tags and colours."""
    tags = pick_some(rng, ("h1", "p", "div", "row", *["button"] * buttons), int(rng.integers(2, 5)))
    tags.sort(key=lambda tag: ("h1", "p", "div", "row", "button").index(tag))
    colours = iter(pick_some(rng, COLOURS, 8))
    found = []
    for tag in tags:
        if tag == "row":
            cells = tuple(next(colours) for _ in range(int(rng.integers(2, 4))))
            found.append(Block("row", cells=cells))
        elif tag == "div":
            found.append(Block("div", next(colours), height=int(pick(rng, (8, 16)))))
        elif tag == "p":
            found.append(Block("p", text=pick(rng, texts.ITEMS[language])))
        else:
            table = texts.MENU if tag == "h1" else texts.BUTTONS
            colour = next(key for key in colours if tag != "h1" or key not in PALE)
            found.append(Block(tag, colour, pick(rng, table[language])))
    return found


class _Reader(HTMLParser):
    """Collects blocks."""

    def __init__(self):
        super().__init__()
        self.blocks: list[Block] = []
        self._row: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attrs}
        pairs = (item.split(":") for item in given.get("style", "").split(";") if item)
        style = {key: value for key, value in pairs}
        colour = style.get("background", style.get("color", ""))
        if given.get("class") == "row":
            self._row = []
        elif self._row is not None and tag == "div":
            self._row.append(colour)
        elif tag != "body":
            height = int(style.get("height", "0").removesuffix("px"))
            self.blocks.append(Block(tag, colour, height=height))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_data(self, data: str) -> None:
        if data.strip():
            last = self.blocks.pop()
            self.blocks.append(Block(last.tag, last.colour, data, last.height))

    def close_row(self) -> None:
        """Ends the row that is open."""
        self.blocks.append(Block("row", cells=tuple(self._row or ())))
        self._row = None


def read(code: str) -> list[Block]:
    """The blocks that HTML of these pages says."""
    reader = _Reader()
    for line in code.split("\n"):
        reader.feed(line)
        if line.startswith('<div class="row">'):
            reader.close_row()
    reader.close()
    return reader.blocks


def render(code: str) -> Pixels:
    """Draws a page from its HTML."""
    sheet = new_sheet((WIDTH, HEIGHT), WHITE, SCALE)
    top = MARGIN
    for block in read(code):
        _draw(sheet, block, (MARGIN, top, WIDTH - MARGIN, top + block.space))
        top += block.space + 3
    return sheet.pixels()


def _draw(sheet: Sheet, block: Block, corners: Corners) -> None:
    left, top, right, bottom = corners
    middle = (top + bottom) / 2
    if block.tag == "row":
        width = (right - left + 3) / len(block.cells)
        for i, key in enumerate(block.cells):
            start = left + i * width
            sheet.box((start, top, start + width - 3, bottom), PALETTE[key][1])
    elif block.tag == "div":
        sheet.box(corners, PALETTE[block.colour][1])
    elif block.tag == "button":
        ground = PALETTE[block.colour][1]
        end = left + text_width(block.text, SIZES["button"]) + 12
        sheet.box((left, top, end, bottom), ground, mix(ground, BLACK, 0.4), radius=4)
        sheet.text((left + 6, middle), block.text, SIZES["button"], ink_on(ground), "lm")
    else:
        ink = PALETTE[block.colour][1] if block.colour else BLACK
        sheet.text((left, middle), block.text, SIZES[block.tag], ink, "lm")


def ink_on(ground: tuple[int, int, int]) -> tuple[int, int, int]:
    """Black or white, whichever is easier to read on a colour."""
    luminance = 0.299 * ground[0] + 0.587 * ground[1] + 0.114 * ground[2]
    return BLACK if luminance > 130 else WHITE
