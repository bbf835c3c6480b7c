"""What all drawn pictures share: a sheet to draw on, the font, colours, and wrapped text."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from cogvit_jax.data.assets import FONT_PATH

T = TypeVar("T")
Colour = tuple[int, int, int]
Point = tuple[float, float]

SIDE = 224  # pixels; sheets have about SIDE * SIDE of them
WHITE: Colour = (255, 255, 255)
BLACK: Colour = (20, 20, 24)
# English, Chinese, the colour itself: dark enough for thin lines on white.
COLOURS: tuple[tuple[str, str, Colour], ...] = (
    ("red", "红色", (204, 36, 40)),
    ("green", "绿色", (28, 140, 60)),
    ("blue", "蓝色", (30, 92, 200)),
    ("orange", "橙色", (232, 124, 12)),
    ("purple", "紫色", (124, 58, 168)),
    ("brown", "棕色", (128, 78, 40)),
    ("pink", "粉色", (226, 90, 160)),
    ("black", "黑色", BLACK),
)


@dataclass(frozen=True)
class Drawing:
    """A picture and what it shows.

    Attributes:
        pixels: `[h, w, 3]`.
        english: captions that say the same in other words.
        chinese: the same in Chinese.
        concept: equal only where every caption of one picture is true of the other.
        instruction: what to do or to answer, in the language of the picture; may be empty.
    """

    pixels: UInt8[np.ndarray, "h w 3"]
    english: tuple[str, ...]
    chinese: tuple[str, ...]
    concept: str
    instruction: str = ""


@dataclass(frozen=True)
class Sheet:
    """A picture being drawn; all lengths in final pixels, `scale` times finer while drawing."""

    image: Image.Image
    pen: ImageDraw.ImageDraw
    scale: int

    @property
    def width(self) -> int:
        """Final pixels."""
        return self.image.width // self.scale

    @property
    def height(self) -> int:
        """Final pixels."""
        return self.image.height // self.scale

    def text(
        self, at: Point, text: str, size: int, fill: Colour = BLACK, anchor: str = "la"
    ) -> None:
        """Draws one line; `anchor` as Pillow's, "la" is its upper left corner."""
        place = (at[0] * self.scale, at[1] * self.scale)
        self.pen.text(place, text, fill, _font(size * self.scale), anchor)

    def line(self, points: Sequence[Point], fill: Colour, width: float = 1) -> None:
        """Draws a line through `points`."""
        self.pen.line(self._scaled(points), fill, max(1, round(width * self.scale)), "curve")

    def box(
        self,
        corners: tuple[float, float, float, float],
        fill: Colour | None = None,
        outline: Colour | None = None,
        radius: float = 0,
        width: int = 1,
    ) -> None:
        """Draws a rectangle (left, top, right, bottom), with rounded corners if `radius`."""
        place = [value * self.scale for value in corners]
        self.pen.rounded_rectangle(place, radius * self.scale, fill, outline, width * self.scale)

    def disc(
        self, at: Point, radius: float, fill: Colour | None = None, outline: Colour | None = None
    ) -> None:
        """Draws a filled circle, a ring, or both."""
        x, y, r = (value * self.scale for value in (*at, radius))
        self.pen.ellipse((x - r, y - r, x + r, y + r), fill, outline, self.scale)

    def polygon(self, points: Sequence[Point], fill: Colour) -> None:
        """Draws a filled polygon."""
        self.pen.polygon(self._scaled(points), fill)

    def pixels(self) -> UInt8[np.ndarray, "h w 3"]:
        """The finished picture."""
        image = self.image.reduce(self.scale) if self.scale > 1 else self.image
        return np.array(image)

    def _scaled(self, points: Sequence[Point]) -> list[Point]:
        return [(x * self.scale, y * self.scale) for x, y in points]


def new_sheet(size: tuple[int, int], background: Colour, scale: int = 1) -> Sheet:
    """An empty sheet of `size` = (width, height)."""
    image = Image.new("RGB", (size[0] * scale, size[1] * scale), background)
    return Sheet(image, ImageDraw.Draw(image), scale)


def sheet_of(pixels: Float[np.ndarray, "h w 3"]) -> Sheet:
    """A sheet with these pixels (0 ... 255, clipped), to draw marks on."""
    picture = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    sheet = new_sheet(picture.size, BLACK)
    sheet.image.paste(picture)
    return sheet


def smooth_noise(
    rng: np.random.Generator, size: tuple[int, int], cells: int
) -> Float[np.ndarray, "h w"]:
    """Noise of standard deviation about 1 with `cells` bumps along a side."""
    coarse = Image.fromarray(rng.standard_normal((cells, cells), np.float32))
    return np.asarray(coarse.resize((size[1], size[0]), Image.Resampling.BICUBIC))


def draw_size(rng: np.random.Generator, low: float = 0.7, high: float = 1.5) -> tuple[int, int]:
    """(width, height) of about SIDE * SIDE pixels with width / height in `low ... high`."""
    aspect = np.exp(rng.uniform(np.log(low), np.log(high)))
    return round(SIDE * aspect**0.5), round(SIDE / aspect**0.5)


def pick(rng: np.random.Generator, choices: Sequence[T]) -> T:
    """One of `choices`, each equally likely."""
    return choices[int(rng.integers(len(choices)))]


def pick_some(rng: np.random.Generator, choices: Sequence[T], count: int) -> list[T]:
    """`count` different ones of `choices` in random order."""
    return [choices[i] for i in rng.choice(len(choices), count, replace=False)]


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """`share` of the second colour in the first."""
    values = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    red, green, blue = values
    return red, green, blue


@functools.lru_cache(maxsize=8192)
def text_width(text: str, size: int) -> float:
    """Length of one line in pixels."""
    return _font(size).getlength(text)


def largest_size(texts: Sequence[str], room: float, sizes: Sequence[int]) -> int:
    """The first of `sizes` (falling) at which every text fits into `room` pixels, or the last."""
    widest = max(texts, key=lambda text: text_width(text, sizes[-1]))
    return next((size for size in sizes if text_width(widest, size) <= room), sizes[-1])


def wrap(text: str, size: int, room: float) -> list[str]:
    """Lines no longer than `room` pixels: English breaks at spaces, Chinese anywhere.

    A line does not begin with a Chinese punctuation mark; the character before moves with it.
    """
    pieces = text.split(" ") if text.isascii() else list(text)
    joint = " " if text.isascii() else ""
    lines, line, length = [], "", 0.0
    for piece in pieces:
        longer = text_width(joint + piece, size)
        if line and length + longer > room:
            kept = line[:-1] if piece in "，。、！？" else line
            lines.append(kept)
            line = line[len(kept) :] + piece
            length = text_width(line, size)
        else:
            line, length = f"{line}{joint}{piece}" if line else piece, length + longer
    return [*lines, line]


def with_instruction(
    rng: np.random.Generator, pixels: UInt8[np.ndarray, "h w 3"], instruction: str
) -> UInt8[np.ndarray, "h1 w 3"]:
    """The picture with its instruction in a strip above or below it."""
    width = pixels.shape[1]
    size = largest_size([instruction], width - 12, range(15, 9, -1))
    lines = wrap(instruction, size, width - 12)
    paper = mix(pick(rng, COLOURS)[2], WHITE, rng.uniform(0.75, 1))
    sheet = new_sheet((width, round(len(lines) * size * 1.35) + 8), paper)
    for i, line in enumerate(lines):
        sheet.text((6, 4 + i * size * 1.35), line, size)
    strip = sheet.pixels()
    return np.concatenate([strip, pixels] if rng.random() < 0.7 else [pixels, strip])


@functools.lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.FreeTypeFont:
    # The basic layout is inside Pillow; the other depends on what the machine has.
    return ImageFont.truetype(str(FONT_PATH), size, layout_engine=ImageFont.Layout.BASIC)
