"""Point at everything that a description fits: one point on each."""

import numpy as np

from cogvit_jax.data.rendering.canvas import pick
from mmtp.data.records import Image, Text
from mmtp.data.tasks.scenes import COLOURS, PALETTE
from rl.answers.places import write
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, by_answer
from rl.envs.drawing.draw_items import (
    KINDS,
    NAMES,
    SIDES,
    THING,
    Item,
    draw,
    light_ground,
    middle_in_thousandths,
    outline_in_thousandths,
    scatter,
)
from rl.envs.parts.place_attacks import scattered_points
from rl.rewards.rules import points
from rl.types import Task

ASKS = {
    "en": (
        "Point at every {name}: one point on each, as [[x,y],[x,y],…] in thousandths.",
        "Where is each {name}? Answer with one point for each: [[x,y],…], integers from 0 to 999.",
    ),
    "zh": (
        "请指出每一个{name}：每个一个点，格式为[[x,y],[x,y],…]，坐标为千分数。",
        "每一个{name}在哪里？各用一个点回答：[[x,y],…]，坐标是0到999的整数。",
    ),
}
COUNTS = ((1, 2), (2, 3), (3, 5), (4, 7), (6, 10))  # of things to point at
OTHERS = (1, 3, 5, 8, 12)
RADII = ((0.14, 0.2), (0.09, 0.13), (0.06, 0.1), (0.045, 0.08), (0.03, 0.06))


def draw_task(context: Draw) -> Drawn:
    """Things of which some are of a kind, of a colour, or (harder) both."""
    rng, difficulty, language = context
    kind, colour = pick(rng, KINDS), pick(rng, COLOURS)
    asked = pick(rng, ("kind", "colour") if difficulty < 2 else ("kind", "colour", "both"))
    other_kinds = [k for k in KINDS if k != kind]
    other_colours = [c for c in COLOURS if c != colour]
    count = int(rng.integers(COUNTS[difficulty][0], COUNTS[difficulty][1] + 1))
    pairs = []
    for i in range(count + OTHERS[difficulty]):
        keep = asked if i < count else {"kind": "colour", "colour": "kind"}.get(asked, "")
        keep = keep or pick(rng, ("kind", "colour", "neither"))  # near misses
        if i >= count and rng.random() < 0.3:
            keep = "neither"
        pairs.append(
            (
                kind if keep in ("kind", "both") else pick(rng, other_kinds),
                colour if keep in ("colour", "both") else pick(rng, other_colours),
            )
        )
    size = SIDES[difficulty], SIDES[difficulty]
    items = scatter(rng, pairs, size, RADII[difficulty], 0.07 * difficulty)
    question = pick(rng, ASKS[language]).format(name=_name(kind, colour, asked, language))
    reference = {
        "masks": [[outline_in_thousandths(item, size)] for item in items[:count]],
        "points": [middle_in_thousandths(item, size) for item in items[:count]],
        "others": [middle_in_thousandths(item, size) for item in items[count:]],
    }
    shown = [items[i] for i in rng.permutation(len(items))]
    return Drawn((Image(draw(shown, size, light_ground(rng))), Text(question)), reference)


def oracle(task: Task) -> Replies:
    """The middle of each."""
    return (_said(task.reference["points"]),)


def distractors(task: Task) -> list[Replies]:
    """One too few, one too many, one twice, one beside, others, points strewn everywhere."""
    right, others = task.reference["points"], task.reference["others"]
    wrong = [
        right[1:],
        [*right, right[0]],
        [*right, others[0]],
        [others[0], *right[1:]],
        [right[0]] * (len(right) + 1),
        others,
        [[999 if x < 500 else 0, y] for x, y in right],
    ]
    if len(right) > 1:
        wrong.append([right[0]] * len(right))
    texts = ["", "[]", "[[nan,nan]]", *map(scattered_points, (3, 5, 10)), "everywhere"]
    texts += [f"There are {len(right)}: {_list(right)}", "[[0,0,999,999]]"]
    return [*((_said(w),) for w in wrong), *((boxed(text),) for text in texts)]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """As many points as there may be, anywhere."""
    few, many = COUNTS[task.difficulty]
    count = int(rng.integers(few, many + 1))
    return (_said(rng.integers(50, 950, (count, 2)).tolist()),)


def _name(kind: str, colour: str, asked: str, language: str) -> str:
    if asked == "kind":
        return NAMES[kind].of(language)
    if asked == "both":
        return Item(kind, colour, (0, 0), 1).name(language)
    joint = "" if language == "zh" else " "
    return joint.join((PALETTE[colour][0].of(language), THING.of(language)))


def _list(places: list[list[int]]) -> str:
    return f"[{','.join(write(tuple(place)) for place in places)}]"


def _said(places: list[list[int]]) -> str:
    return boxed(_list(places))


CATEGORY = Category(
    name="pointing",
    group="grounding",
    level="grounding",
    benchmark="PointBench",
    scale="things to point at 1 … 10 among 1 … 12 others; 112 … 448 pixels a side",
    draw=draw_task,
    score=by_answer(points.on_each),
    oracle=oracle,
    distractors=distractors,
    guess=guess,
)
