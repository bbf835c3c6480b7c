"""SVG code of simple shapes, and a renderer of that same code.

Sides are in pixels. The order of elements is the reading order of their middles, and numbers are
even, so that a picture has exactly one code.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from xml.etree import ElementTree

import numpy as np

from cogvit_jax.data.rendering.canvas import WHITE, new_sheet, pick, pick_some
from mmtp.data.tasks.example import Pixels
from mmtp.data.tasks.scenes import COLOURS, PALETTE, SCALE

SIDE = 56
EDGE = 0.9 / SCALE  # the pen fills the last of its finer pixels too
KINDS = ("circle", "rect", "triangle", "diamond")


@dataclass(frozen=True)
class Element:
    """One element: its middle, half its width and half its height, and its fill."""

    kind: str
    x: int
    y: int
    half_width: int
    half_height: int
    fill: str

    def code(self) -> str:
        """As SVG."""
        x, y, w, h = self.x, self.y, self.half_width, self.half_height
        if self.kind == "circle":
            return f'<circle cx="{x}" cy="{y}" r="{w}" fill="{self.fill}"/>'
        if self.kind == "rect":
            place = f'x="{x - w}" y="{y - h}" width="{2 * w}" height="{2 * h}"'
            return f'<rect {place} fill="{self.fill}"/>'
        points = {
            "triangle": ((x, y - h), (x + w, y + h), (x - w, y + h)),
            "diamond": ((x, y - h), (x + w, y), (x, y + h), (x - w, y)),
        }[self.kind]
        written = " ".join(f"{a},{b}" for a, b in points)
        return f'<polygon points="{written}" fill="{self.fill}"/>'


def document(elements: Sequence[Element]) -> str:
    """The whole code, one element per line."""
    lines = [element.code() for element in elements]
    return "\n".join([f'<svg viewBox="0 0 {SIDE} {SIDE}">', *lines, "</svg>"])


def elements(rng: np.random.Generator, count: int) -> list[Element]:
    """`count` <= 4 elements of different kinds and fills, each in its own quarter."""
    places = np.sort(rng.choice(4, count, replace=False)).tolist()
    kinds, fills = pick_some(rng, KINDS, count), pick_some(rng, COLOURS, count)
    found = []
    for kind, fill, place in zip(kinds, fills, places, strict=True):
        x, y = (14 + 28 * cell + int(pick(rng, (-2, 0, 2))) for cell in (place % 2, place // 2))
        width = int(pick(rng, (6, 8, 10)))
        height = int(pick(rng, (6, 8, 10))) if kind == "rect" else width
        found.append(Element(kind, x, y, width, height, fill))
    return found


def changed(rng: np.random.Generator, element: Element) -> tuple[Element, str]:
    """The element with one attribute changed, and the attribute as it should be."""
    if element.kind == "circle" and rng.random() < 0.5:
        radius = int(pick(rng, [r for r in (6, 8, 10) if r != element.half_width]))
        new = replace(element, half_width=radius, half_height=radius)
        return new, f'r="{element.half_width}"'
    fill = pick(rng, [key for key in COLOURS if key != element.fill])
    return replace(element, fill=fill), f'fill="{element.fill}"'


def render(code: str) -> Pixels:
    """Draws SVG made of circle, rect and polygon elements on white.

    Raises:
        ValueError: another element.
    """
    root = ElementTree.fromstring(code)
    _, _, width, height = (int(n) for n in root.attrib["viewBox"].split())
    sheet = new_sheet((width, height), WHITE, SCALE)
    for element in root:
        get = element.attrib.__getitem__
        fill = PALETTE[get("fill")][1]
        if element.tag == "circle":
            sheet.disc((int(get("cx")), int(get("cy"))), int(get("r")), fill)
        elif element.tag == "rect":
            x, y = int(get("x")), int(get("y"))
            right, bottom = x + int(get("width")) - EDGE, y + int(get("height")) - EDGE
            sheet.box((x, y, right, bottom), fill)
        elif element.tag == "polygon":
            pairs = [pair.split(",") for pair in get("points").split()]
            sheet.polygon([(int(x), int(y)) for x, y in pairs], fill)
        else:
            raise ValueError(f"SVG element <{element.tag}>; expected circle, rect or polygon")
    return sheet.pixels()
