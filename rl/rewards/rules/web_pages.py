"""Our own small layout of pages: where each text and each filled box of an HTML subset stands.

Elements stand below each other, as wide as what they are in; children of a row share its width.
The same functions lay out the page that is asked for and the page that is judged, so equal code
is equal to the last pixel, and no browser is needed.
"""

from dataclasses import dataclass, replace

from cogvit_jax.data.rendering.canvas import WHITE, mix, new_sheet, text_width, wrap
from mmtp.data.tasks.example import Pixels
from rl.answers.colours import Colour
from rl.answers.html_page import Element

INK: Colour = (0, 0, 0)
SIZES = {"h1": 20, "h2": 16, "p": 12, "li": 12, "button": 12, "input": 12}
GAP, MARGIN, LINE = 6, 8, 1.3  # pixels: between elements, around the page; height of a line
GREY: Colour = (221, 221, 221)
EDGE: Colour = (118, 118, 118)
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Block:
    """Something that is seen: a line of text, or a box filled with a colour.

    Attributes:
        kind: "text" or "fill".
        box: left, top, right, bottom in pixels.
        colour: of the letters, or of the box.
        text: of one line.
        size: of the letters, pixels.
    """

    kind: str
    box: Box
    colour: Colour
    text: str = ""
    size: int = 0


def layout(body: Element, width: int) -> tuple[list[Block], float]:
    """Everything on a page of this width, in the order it is drawn; and the page's height."""
    blocks, bottom = _stack(body.children, MARGIN, MARGIN, width - MARGIN, INK)
    return blocks, bottom + MARGIN


def paint(body: Element, width: int) -> Pixels:
    """The picture of a page; its height is a multiple of 28."""
    blocks, bottom = layout(body, width)
    sheet = new_sheet((width, max(28, 28 * -(-round(bottom) // 28))), WHITE, 2)
    for block in blocks:
        left, top, right, low = block.box
        if block.kind == "fill":
            sheet.box((left, top, right - 0.5, low - 0.5), block.colour)
        else:
            sheet.text((left, (top + low) / 2), block.text, block.size, block.colour, "lm")
    return sheet.pixels()


def _stack(
    elements: tuple[Element, ...], left: float, top: float, right: float, ink: Colour
) -> tuple[list[Block], float]:
    """Elements below each other; and where the last one ends."""
    blocks: list[Block] = []
    for number, element in enumerate(elements):
        found, bottom = _place(element, left, top, right, ink)
        blocks += found
        top = bottom + (GAP if number < len(elements) - 1 else 0)
    return blocks, top


def _place(
    element: Element, left: float, top: float, right: float, ink: Colour
) -> tuple[list[Block], float]:
    """One element and all in it."""
    style = element.style
    ink = style.colour or ink
    if element.tag == "hr":
        return [Block("fill", (left, top, right, top + 2), style.background or EDGE)], top + 2
    if element.tag in ("button", "input"):
        return _control(element, left, top, right, ink)
    pad = style.padding
    inner = (left + pad, top + pad, max(left + pad + 1, right - pad))
    if element.tag in ("div", "ul"):
        if style.row:
            blocks, bottom = _row(element.children, *inner, ink)
        else:
            indent = 14 if element.tag == "ul" else 0
            blocks, bottom = _stack(element.children, inner[0] + indent, *inner[1:], ink)
    else:
        blocks, bottom = _lines(element, *inner, ink)
    bottom = max(bottom + pad, top + style.height)
    if style.background:
        blocks = [Block("fill", (left, top, right, bottom), style.background), *blocks]
    return blocks, bottom


def _row(
    elements: tuple[Element, ...], left: float, top: float, right: float, ink: Colour
) -> tuple[list[Block], float]:
    """Elements beside each other: equal widths, and the height of the highest."""
    count = max(1, len(elements))
    each = max(1.0, (right - left - GAP * (count - 1)) / count)
    starts = [left + i * (each + GAP) for i in range(len(elements))]
    placed = [_place(e, x, top, x + each, ink) for e, x in zip(elements, starts, strict=True)]
    bottom = max([end for _, end in placed], default=top)
    blocks: list[Block] = []
    for element, (found, _) in zip(elements, placed, strict=True):
        if element.tag == "div" and element.style.background:  # as high as its neighbours
            low = found[0].box
            found[0] = replace(found[0], box=(low[0], low[1], low[2], bottom))
        blocks += found
    return blocks, bottom


def _lines(
    element: Element, left: float, top: float, right: float, ink: Colour
) -> tuple[list[Block], float]:
    """A text, broken into lines."""
    size = SIZES[element.tag]
    blocks, high = [], size * LINE
    for line in wrap(element.text, size, right - left) if element.text else []:
        wide = text_width(line, size)
        x = left + max(0.0, (right - left - wide) / 2) if element.style.centred else left
        blocks.append(Block("text", (x, top, x + wide, top + high), ink, line, size))
        top += high
    return blocks, top


def _control(
    element: Element, left: float, top: float, right: float, ink: Colour
) -> tuple[list[Block], float]:
    """A button as wide as its text, or a field as wide as there is room."""
    size, button = SIZES[element.tag], element.tag == "button"
    pad = element.style.padding or 4
    text = element.text
    bottom = max(top + size * LINE + 2 * pad, top + element.style.height)
    wide = text_width(text, size)
    end = left + wide + 20 if button else right
    ground = element.style.background or (GREY if button else mix(GREY, WHITE, 0.5))
    x, middle = left + (10 if button else 6), (top + bottom) / 2
    box = (x, middle - size * LINE / 2, x + wide, middle + size * LINE / 2)
    blocks = [Block("fill", (left, top, end, bottom), ground)]
    return blocks + ([Block("text", box, ink, text, size)] if text else []), bottom
