"""Frame the one thing that an expression means: by what it is, its place, its size, a relation."""

import numpy as np

from cogvit_jax.data.rendering.canvas import pick, pick_some
from mmtp.data.records import Image, Text
from mmtp.data.tasks.scenes import COLOURS
from rl.answers.places import write
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, by_answer
from rl.envs.drawing.draw_items import (
    KINDS,
    SIDES,
    Item,
    box_in_thousandths,
    draw,
    light_ground,
    scatter,
)
from rl.envs.parts.place_attacks import box_attacks
from rl.envs.parts.refer import Expression, expressions
from rl.rewards.rules import boxes
from rl.types import Task

ASKS = {
    "en": (
        "Give the box of {name} as [x1,y1,x2,y2], in thousandths of the width and height.",
        "Where is {name}? Answer with [x1,y1,x2,y2], integers from 0 to 999.",
    ),
    "zh": (
        "请给出{name}的框，格式为[x1,y1,x2,y2]，坐标为宽和高的千分数。",
        "{name}在哪里？用[x1,y1,x2,y2]回答，坐标是0到999的整数。",
    ),
}
COUNTS = (2, 4, 6, 9, 13)
RADII = ((0.16, 0.22), (0.11, 0.17), (0.07, 0.15), (0.05, 0.11), (0.03, 0.08))
FORMS = (("colour", "kind"), ("pair",), ("place", "size"), ("relation", "nearest"))
LAST = ("order", "relation", "nearest", "size")


def scene(
    rng: np.random.Generator, difficulty: int, forms: tuple[str, ...]
) -> tuple[list[Item], Expression]:
    """Things, and an expression of one of these forms that means one of them."""
    side, count = SIDES[difficulty], COUNTS[difficulty]
    few = 2 + difficulty // 2
    while True:
        kinds, colours = pick_some(rng, KINDS, max(2, few)), pick_some(rng, COLOURS, max(2, few))
        pairs = [(pick(rng, kinds), pick(rng, colours)) for _ in range(count)]
        items = scatter(rng, pairs, (side, side), RADII[difficulty], 0.07 * difficulty)
        found = expressions(items, pick(rng, forms), side)
        if found:
            return items, pick(rng, found)


def draw_task(context: Draw) -> Drawn:
    """Things of some kinds and colours, and an expression."""
    rng, difficulty, language = context
    forms = FORMS[difficulty] if difficulty < len(FORMS) else LAST
    items, meant = scene(rng, difficulty, forms)
    size = SIDES[difficulty], SIDES[difficulty]
    places = [box_in_thousandths(item, size) for item in items]
    others = [place for i, place in enumerate(places) if i != meant.index]
    question = pick(rng, ASKS[language]).format(name=meant.of(language))
    reference = {"box": places[meant.index], "gate": boxes.GATE, "others": others}
    return Drawn((Image(draw(items, size, light_ground(rng))), Text(question)), reference)


def oracle(task: Task) -> Replies:
    """The box."""
    return (boxed(write(tuple(task.reference["box"]))),)


def distractors(task: Task) -> list[Replies]:
    """The boxes of all others, the right one moved aside, and attacks."""
    x1, y1, x2, y2 = box = task.reference["box"]
    step = x2 - x1 if x2 + x2 - x1 < 1000 else x1 - x2
    wrong = [write(tuple(other)) for other in task.reference["others"]]
    wrong += [write((x1 + step, y1, x2 + step, y2)), *box_attacks(box)]
    wrong.append(write((y1, x1, y2, x2)))
    rated = [(boxed(w),) for w in wrong if boxes.box(w, {"box": box, "gate": 1e-9}) < boxes.GATE]
    return [*rated, (boxed(write(tuple(box))) * 2,)]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """A box of a likely size anywhere."""
    radius = 1000 * float(np.mean(RADII[task.difficulty]))
    x, y = rng.uniform(radius, 999 - radius, 2)
    return (
        boxed(write(tuple(round(v) for v in (x - radius, y - radius, x + radius, y + radius)))),
    )


CATEGORY = Category(
    name="referring",
    group="grounding",
    level="grounding",
    benchmark="RefCOCO",
    scale="things 2 … 13; attributes, place, size, relations, rank; 112 … 448 pixels a side",
    draw=draw_task,
    score=by_answer(boxes.box),
    oracle=oracle,
    distractors=distractors,
    guess=guess,
)
