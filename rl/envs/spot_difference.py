"""Box what differs between two pictures of shapes."""

from dataclasses import replace

import numpy as np

from cogvit_jax.data.rendering.canvas import pick, pick_some, smooth_noise
from mmtp.data.records import Image, Text
from mmtp.data.tasks import scenes
from mmtp.data.tasks.example import Pixels, box_on_grid
from rl.answers.places import write
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, by_answer
from rl.rewards.rules import differences
from rl.types import Task

ASKS = {
    "en": (
        "The shapes in the two pictures differ in {count}. Box each one. Answer with a list of"
        " boxes [[x1,y1,x2,y2],...] in thousandths of the width and height."
    ),
    "zh": (
        "两张图里的形状有{count}处不同。请框出每一处，用千分之一的宽和高写成框的列表[[x1,y1,x2,y2],...]。"
    ),
}
CELLS = (2, 3, 4, 5, 6)  # along a side
SHAPES = (3, 6, 10, 17, 26)
CHANGES = ((1, 1), (1, 2), (2, 3), (3, 4), (4, 6))
CELL = 42  # pixels


def draw(context: Draw) -> Drawn:
    """A scene, and the scene again with shapes recoloured, exchanged, gone or new."""
    rng, difficulty, language = context
    low, high = CHANGES[difficulty]
    count = int(rng.integers(low, high + 1))
    cells = CELLS[difficulty]
    kinds = [
        (pick(rng, scenes.KINDS), pick(rng, scenes.COLOURS)) for _ in range(SHAPES[difficulty])
    ]
    shapes = scenes.scatter(rng, kinds, cells, (11 - difficulty / 2, 18 - difficulty), CELL)
    first, second = list(shapes), list(shapes)
    changed = sorted(rng.choice(len(shapes), count, replace=False).tolist())
    for i in changed:
        way = pick(rng, ("colour", "kind", "gone", "new"))
        if way in ("gone", "new"):
            (second if way == "gone" else first)[i] = replace(shapes[i], radius=0.0)
        else:
            second[i] = _changed(rng, shapes[i], way)
    side = cells * CELL
    ground = scenes.light_ground(rng)
    pictures = [
        _worn(rng, scenes.draw([s for s in shown if s.radius], (side, side), ground), difficulty)
        for shown in (first, second)
    ]
    places = [list(box_on_grid(shapes[i].box, pictures[0])) for i in changed]
    same = [list(box_on_grid(s.box, pictures[0])) for i, s in enumerate(shapes) if i not in changed]
    word = ("place" if count == 1 else "places") if language == "en" else ""
    question = ASKS[language].format(count=f"{count} {word}".strip())
    reference = {"boxes": places, "same": same, "side": side}
    return Drawn((Image(pictures[0]), Image(pictures[1]), Text(question)), reference)


def oracle(task: Task) -> Replies:
    """All boxes of what differs."""
    return (boxed(_list(task.reference["boxes"])),)


def distractors(task: Task) -> list[Replies]:
    """Boxes of what is the same, everything, the whole picture, and what is no list of boxes."""
    gold, same = task.reference["boxes"], task.reference["same"]
    inside_out = [[x2, y2, x1, y1] for x1, y1, x2, y2 in gold]
    mirrored = [[999 - x2, y1, 999 - x1, y2] for x1, y1, x2, y2 in gold]
    middles = [[(x1 + x2) // 2, (y1 + y2) // 2] * 2 for x1, y1, x2, y2 in gold]
    tiles = [[100 * x, 100 * y, 100 * x + 100, 100 * y + 100] for x in range(10) for y in range(10)]
    lists = [same[: len(gold)], [[0, 0, 999, 999]], [[0, 0, 1000, 1000]] * len(gold), inside_out]
    lists += [middles, tiles, gold + tiles, gold * 5, [[0, 0, 0, 0]], []]
    lists += [[[x1 - 1, y1, x2] for x1, y1, x2, _ in gold], mirrored]
    floats = [[x / 1000 for x in place] for place in gold]
    if differences.differences(_list(mirrored), task.reference):
        lists.remove(mirrored)  # a picture can be like its mirror image
    wrong = [_list(one) for one in lists] + [str(floats), "[nan,nan,nan,nan]", "[0,0,inf,inf]", ""]
    wrong += [f"Here: {_list(gold)}", f"{_list(gold)} or {_list(same)}", "none", str(gold[0][:2])]
    right = differences.differences
    return [
        (boxed(one),) for one in wrong if one != _list(mirrored) or not right(one, task.reference)
    ]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """As many boxes of the common size, anywhere."""
    gold = task.reference["boxes"]
    size = gold[0][2] - gold[0][0]
    corners = rng.integers(0, 1000 - size, (len(gold), 2)).tolist()
    return (boxed(_list([[x, y, x + size, y + size] for x, y in corners])),)


def _list(places: list[list[int]]) -> str:
    return f"[{','.join(write(tuple(place)) for place in places)}]"


def _changed(rng: np.random.Generator, shape: scenes.Shape, way: str) -> scenes.Shape:
    """Another colour or another kind in the same place."""
    table = scenes.COLOURS if way == "colour" else scenes.KINDS
    now = shape.colour if way == "colour" else shape.kind
    other = pick_some(rng, [name for name in table if name != now], 1)[0]
    return replace(shape, colour=other) if way == "colour" else replace(shape, kind=other)


def _worn(rng: np.random.Generator, pixels: Pixels, difficulty: int) -> Pixels:
    """From difficulty 3 on every picture has its own light, so that no pixel is the same."""
    if difficulty < 3:
        return pixels
    size = pixels.shape[:2]
    light = 6 * (difficulty - 2) * smooth_noise(rng, size, 3)[..., None]
    grain = rng.standard_normal((*size, 1), np.float32) * 3 * (difficulty - 2)
    return np.clip(pixels + light + grain, 0, 255).astype(np.uint8)


CATEGORY = Category(
    name="spot_difference",
    group="perception",
    level="grounding",
    benchmark="Spot-the-diff",
    scale="differences: 1 … 6 among 3 … 26 shapes; then light and grain differ, too",
    draw=draw,
    score=by_answer(differences.differences),
    oracle=oracle,
    distractors=distractors,
    guess=guess,
)
