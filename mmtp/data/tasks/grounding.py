"""Grounding: from words to places in a picture, and from places to words.

A place is written as GLM's vision models write it: integers 0 ... 999 of the width and of the
height, a point as [x,y], a box as [x1,y1,x2,y2] (left, top, right, bottom). The answer is the bare
list; `check.py` also takes it doubled, [[x,y]], and between <|begin_of_box|> and <|end_of_box|>.
"""

from typing import Any

import numpy as np
from PIL import Image as Pillow

from cogvit_jax.data.rendering import texts
from cogvit_jax.data.rendering.canvas import COLOURS, WHITE, new_sheet, pick, pick_some, text_width
from mmtp.data.tasks import scenes
from mmtp.data.tasks.example import (
    GRID,
    Corners,
    Example,
    Pixels,
    ask,
    box_on_grid,
    brackets,
    middle_on_grid,
    say,
)
from mmtp.data.tasks.ocr import handwritten

_POINT = {
    "en": ("Point at the {name}.", "Where is the {name}? Give a point.", "Click the {name}: [x,y]"),
    "zh": ("请指出{name}。", "{name}在哪里？给出一个点。", "点击{name}：[x,y]"),
}
_BOX = {
    "en": (
        "Box of the {name}?",
        "Where is the {name}? Give a box.",
        "Frame the {name}: [x1,y1,x2,y2]",
    ),
    "zh": ("{name}的框？", "{name}在哪里？给出一个框。", "框出{name}：[x1,y1,x2,y2]"),
}
_WHAT = {
    "en": ("What is at {place}?", "Name the shape in {place}."),
    "zh": ("{place}处是什么？", "请说出{place}里的形状。"),
}
_DIGIT = {"en": "digit {}", "zh": "数字{}"}
_WORD = {"en": 'word "{}"', "zh": "文字“{}”"}


def scene(rng: np.random.Generator) -> tuple[list[scenes.Shape], Pixels]:
    """One to five shapes, no two of the same kind and colour."""
    cells = int(rng.integers(2, 4))
    count = int(rng.integers(1, 4 if cells == 2 else 6))
    by = "pair" if rng.random() < 0.5 else "both"
    shapes = scenes.scatter(rng, scenes.different(rng, count, by), cells)
    side = scenes.PATCH * cells
    return shapes, scenes.draw(shapes, (side, side), scenes.light_ground(rng))


def points(rng: np.random.Generator, language: str, split: str) -> Example:
    """A point on the named shape."""
    shapes, picture = scene(rng)
    shape = pick(rng, shapes)
    question = say(rng, _POINT, language, name=shape.name(language))
    facts = scenes.facts(shapes)
    return point_example(
        rng, picture, question, shape.box, shapes=facts, target=facts[shapes.index(shape)]
    )


def one_point(rng: np.random.Generator, language: str, split: str) -> Example:
    """A point on the only shape of the picture: the step before `points`."""
    shape = scenes.scatter(rng, scenes.different(rng, 1), 3, (11, 13))[0]
    side = 3 * scenes.PATCH
    picture = scenes.draw([shape], (side, side), scenes.light_ground(rng))
    question = say(rng, _POINT, language, name=shape.name(language))
    facts = scenes.facts([shape])
    return point_example(rng, picture, question, shape.box, shapes=facts, target=facts[0])


def point_example(
    rng: np.random.Generator, picture: Pixels, question: str, box: Corners, **tags: Any
) -> Example:
    """A question whose answer is any point of `box` (pixels); the middle is the one written."""
    answer = brackets(middle_on_grid(box, picture))
    on_grid = box_on_grid(box, picture)
    return ask(rng, [picture], question, answer, check="point", box=on_grid, **tags)


def boxes(rng: np.random.Generator, language: str, split: str) -> Example:
    """The box of the named shape."""
    shapes, picture = scene(rng)
    shape = pick(rng, shapes)
    box = box_on_grid(shape.box, picture)
    question = say(rng, _BOX, language, name=shape.name(language))
    facts = scenes.facts(shapes)
    target = facts[shapes.index(shape)]
    tags = {"shapes": facts, "target": target}
    return ask(rng, [picture], question, brackets(box), check="box", box=box, **tags)


def what_is_there(rng: np.random.Generator, language: str, split: str) -> Example:
    """The name of the shape in a box or at a point."""
    shapes, picture = scene(rng)
    shape = pick(rng, shapes)
    in_box = rng.random() < 0.5
    place = box_on_grid(shape.box, picture) if in_box else middle_on_grid(shape.box, picture)
    question = say(rng, _WHAT, language, place=brackets(place))
    facts = scenes.facts(shapes)
    target = facts[shapes.index(shape)]
    return ask(rng, [picture], question, shape.name(language), shapes=facts, target=target)


def find_digit(rng: np.random.Generator, language: str, split: str) -> Example:
    """A point on one of several handwritten digits."""
    cells = 2 if rng.random() < 0.5 else 3
    side = cells * scenes.PATCH
    picture = np.full((side, side, 3), 255, np.uint8)
    values = pick_some(rng, range(10), int(rng.integers(2, 5)))
    places = rng.choice(cells * cells, len(values), replace=False).tolist()
    for value, place in zip(values, places, strict=True):
        grey = Pillow.fromarray(handwritten(rng, split, value))
        tile = np.array(grey.resize((24, 24), Pillow.Resampling.BICUBIC))
        top, left = (28 * (place // cells) + 2, 28 * (place % cells) + 2)
        picture[top : top + 24, left : left + 24] = 255 - tile[:, :, None]
    left, top = 28.0 * (places[0] % cells), 28.0 * (places[0] // cells)
    question = say(rng, _POINT, language, name=_DIGIT[language].format(values[0]))
    return point_example(rng, picture, question, (left, top, left + 28, top + 28))


def find_word(rng: np.random.Generator, language: str, split: str) -> Example:
    """A point on one of three printed words."""
    words = pick_some(rng, [w for w in texts.BUTTONS[language] if len(w) <= 6], 3)
    sheet = new_sheet((112, 84), WHITE, scenes.SCALE)
    found: list[Corners] = []
    for row, word in enumerate(words):
        width = text_width(word, 15)
        left = float(rng.uniform(3, 109 - width))
        top = 28 * row + float(rng.uniform(1, 9))
        sheet.text((left, top + 8), word, 15, pick(rng, COLOURS)[2], "lm")
        found.append((left, top, left + width, top + 17))
    which = int(rng.integers(3))
    question = say(rng, _POINT, language, name=_WORD[language].format(words[which]))
    return point_example(rng, sheet.pixels(), question, found[which])


def pixel_at(point: tuple[int, int], picture: Pixels) -> np.ndarray:
    """The colour `[3]` that a point 0 ... 999 falls on."""
    height, width = picture.shape[:2]
    return picture[point[1] * height // GRID, point[0] * width // GRID]
