"""Name an attribute of one object among others: its colour, its shape, or its size."""

import numpy as np

from cogvit_jax.data.rendering.canvas import pick
from mmtp.data.records import Image, Text
from mmtp.data.tasks import scenes
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, by_answer
from rl.rewards.rules import text
from rl.types import Task

ASKS = {
    "colour": {
        "en": "Which colour is the {shape}? Answer with one word.",
        "zh": "{shape}是什么颜色？只回答一个词。",
    },
    "shape": {
        "en": "Which shape is {colour}? Answer with one word.",
        "zh": "{colour}的是什么形状？只回答一个词。",
    },
    "size": {
        "en": "Which shape is the largest? Answer with its shape, one word.",
        "zh": "最大的是什么形状？只回答形状，一个词。",
    },
}


def draw(context: Draw) -> Drawn:
    """Shapes of different kinds and colours, and a question about one of them."""
    rng, difficulty, language = context
    count = 1 + difficulty
    cells = 2 + difficulty // 2
    shapes = scenes.scatter(rng, scenes.different(rng, count), cells, radii=(6, 12))
    asked = pick(rng, ("colour", "shape", "size") if count > 1 else ("colour", "shape"))
    target = pick(rng, shapes)
    if asked == "size":
        target = max(shapes, key=lambda s: s.radius)
        shapes = [s if s is target else _smaller(s, target.radius) for s in shapes]
    side = scenes.PATCH * cells
    pixels = scenes.draw(shapes, (side, side), scenes.light_ground(rng))
    colour = scenes.colour_name(target.colour, language)
    shape = scenes.SHAPES[target.kind].of(language)
    question = ASKS[asked][language].format(colour=colour, shape=shape)
    names = {"colour": scenes.COLOURS, "shape": scenes.KINDS, "size": scenes.KINDS}[asked]
    options = [_name(asked, name, language) for name in names]
    answer = colour if asked == "colour" else shape
    reference = {"answers": [answer], "options": options}
    return Drawn((Image(pixels), Text(question)), reference)


def oracle(task: Task) -> Replies:
    """The expected word."""
    return (boxed(task.reference["answers"][0]),)


def distractors(task: Task) -> list[Replies]:
    """Every other word, all of them at once, and nothing."""
    gold = task.reference["answers"][0]
    wrong = [option for option in task.reference["options"] if option != gold]
    return [(boxed(w),) for w in (*wrong, " ".join([gold, *wrong]), f"not {gold}", "")]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """Any of the words."""
    return (boxed(pick(rng, task.reference["options"])),)


def _smaller(shape: scenes.Shape, largest: float) -> scenes.Shape:
    """Clearly smaller than the largest, so that the answer can be seen."""
    return scenes.Shape(shape.kind, shape.colour, shape.middle, min(shape.radius, 0.7 * largest))


def _name(asked: str, key: str, language: str) -> str:
    return (
        scenes.colour_name(key, language) if asked == "colour" else scenes.SHAPES[key].of(language)
    )


CATEGORY = Category(
    name="attributes",
    group="perception",
    level="element",
    benchmark="CLEVR",
    scale="objects in the picture: 1 … 5",
    draw=draw,
    score=by_answer(text.exact),
    oracle=oracle,
    distractors=distractors,
    guess=guess,
)
