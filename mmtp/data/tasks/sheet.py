"""Contact sheets of what is drawn: python -m mmtp.data.tasks.sheet gui/train OUT.png"""

import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image as Pillow

from cogvit_jax.data.assets import FONT_PATH
from cogvit_jax.data.rendering.canvas import BLACK, WHITE, Colour, new_sheet, wrap
from mmtp.data.records import Document, Image, Message, Text, Video
from mmtp.data.tasks import open_tasks
from mmtp.data.tasks.example import Pixels

CHARACTERS_PATH = FONT_PATH.with_name("font_characters.txt")  # what the font has
COLUMNS = 4
WIDTH, SIZE, GAP = 340, 13, 12  # pixels: of a document, of its text, between documents
INKS: dict[str, Colour] = {
    "assistant": (0, 110, 40),
    "observation": (140, 70, 0),
    "system": (120, 120, 120),
}


def sheet(set_name: str, rows: int = 8) -> Pixels:
    """The first documents of a set with all they say, COLUMNS in a row: assistants' text in green.

    Args:
        set_name: as `open_tasks` takes it, such as "gui/train".
        rows: of documents.
    """
    records = open_tasks(set_name).records
    count = min(rows * COLUMNS, len(records))
    cards = [card(cast(Document, cast(object, records[i]))) for i in range(count)]
    return np.concatenate([_row(cards[i : i + COLUMNS]) for i in range(0, count, COLUMNS)])


def card(document: Document) -> Pixels:
    """One document, WIDTH pixels wide: its id, then its parts one below the other."""
    strips = [_text(document.id, (150, 150, 150))]
    for message in document.messages:
        strips += _message(message)
    return np.concatenate([_widened(strip) for strip in strips])


def _message(message: Message) -> list[Pixels]:
    ink = INKS.get(message.role, BLACK)
    strips = [_text(f"({message.thinking})", (110, 110, 160))] if message.thinking else []
    for part in message.parts:
        if isinstance(part, Text):
            strips.append(_text(part.text, ink))
        else:
            strips.append(_side_by_side(part))
    return strips


def _side_by_side(part: Image | Video) -> Pixels:
    """A picture, or the frames of a clip."""
    frames = part.frames if isinstance(part, Video) else (part.data,)
    pictures = [np.asarray(frame) for frame in frames]
    height = max(len(picture) for picture in pictures) + 2
    padded = [_padded(picture, height, picture.shape[1] + 2) for picture in pictures]
    return np.concatenate(padded, axis=1)


def _text(text: str, ink: Colour) -> Pixels:
    """Wrapped text; what the font lacks comes out as "_"."""
    shown = "".join(c if c in _characters() or c == "\n" else "_" for c in text)
    lines = [(_indent(line), part) for line in shown.split("\n") for part in _wrapped(line)]
    drawn = new_sheet((WIDTH, 17 * len(lines) + 2), WHITE)
    for i, (left, line) in enumerate(lines):
        drawn.text((2 + left, 17 * i + 1), line, SIZE, ink)
    return drawn.pixels()


def _wrapped(line: str) -> list[str]:
    return wrap(line.strip(), SIZE, WIDTH - 8 - _indent(line))


def _indent(line: str) -> int:
    """Pixels by which a line of code is moved in."""
    return 6 * (len(line) - len(line.lstrip()))


@functools.lru_cache(maxsize=1)
def _characters() -> frozenset[str]:
    return frozenset(CHARACTERS_PATH.read_text(encoding="utf-8"))


def _row(cards: Sequence[Pixels]) -> Pixels:
    height = max(len(one) for one in cards) + GAP
    padded = [_padded(one, height, WIDTH + GAP) for one in cards]
    row = np.concatenate(padded, axis=1)
    return _padded(row, height, COLUMNS * (WIDTH + GAP))


def _widened(strip: Pixels) -> Pixels:
    return _padded(strip, len(strip), WIDTH)[:, :WIDTH]


def _padded(picture: Pixels, height: int, width: int) -> Pixels:
    """The picture in the upper left corner of a white one."""
    page = np.full((height, max(width, picture.shape[1]), 3), 255, np.uint8)
    page[: len(picture), : picture.shape[1]] = picture
    return page


def main(arguments: Sequence[str]) -> None:
    """Writes the sheet of a set to a file.

    Raises:
        SystemExit: not exactly the name of a set and a file.
    """
    if len(arguments) != 2:
        raise SystemExit("Usage: python -m mmtp.data.tasks.sheet NAME/train OUT.png")
    target = Path(arguments[1])
    Pillow.fromarray(sheet(arguments[0])).save(target)
    print(f"{arguments[0]}: {target}")


if __name__ == "__main__":
    main(sys.argv[1:])
