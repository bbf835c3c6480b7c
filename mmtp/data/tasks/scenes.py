"""Coloured shapes on a plain ground: the pictures of the simplest tasks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cogvit_jax.data.rendering.canvas import Colour, Sheet, mix, new_sheet, pick, pick_some
from mmtp.data.tasks.example import Corners, Number, Pixels

SCALE = 3  # drawn finer, then averaged
PATCH = 28  # sides of pictures are multiples of it: a merged token's side


@dataclass(frozen=True)
class Named:
    """A word in both languages."""

    en: str
    zh: str

    def of(self, language: str) -> str:
        """The word in "en" or "zh"."""
        return self.zh if language == "zh" else self.en


PALETTE: dict[str, tuple[Named, Colour]] = {
    "red": (Named("red", "红色"), (220, 30, 36)),
    "green": (Named("green", "绿色"), (24, 150, 56)),
    "blue": (Named("blue", "蓝色"), (32, 84, 214)),
    "yellow": (Named("yellow", "黄色"), (244, 206, 20)),
    "purple": (Named("purple", "紫色"), (136, 48, 176)),
    "orange": (Named("orange", "橙色"), (245, 130, 18)),
    "pink": (Named("pink", "粉色"), (244, 128, 190)),
    "black": (Named("black", "黑色"), (20, 20, 24)),
}
COLOURS = tuple(PALETTE)
SHAPES: dict[str, Named] = {
    "circle": Named("circle", "圆形"),
    "square": Named("square", "正方形"),
    "triangle": Named("triangle", "三角形"),
    "star": Named("star", "星形"),
    "diamond": Named("diamond", "菱形"),
    "cross": Named("cross", "十字形"),
}
KINDS = tuple(SHAPES)


@dataclass(frozen=True)
class Shape:
    """One shape of a picture.

    Attributes:
        kind: key of SHAPES.
        colour: key of PALETTE.
        middle: (x, y) in pixels; that pixel always has the shape's colour unless covered.
        radius: half the side of its box.
    """

    kind: str
    colour: str
    middle: tuple[float, float]
    radius: float

    @property
    def box(self) -> Corners:
        """The smallest square around it."""
        (x, y), r = self.middle, self.radius
        return x - r, y - r, x + r, y + r

    def name(self, language: str, article: bool = False) -> str:
        """Colour and kind: "red circle", "红色圆形"; with an article "a red circle"."""
        colour, kind = PALETTE[self.colour][0].of(language), SHAPES[self.kind].of(language)
        if language == "zh":
            return f"一个{colour}{kind}" if article else colour + kind
        name = f"{colour} {kind}"
        return f"{'an' if name[0] == 'o' else 'a'} {name}" if article else name


def colour_name(key: str, language: str) -> str:
    """The colour's word."""
    return PALETTE[key][0].of(language)


def draw_shape(sheet: Sheet, shape: Shape) -> None:
    """Draws one shape."""
    (x, y), r, fill = shape.middle, shape.radius, PALETTE[shape.colour][1]
    if shape.kind == "circle":
        sheet.disc((x, y), r, fill)
    elif shape.kind == "square":
        sheet.box(shape.box, fill)
    elif shape.kind == "cross":
        sheet.box((x - r, y - r / 3, x + r, y + r / 3), fill)
        sheet.box((x - r / 3, y - r, x + r / 3, y + r), fill)
    else:
        sheet.polygon(_corners(shape.kind, (x, y), r), fill)


def _corners(kind: str, middle: tuple[float, float], r: float) -> list[tuple[float, float]]:
    x, y = middle
    if kind == "triangle":
        return [(x, y - r), (x + r, y + r), (x - r, y + r)]
    if kind == "diamond":
        return [(x, y - r), (x + 0.75 * r, y), (x, y + r), (x - 0.75 * r, y)]
    angles = np.arange(10) * np.pi / 5 - np.pi / 2
    reach = np.where(np.arange(10) % 2 == 0, r, 0.42 * r)
    return [(x + d * np.cos(a), y + d * np.sin(a)) for d, a in zip(reach, angles, strict=True)]


def draw(shapes: Sequence[Shape], size: tuple[int, int], ground: Colour) -> Pixels:
    """A picture of `size` = (width, height) with these shapes, later ones in front."""
    sheet = new_sheet(size, ground, SCALE)
    for shape in shapes:
        draw_shape(sheet, shape)
    return sheet.pixels()


def light_ground(rng: np.random.Generator) -> Colour:
    """White, or a little of some colour."""
    tint = PALETTE[pick(rng, COLOURS)][1]
    return mix((255, 255, 255), tint, float(pick(rng, (0, 0.04, 0.1))))


def different(rng: np.random.Generator, count: int, by: str = "both") -> list[tuple[str, str]]:
    """`count` pairs (kind, colour): no kind or colour twice where `by` names it.

    Args:
        rng: random numbers.
        count: at most 6.
        by: "kind", "colour", "both", or "pair" (only the pair is new).
    """
    if by == "pair":
        pairs = [(kind, colour) for kind in KINDS for colour in COLOURS]
        return pick_some(rng, pairs, count)
    kinds = (
        pick_some(rng, KINDS, count) if by != "colour" else [pick(rng, KINDS) for _ in "x" * count]
    )
    one = by == "kind"
    colours = [pick(rng, COLOURS) for _ in kinds] if one else pick_some(rng, COLOURS, count)
    return list(zip(kinds, colours, strict=True))


def scatter(
    rng: np.random.Generator,
    pairs: Sequence[tuple[str, str]],
    cells: int = 2,
    radii: tuple[Number, Number] = (8, 11),
    cell: int = PATCH,
) -> list[Shape]:
    """Puts shapes into different cells of a square picture, in reading order.

    Args:
        rng: random numbers.
        pairs: (kind, colour) of each.
        cells: per side.
        radii: smallest and largest radius in pixels; at most half a cell.
        cell: side of a cell in pixels.
    """
    places = np.sort(rng.choice(cells * cells, len(pairs), replace=False))
    shapes = []
    for (kind, colour), place in zip(pairs, places, strict=True):
        radius = rng.uniform(*radii)
        slack = cell / 2 - radius - 1
        shift = rng.uniform(-slack, slack, 2)
        x = (place % cells + 0.5) * cell + shift[0]
        y = (place // cells + 0.5) * cell + shift[1]
        shapes.append(Shape(kind, colour, (float(round(x)), float(round(y))), float(radius)))
    return shapes


def side_by_side(
    rng: np.random.Generator, pairs: Sequence[tuple[str, str]]
) -> tuple[Shape, Shape, int]:
    """Two shapes of a 56 x 56 picture, and the side of the second that the first is on.

    Returns:
        Both shapes, and 0 = left, 1 = right, 2 = above, 3 = below: the two share a row of pixels
        or a column, within a few.
    """
    side = int(rng.integers(4))
    near, far = (float(rng.integers(low, low + 5)) for low in (12, 40))
    first, second = (near, far) if side % 2 == 0 else (far, near)
    level = rng.integers(14, 43) + rng.integers(-2, 3, 2)
    places = [(first, float(level[0])), (second, float(level[1]))]
    if side > 1:
        places = [(y, x) for x, y in places]
    shapes = [
        Shape(*pair, place, float(rng.uniform(8, 11)))
        for pair, place in zip(pairs, places, strict=True)
    ]
    return shapes[0], shapes[1], side


def distance(one: Shape, other: Shape) -> float:
    """Between the middles, in pixels."""
    return float(np.hypot(one.middle[0] - other.middle[0], one.middle[1] - other.middle[1]))


def facts(shapes: Sequence[Shape]) -> tuple[tuple[str, str, Corners], ...]:
    """(kind, colour, box in pixels) of each, for tags: what the picture can be checked against."""
    return tuple((shape.kind, shape.colour, shape.box) for shape in shapes)
