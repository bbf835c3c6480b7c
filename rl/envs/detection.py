"""Frame everything of some kinds, with its name: detection as JSON."""

import json

import numpy as np

from cogvit_jax.data.rendering.canvas import pick, pick_some
from mmtp.data.records import Image, Text
from mmtp.data.tasks.scenes import COLOURS
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, by_answer
from rl.envs.drawing.draw_items import (
    KINDS,
    NAMES,
    SIDES,
    box_in_thousandths,
    draw,
    light_ground,
    scatter,
)
from rl.rewards.rules import boxes
from rl.types import Json, Task

ASKS = {
    "en": (
        'Find every {names}. Answer with JSON: [{{"label": "…", "bbox_2d": [x1,y1,x2,y2]}}, …], '
        "coordinates in thousandths."
    ),
    "zh": (
        '找出所有的{names}。用JSON回答：[{{"label": "…", "bbox_2d": [x1,y1,x2,y2]}}, …]，'
        "坐标为千分数。"
    ),
}
ASKED = (1, 1, 2, 2, 3)  # kinds that are asked for
COUNTS = ((1, 2), (2, 4), (4, 7), (6, 10), (9, 14))  # of things that are asked for
OTHERS = (1, 2, 3, 4, 6)  # things of other kinds
RADII = ((0.15, 0.2), (0.1, 0.14), (0.07, 0.11), (0.045, 0.08), (0.03, 0.065))


def draw_task(context: Draw) -> Drawn:
    """Things, some of them of the kinds that are asked for."""
    rng, difficulty, language = context
    few, many = COUNTS[difficulty]
    kinds = pick_some(rng, KINDS, len(KINDS))
    asked, rest = kinds[: ASKED[difficulty]], kinds[ASKED[difficulty] :]
    count = int(rng.integers(few, many + 1))
    wanted = [*asked, *(pick(rng, asked) for _ in range(count - len(asked)))]
    wanted += [pick(rng, rest) for _ in range(OTHERS[difficulty])]
    pairs = [(kind, pick(rng, COLOURS)) for kind in wanted]
    size = SIDES[difficulty], SIDES[difficulty]
    items = scatter(rng, pairs, size, RADII[difficulty], 0.07 * difficulty)
    labels = [NAMES[kind].of(language) for kind in asked]
    found, others = [], []
    for item in items:
        entry = {
            "label": NAMES[item.kind].of(language),
            "bbox_2d": box_in_thousandths(item, size),
        }
        (found if item.kind in asked else others).append(entry)
    joint = {"en": " and every ", "zh": "和"}[language]
    question = ASKS[language].format(names=joint.join(labels))
    reference = {"objects": found, "others": others, "labels": labels}
    return Drawn((Image(draw(items, size, light_ground(rng))), Text(question)), reference)


def oracle(task: Task) -> Replies:
    """All of them."""
    return (_said(task.reference["objects"]),)


def distractors(task: Task) -> list[Replies]:
    """Other things, other labels, other places, the whole picture, and broken JSON."""
    objects = task.reference["objects"]
    good = json.dumps(objects, ensure_ascii=False)
    replies = [
        _said([{**o, "label": "thing"} for o in objects]),
        _said([{**o, "bbox_2d": o["bbox_2d"][2:] + o["bbox_2d"][:2]} for o in objects]),
        _said([{**o, "bbox_2d": [0, 0, 999, 999]} for o in objects]),
        _said([{**o, "bbox_2d": [0, 0, 0, 0]} for o in objects]),
        _said([{**o, "score": 1.0} for o in objects]),
        _said([{"label": o["label"]} for o in objects]),
        _said([{**o, "label": task.reference["labels"][0]} for o in task.reference["others"]]),
        _said([objects[0]] * 100),
        _said([*objects, *([objects[0]] * (4 * len(objects)))]),
        _said([]),
        boxed(good.replace('"', "'")),
        boxed(f"Here they are: {good}"),
        boxed(good.replace("[", "[NaN,", 2)),
        boxed(good[:-1]),
        boxed(" ".join(str(o["bbox_2d"]) for o in objects)),
        boxed("") + boxed(good),
    ]
    grid = [[x, y, x + 100, y + 100] for y in range(0, 900, 100) for x in range(0, 900, 100)]
    every = [{"label": objects[0]["label"], "bbox_2d": box} for box in grid]
    return [(reply,) for reply in (*replies, _said(every))]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """As many boxes as there may be, of a likely size, with the right labels."""
    radius = 1000 * float(np.mean(RADII[task.difficulty]))
    found = []
    for _ in range(int(np.mean(COUNTS[task.difficulty]))):
        x, y = rng.uniform(radius, 999 - radius, 2)
        corners = [round(v) for v in (x - radius, y - radius, x + radius, y + radius)]
        found.append({"label": pick(rng, task.reference["labels"]), "bbox_2d": corners})
    return (_said(found),)


def _said(objects: list[Json]) -> str:
    return boxed(json.dumps(objects, ensure_ascii=False))


CATEGORY = Category(
    name="detection",
    group="grounding",
    level="grounding",
    benchmark="COCO",
    scale="things to find 1 … 14 of 1 … 3 kinds, others 1 … 6; 112 … 448 pixels a side",
    draw=draw_task,
    score=by_answer(boxes.detection),
    oracle=oracle,
    distractors=distractors,
    guess=guess,
)
