"""A question about a tiny thing in a large picture of a town."""

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

from cogvit_jax.data.rendering.canvas import BLACK, WHITE, Sheet, mix, new_sheet, pick, pick_some
from mmtp.data.records import Image, Text
from mmtp.data.tasks import scenes
from rl.envs.category import Category, Draw, Drawn, by_answer
from rl.envs.parts import choices
from rl.rewards.rules import choice

ASKS = {
    "colour": {
        "en": "Somewhere is a tiny {kind} on a white spot. What colour is it?",
        "zh": "图中某处的白色圆点上有一个很小的{kind}。它是什么颜色？",
    },
    "kind": {
        "en": "Somewhere is a tiny {colour} shape on a white spot. Which shape is it?",
        "zh": "图中某处的白色圆点上有一个很小的{colour}的形状。它是什么形状？",
    },
    "number": {
        "en": "Somewhere is a tiny white sign. Which number is on it?",
        "zh": "图中某处有一块很小的白色牌子。上面的数是多少？",
    },
}
SIZES = ((224, 168), (392, 280), (560, 420), (840, 616), (1120, 840))  # pixels
RADII = (8, 8, 7, 7, 6)  # pixels of the thing
OTHERS = (0, 1, 2, 3, 5)  # other tiny things
FINE = 4  # tiny things are drawn so much finer, then averaged


def draw(context: Draw) -> Drawn:
    """A town with tiny things in it, and four options."""
    rng, difficulty, language = context
    size, radius = SIZES[difficulty], RADII[difficulty]
    sheet = _town(rng, size)
    asked = pick(rng, tuple(ASKS))
    things = scenes.different(rng, 1 + OTHERS[difficulty])
    places = _apart(rng, size, len(things) + 1, 3 * radius)
    for (kind, colour), place in zip(things, places, strict=False):
        _thing(sheet, kind, colour, place, radius)
    kind, colour = things[0]
    number = int(rng.integers(10, 100))
    if asked == "number":
        _sign(sheet, str(number), places[-1])
    shown, answer = _options(rng, asked, kind, colour, number, language)
    question = ASKS[asked][language].format(
        kind=scenes.SHAPES[kind].of(language), colour=scenes.colour_name(colour, language)
    )
    question = f"{question}\n{choices.lettered(shown, language)}"
    place = list(places[-1] if asked == "number" else places[0])
    reference = {"answer": answer, "options": shown, "asked": asked, "colour": colour}
    return Drawn((Image(sheet.pixels()), Text(question)), {**reference, "place": place})


def _options(
    rng: np.random.Generator, asked: str, kind: str, colour: str, number: int, language: str
) -> tuple[list[str], int]:
    """Four options in any order, and which is right."""
    if asked == "number":
        near = [n for n in (number - 10, number + 10, number - 1, number + 1, number + 11) if n > 9]
        names = [str(n) for n in (number, *pick_some(rng, near, 3))]
    elif asked == "colour":
        others = pick_some(rng, [c for c in scenes.COLOURS if c != colour], 3)
        names = [scenes.colour_name(c, language) for c in (colour, *others)]
    else:
        others = pick_some(rng, [k for k in scenes.KINDS if k != kind], 3)
        names = [scenes.SHAPES[k].of(language) for k in (kind, *others)]
    order = rng.permutation(4).tolist()
    return [names[i] for i in order], order.index(0)


def _town(rng: np.random.Generator, size: tuple[int, int]) -> Sheet:
    """Sky, hills, rows of houses with windows, and trees, in muted colours."""
    width, height = size
    sky = pick(rng, ((186, 206, 224), (222, 206, 192), (196, 200, 206)))
    sheet = new_sheet(size, sky)
    horizon = 0.35 * height
    steps = np.linspace(0, width, 9)
    for depth in range(2):
        ridge = horizon + height * (0.06 * depth + rng.uniform(-0.08, 0.02, 9))
        hill = [(0, height), *zip(steps.tolist(), ridge.tolist(), strict=True), (width, height)]
        sheet.polygon(hill, ((150, 166, 150), (132, 150, 128))[depth])
    sheet.box((0, 0.5 * height, width, height), (150, 148, 140))
    rows = max(2, height // 130)
    for row in range(rows):
        base = height * (0.55 + 0.43 * (row + 1) / rows)
        _houses(rng, sheet, base)
    return sheet


def _houses(rng: np.random.Generator, sheet: Sheet, base: float) -> None:
    """A row of houses and trees that stand on a line."""
    left = float(rng.uniform(-20, 0))
    while left < sheet.width:
        wide, high = rng.uniform(30, 70), rng.uniform(34, 74)
        if rng.random() < 0.25:
            sheet.box((left + 9, base - 22, left + 13, base), (96, 80, 66))
            sheet.disc((left + 11, base - 30), rng.uniform(10, 15), (98, 124, 92))
            left += 26
            continue
        wall = mix((176, 152, 132), (150, 156, 164), rng.random())
        sheet.box((left, base - high, left + wide, base), wall)
        roof = [(left - 3, base - high), (left + wide / 2, base - high - 16)]
        sheet.polygon([*roof, (left + wide + 3, base - high)], (118, 92, 84))
        for x in np.arange(left + 6, left + wide - 11, 14).tolist():
            for y in np.arange(base - high + 6, base - 14, 16).tolist():
                sheet.box((x, y, x + 6, y + 8), (104, 112, 122))
        left += wide + rng.uniform(2, 16)


def _apart(
    rng: np.random.Generator, size: tuple[int, int], count: int, gap: float
) -> list[tuple[int, int]]:
    """Places away from the edges and from each other: a cell of a grid for each."""
    columns, rows = int((size[0] - 40) // (2 * gap)), int((size[1] - 40) // (2 * gap))
    cells = rng.choice(columns * rows, count, replace=False).tolist()
    jitter = rng.uniform(-gap / 3, gap / 3, (count, 2)).tolist()
    return [
        (
            round(20 + 2 * gap * (cell % columns + 0.5) + x),
            round(20 + 2 * gap * (cell // columns + 0.5) + y),
        )
        for cell, (x, y) in zip(cells, jitter, strict=True)
    ]


def _thing(sheet: Sheet, kind: str, colour: str, place: tuple[int, int], radius: int) -> None:
    """A small shape on a white spot, so that it stands out from any ground."""
    tile, middle = _tile(sheet, place, radius + 5)
    tile.disc((middle, middle), radius + 4, WHITE)
    shape = scenes.Shape(kind, colour, (float(middle), float(middle)), float(radius))
    scenes.draw_shape(tile, shape)
    _paste(sheet, tile, place, radius + 5)


def _sign(sheet: Sheet, number: str, place: tuple[int, int]) -> None:
    """A small white sign with a number."""
    tile, middle = _tile(sheet, place, 14)
    tile.box((1, middle - 9, 2 * middle - 1, middle + 9), WHITE, BLACK)
    tile.text((middle, middle), number, 15, BLACK, "mm")
    _paste(sheet, tile, place, 14)


def _tile(sheet: Sheet, place: tuple[int, int], reach: int) -> tuple[Sheet, int]:
    """A square of the sheet, finer, to draw on; and its middle."""
    (x, y), side = place, 2 * reach
    part = sheet.image.crop((x - reach, y - reach, x + reach, y + reach))
    part = part.resize((side * FINE, side * FINE), Pillow.Resampling.NEAREST)
    return Sheet(part, ImageDraw.Draw(part), FINE), reach


def _paste(sheet: Sheet, tile: Sheet, place: tuple[int, int], reach: int) -> None:
    sheet.image.paste(tile.image.reduce(FINE), (place[0] - reach, place[1] - reach))


CATEGORY = Category(
    name="tiny_object",
    group="perception",
    level="element",
    benchmark="V*, HR-Bench",
    scale="the picture, from 224 x 168 to 1120 x 840, around a thing of 12 … 16 pixels",
    draw=draw,
    score=by_answer(choice.choice),
    oracle=choices.oracle,
    distractors=choices.distractors,
    guess=choices.guess,
)
