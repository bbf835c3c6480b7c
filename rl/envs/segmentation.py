"""Trace the outline of the one thing that an expression means."""

import numpy as np

from cogvit_jax.data.rendering.canvas import pick
from mmtp.data.records import Image, Text
from rl.answers.places import write
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, by_answer
from rl.envs.drawing.draw_items import (
    SIDES,
    box_in_thousandths,
    draw,
    light_ground,
    outline_in_thousandths,
)
from rl.envs.referring import scene
from rl.rewards.rules import polygons
from rl.types import Task

ASKS = {
    "en": (
        "Trace {name}: the corners of its outline in order, [[x,y],[x,y],…], in thousandths.",
        "Segment {name}. Answer with one polygon [[x,y],…], integers from 0 to 999.",
    ),
    "zh": (
        "请描出{name}的轮廓：按顺序给出各顶点，格式为[[x,y],[x,y],…]，坐标为千分数。",
        "请分割{name}。用一个多边形[[x,y],…]回答，坐标是0到999的整数。",
    ),
}
TARGETS = ("triangle", "diamond", "cross", "star", "arrow")  # clearly not their bounding box
GATE = 0.7  # above what the bounding box of each of them has
FORMS = (("colour",), ("pair",), ("pair", "place"), ("relation", "nearest"), ("order", "relation"))


def draw_task(context: Draw) -> Drawn:
    """Things of some kinds and colours, and an expression that means one with corners."""
    rng, difficulty, language = context
    while True:
        items, meant = scene(rng, difficulty, FORMS[difficulty])
        if items[meant.index].kind in TARGETS:
            break
    size = SIDES[difficulty], SIDES[difficulty]
    question = pick(rng, ASKS[language]).format(name=meant.of(language))
    reference = {
        "polygon": outline_in_thousandths(items[meant.index], size),
        "gate": GATE,
        "box": box_in_thousandths(items[meant.index], size),
        "others": [
            outline_in_thousandths(item, size) for i, item in enumerate(items) if i != meant.index
        ],
    }
    return Drawn((Image(draw(items, size, light_ground(rng))), Text(question)), reference)


def oracle(task: Task) -> Replies:
    """The outline."""
    return (_said(task.reference["polygon"]),)


def distractors(task: Task) -> list[Replies]:
    """The box around it, other things, the whole picture, and what is no polygon."""
    outline = task.reference["polygon"]
    x1, y1, x2, y2 = task.reference["box"]
    crossed = [*outline[: len(outline) // 2], *reversed(outline[len(outline) // 2 :])]
    wrong = [
        [[x1, y1], [x2, y1], [x2, y2], [x1, y2]],
        [[x1, y1], [x2, y2], [x2, y1], [x1, y2]],
        [[0, 0], [999, 0], [999, 999], [0, 999]],
        [outline[0]] * 3,
        outline[:2],
        [[x1, y1], [(x1 + x2) // 2, y1], [x2, y1]],
        [[x, y1 + y2 - y] for x, y in [[x + x2 - x1, y] for x, y in outline]],
        *([crossed] if len(outline) > 3 else []),
        *task.reference["others"],
    ]
    in_range = [w for w in wrong if all(0 <= v <= 999 for point in w for v in point)]
    texts = ["", "[]", f"[{x1},{y1},{x2},{y2}]", "[[nan,0],[0,nan],[1,1]]", _list(outline)[:-1]]
    texts += [f"Polygon: {_list(outline)}", f"{_list(outline)};{_list(outline)}"]
    return [*((_said(w),) for w in in_range), *((boxed(text),) for text in texts)]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """A triangle of some size anywhere."""
    x, y = rng.integers(200, 800, 2)
    r = int(rng.integers(40, 200))
    return (_said([[int(x), int(y) - r], [int(x) + r, int(y) + r], [int(x) - r, int(y) + r]]),)


def _list(polygon: list[list[int]]) -> str:
    return f"[{','.join(write(tuple(point)) for point in polygon)}]"


def _said(polygon: list[list[int]]) -> str:
    return boxed(_list(polygon))


CATEGORY = Category(
    name="segmentation",
    group="grounding",
    level="grounding",
    benchmark="RefCOCO segmentation",
    scale="things 2 … 13; attributes, place, relations, rank; 112 … 448 pixels a side",
    draw=draw_task,
    score=by_answer(polygons.polygon),
    oracle=oracle,
    distractors=distractors,
    guess=guess,
)
