"""Colours in code: `#rgb`, `#rrggbb` and a few names."""

import re

Colour = tuple[int, int, int]

NAMES: dict[str, Colour] = {  # of CSS
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "gray": (128, 128, 128),
    "grey": (128, 128, 128),
    "silver": (192, 192, 192),
    "red": (255, 0, 0),
    "green": (0, 128, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 255, 0),
    "orange": (255, 165, 0),
    "purple": (128, 0, 128),
    "pink": (255, 192, 203),
    "brown": (165, 42, 42),
}
_HEX = re.compile(r"#([0-9a-fA-F]{3}|[0-9a-fA-F]{6})")


def parse_colour(text: str) -> Colour | None:
    """The colour that a text names, or None."""
    found = _HEX.fullmatch(text.strip())
    if not found:
        return NAMES.get(text.strip().lower())
    digits = found[1] if len(found[1]) == 6 else "".join(d * 2 for d in found[1])
    return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)


def write(colour: Colour) -> str:
    """As `#rrggbb`."""
    return f"#{colour[0]:02x}{colour[1]:02x}{colour[2]:02x}"
