"""A strict subset of SVG: rect, circle, ellipse, line, polyline and polygon in one viewBox.

Numbers are plain decimals in a range, colours those of `rl.answers.colours`. No style sheets,
groups, transforms, references, scripts or text: what has any of these is None.
"""

import re
from dataclasses import dataclass

from rl.answers.colours import Colour, parse_colour
from rl.answers.markup import Node, parse

MAX_SHAPES, MAX_POINTS, LIMIT = 100, 200, 5000
MAX_NUMBERS = 2000  # of all shapes together
Point = tuple[float, float]

_PAINT = frozenset(("fill", "stroke", "stroke-width"))
_NUMBERS = {
    "rect": ("x", "y", "width", "height"),
    "circle": ("cx", "cy", "r"),
    "ellipse": ("cx", "cy", "rx", "ry"),
    "line": ("x1", "y1", "x2", "y2"),
    "polyline": (),
    "polygon": (),
}
_ALLOWED = {
    "svg": frozenset(("viewBox", "width", "height", "xmlns")),
    **{tag: _PAINT | frozenset(keys) | {"points"} for tag, keys in _NUMBERS.items()},
}
_NUMBER = re.compile(r"-?[0-9]{1,5}(?:\.[0-9]{1,6})?")
_SPLIT = re.compile(r"[\s,]+")


@dataclass(frozen=True)
class Shape:
    """One shape.

    Attributes:
        tag: of the element.
        numbers: of a rect x, y, width, height; of a circle or ellipse the middle and both radii;
            of a line, polyline or polygon x and y of each point.
        fill, stroke: None = not painted.
        width: of the stroke.
    """

    tag: str
    numbers: tuple[float, ...]
    fill: Colour | None
    stroke: Colour | None
    width: float


@dataclass(frozen=True)
class Svg:
    """A picture: (x, y, width, height) of its view, and its shapes, later ones in front."""

    view: tuple[float, float, float, float]
    shapes: tuple[Shape, ...]


def parse_svg(answer: str) -> Svg | None:
    """The picture that an answer consists of, or None."""
    root = parse(answer, _ALLOWED, frozenset())
    if root is None or root.tag != "svg":
        return None
    view = _numbers(root.attributes.get("viewBox", ""))
    if view is None or len(view) != 4 or min(view[2:]) < 1:
        return None
    shapes = [_shape(node) for node in root.children if isinstance(node, Node)]
    found = tuple(shape for shape in shapes if shape is not None)
    whole = len(found) == len(root.children) <= MAX_SHAPES
    whole = whole and sum(len(shape.numbers) for shape in found) <= MAX_NUMBERS
    return Svg((view[0], view[1], view[2], view[3]), found) if whole else None


def _shape(node: Node) -> Shape | None:
    if node.children or node.tag not in _NUMBERS:
        return None
    (filled, fill), (lined, stroke) = (_paint(node, key) for key in ("fill", "stroke"))
    width = _numbers(node.attributes.get("stroke-width", "1"))
    keys = _NUMBERS[node.tag]
    said = " ".join(node.attributes.get(key, "0") for key in keys)
    numbers = _numbers(said if keys else node.attributes.get("points", ""))
    if not filled or not lined or numbers is None or width is None or len(width) != 1:
        return None
    if not _sensible(node.tag, numbers) or not 0 <= width[0] <= LIMIT:
        return None
    if node.tag == "circle":
        numbers = (*numbers, numbers[2])
    fill = None if node.tag == "line" else fill
    return Shape(node.tag, numbers, fill, stroke, width[0])


def _sensible(tag: str, numbers: tuple[float, ...]) -> bool:
    if tag in ("rect", "circle", "ellipse"):
        return len(numbers) == len(_NUMBERS[tag]) and all(n >= 0 for n in numbers[2:])
    if tag == "line":
        return len(numbers) == 4
    return len(numbers) % 2 == 0 and 2 <= len(numbers) // 2 <= MAX_POINTS


def _paint(node: Node, key: str) -> tuple[bool, Colour | None]:
    """Whether it is a colour or "none", and the colour. Black is what fills by default."""
    said = node.attributes.get(key, "black" if key == "fill" else "none")
    colour = parse_colour(said)
    return said == "none" or colour is not None, colour


def _numbers(text: str) -> tuple[float, ...] | None:
    words = [word for word in _SPLIT.split(text.strip()) if word]
    if len(words) > 2 * MAX_POINTS or not all(_NUMBER.fullmatch(word) for word in words):
        return None
    found = tuple(float(word) for word in words)
    return found if all(abs(n) <= LIMIT for n in found) else None
