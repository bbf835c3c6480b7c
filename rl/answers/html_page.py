"""A strict subset of HTML: one body of headings, paragraphs, buttons, fields, lists and boxes.

Styles are colours, heights, padding, and rows (`display:flex`), whose children share the width. No
scripts, links, pictures, style sheets or classes: what has any of these is None.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from rl.answers.colours import Colour, parse_colour
from rl.answers.markup import Node, parse

TEXTS = ("h1", "h2", "p", "button", "li")  # hold text
MAX_PIXELS = 2000
_STYLE = frozenset(("style",))
_ALLOWED = {
    "body": frozenset(),
    "input": frozenset(("style", "value")),
    **{tag: _STYLE for tag in (*TEXTS, "div", "ul", "hr")},
}
_PIXELS = re.compile(r"([0-9]{1,4})px")


@dataclass(frozen=True)
class Style:
    """What is drawn differently; None or 0 = as it is by default."""

    background: Colour | None = None
    colour: Colour | None = None
    height: int = 0
    padding: int = 0
    row: bool = False
    centred: bool = False


@dataclass(frozen=True)
class Element:
    """An element: text or elements inside, never both."""

    tag: str
    style: Style
    text: str
    children: "tuple[Element, ...]"


def parse_page(answer: str) -> Element | None:
    """The body that an answer consists of, or None."""
    root = parse(answer, _ALLOWED, frozenset(("input", "hr")))
    return _element(root) if root is not None and root.tag == "body" else None


def _element(node: Node) -> Element | None:
    style = _style(node.attributes.get("style", ""))
    texts = [child for child in node.children if isinstance(child, str)]
    nodes = [child for child in node.children if isinstance(child, Node)]
    allowed = (len(texts) <= 1 and not nodes) if node.tag in TEXTS else not texts
    if style is None or not allowed:
        return None
    inside = [_element(child) for child in nodes]
    found = tuple(child for child in inside if child is not None)
    if len(found) < len(inside) or any((c.tag == "li") != (node.tag == "ul") for c in found):
        return None
    if any(child.tag == "body" for child in found):
        return None
    text = node.attributes.get("value", "") if node.tag == "input" else "".join(texts)
    return Element(node.tag, style, text, found)


def _style(text: str) -> Style | None:
    given: dict[str, str] = {}
    for item in text.split(";"):
        if item.strip():
            key, colon, value = item.partition(":")
            if not colon or key.strip() in given:
                return None
            given[key.strip()] = value.strip()
    ground = given.pop("background", None) or given.pop("background-color", None)
    colours = [parse_colour(said) for said in (ground, given.pop("color", None)) if said]
    background = parse_colour(ground) if ground else None
    flags = [given.pop(key, None) for key in ("display", "text-align")]
    sizes = _sizes(given)
    if None in colours or sizes is None or given:
        return None
    if flags[0] not in (None, "flex", "block") or flags[1] not in (None, "left", "center"):
        return None
    colour = colours[-1] if len(colours) > bool(ground) else None
    return Style(background, colour, *sizes, flags[0] == "flex", flags[1] == "center")


def _sizes(given: dict[str, str]) -> tuple[int, int] | None:
    """Height and padding in pixels, taken out of a style."""
    found = []
    for key in ("height", "padding"):
        number = _PIXELS.fullmatch(given.pop(key, "0px"))
        if not number or int(number[1]) > MAX_PIXELS:
            return None
        found.append(int(number[1]))
    return found[0], found[1]


def attributes(style: Mapping[str, str]) -> str:
    """A style as it stands in a tag, with a space before it; "" where there is none."""
    said = ";".join(f"{key}:{value}" for key, value in style.items())
    return f' style="{said}"' if said else ""
