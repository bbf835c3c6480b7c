"""Pictures to be looked at: frames side by side with their seconds, files made smaller, PNGs."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from cogvit_jax.data.rendering.canvas import BLACK, Colour, new_sheet
from mmtp.data.records import Image, Part, Text, Video
from mmtp.data.tasks.example import Pixels

PAPER: Colour = (255, 255, 255)
GREY: Colour = (120, 120, 120)
LINE: Colour = (205, 205, 210)
GAP, CAPTION = 4, 16  # pixels: between pictures, of the line below a frame


def pixels(data: bytes | np.ndarray) -> Pixels:
    """A picture as `[h, w, 3]` uint8."""
    if isinstance(data, bytes):
        return np.array(Pillow.open(io.BytesIO(data)).convert("RGB"))
    return np.array(Pillow.fromarray(data).convert("RGB"))


def fitted(picture: Pixels, width: int) -> Pixels:
    """The picture, made smaller where it is wider than `width`."""
    height = round(len(picture) * width / picture.shape[1])
    if picture.shape[1] <= width:
        return picture
    small = Pillow.fromarray(picture).resize((width, max(1, height)), Pillow.Resampling.LANCZOS)
    return np.array(small)


def frames(video: Video, width: int, most: int = 4) -> Pixels:
    """The frames of a clip in rows of at most `most`, in all `width` pixels, with their seconds."""
    cells = min(most, len(video.frames))
    room = (width - GAP * (cells - 1)) // cells
    shown = [
        _captioned(fitted(pixels(frame), room), f"{seconds:g} s")
        for frame, seconds in zip(video.frames, video.seconds, strict=True)
    ]
    return beside(shown, width)


def beside(pictures: Sequence[Pixels], width: int) -> Pixels:
    """Pictures from left to right, in as many rows of `width` pixels as it takes."""
    rows: list[list[Pixels]] = [[]]
    for picture in (fitted(picture, width) for picture in pictures):
        used = sum(one.shape[1] + GAP for one in rows[-1])
        if rows[-1] and used + picture.shape[1] > width:
            rows.append([])
        rows[-1].append(picture)
    return stacked([_row(row) for row in rows if row])


def stacked(strips: Sequence[Pixels]) -> Pixels:
    """Strips one below the other, white to the right of those that are narrower."""
    width = max(strip.shape[1] for strip in strips)
    return np.concatenate([padded(strip, len(strip) + GAP, width) for strip in strips])


def framed(picture: Pixels, caption: str = "") -> Pixels:
    """The picture with a thin line around it, and a caption above it."""
    page = np.full((len(picture) + 2, picture.shape[1] + 2, 3), LINE, np.uint8)
    page[1:-1, 1:-1] = picture
    return np.concatenate([_line(caption, page.shape[1], BLACK), page]) if caption else page


def padded(picture: Pixels, height: int, width: int) -> Pixels:
    """The picture in the upper left corner of a white one."""
    page = np.full((height, width, 3), PAPER, np.uint8)
    page[: len(picture), : picture.shape[1]] = picture
    return page


def shown(part: Part, width: int = 10_000) -> Pixels | None:
    """A picture, or the frames of a clip; None of a text."""
    if isinstance(part, Text):
        return None
    if isinstance(part, Image):
        return fitted(pixels(part.data), width)
    widest = max(pixels(frame).shape[1] for frame in part.frames)
    return frames(part, min(width, min(4, len(part.frames)) * (widest + GAP) - GAP))


def save(picture: Pixels, path: Path) -> Path:
    """Writes a PNG, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(picture).save(path)
    return path


def _captioned(picture: Pixels, text: str) -> Pixels:
    return np.concatenate([picture, _line(text, picture.shape[1], GREY)])


def _line(text: str, width: int, ink: Colour) -> Pixels:
    sheet = new_sheet((width, CAPTION), PAPER)
    sheet.text((2, 1), text, 11, ink)
    return sheet.pixels()


def _row(row: Sequence[Pixels]) -> Pixels:
    height = max(len(picture) for picture in row)
    cells = [padded(picture, height, picture.shape[1] + GAP) for picture in row]
    return np.concatenate(cells, axis=1)[:, :-GAP]
