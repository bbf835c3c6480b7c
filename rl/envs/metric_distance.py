"""Metres in a picture of a floor: how far apart, how tall, how long a way."""

import math
from itertools import pairwise

import numpy as np

from cogvit_jax.data.rendering.canvas import pick, pick_some
from mmtp.data.records import Image, Text
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, by_answer
from rl.envs.drawing.draw_world import draw
from rl.envs.drawing.world import COLOURS, KINDS, Camera, Solid, stand
from rl.rewards.rules import metric
from rl.types import Json, Task

SIZES = ((224, 168), (280, 196), (336, 252), (392, 280), (448, 336))
UNITS = ["m", "meters", "metres", "米"]
ASK = {
    "distance": (
        "how far apart are the middles of the {} and the {}, measured along the floor?",
        "沿地面测量，{}的中心和{}的中心相距多少米？",
    ),
    "height": ("how tall is the {}?", "{}有多高？"),
    "way": (
        "how long is the way along the floor from the middle of the {} straight to that of the {} "
        "and from there straight to that of the {}?",
        "沿地面从{}的中心直走到{}的中心，再直走到{}的中心，一共多少米？",
    ),
}
GIVEN = {
    "en": (
        "The floor's tiles are {tile} m wide; ",
        "The camera has fx = fy = {f}, cx = {cx}, cy = {cy} (pixels), is {h} m above the floor and "
        "looks down by {tilt} degrees; ",
    ),
    "zh": (
        "地砖边长{tile}米。",
        "相机fx = fy = {f}，cx = {cx}，cy = {cy}（像素），离地面{h}米，向下俯视{tilt}度。",
    ),
}
FORM = {"en": " Answer with a number of metres, two decimals.", "zh": "用米回答，保留两位小数。"}
FORMS = (
    ("distance",),
    ("distance", "height"),
    ("distance", "height", "way"),
    ("distance", "way"),
    ("distance", "way"),
)
LIKELY = {"distance": (0.8, 6.0), "height": (0.4, 1.0), "way": (2.0, 10.0)}


def draw_task(context: Draw) -> Drawn:
    """Solids on a floor, and a length to be measured."""
    rng, difficulty, language = context
    width, height = SIZES[difficulty]
    degrees = int(rng.integers(18, 31))
    camera = Camera(
        size=(width, height),
        focal=round(width * float(rng.uniform(0.8, 1.0))),
        centre=(width / 2, height / 2),
        height=int(rng.integers(180, 261)) / 100,
        tilt=math.radians(degrees),
    )
    asked, tile = pick(rng, FORMS[difficulty]), float(pick(rng, (0.5, 1.0)) if difficulty else 1)
    count = 2 + difficulty
    pairs = [(pick(rng, tuple(KINDS)), c) for c in pick_some(rng, COLOURS, count)]
    while True:
        solids = stand(rng, camera, pairs, [(2.5, 5.5 + 0.5 * difficulty)] * count)
        meant = solids[: {"distance": 2, "height": 1, "way": 3}[asked]]
        answer = round(_length(asked, meant), 2)
        if LIKELY[asked][0] <= answer <= LIKELY[asked][1]:
            break
    tiles, lens = GIVEN[language]
    given = tiles.format(tile=f"{tile:g}") if difficulty < 4 else lens
    question = ASK[asked][language == "zh"].format(*(solid.name(language) for solid in meant))
    text = given.format(
        f=camera.focal, cx=camera.centre[0], cy=camera.centre[1], h=camera.height, tilt=degrees
    )
    reference: dict[str, Json] = {
        "answer": answer,
        "units": UNITS,
        "gate": 0.7,
        "likely": list(LIKELY[asked]),
    }
    picture = draw(camera, solids, tile=tile if difficulty < 4 else 0.0)
    return Drawn((Image(picture), Text(text + question + FORM[language])), reference)


def oracle(task: Task) -> Replies:
    """The number."""
    return (boxed(task.reference["answer"]),)


def distractors(task: Task) -> list[Replies]:
    """A third too much or too little, twice, half, other units, hedges, no number."""
    answer = task.reference["answer"]
    wrong = [f"{answer * factor:.3f}" for factor in (0, 0.5, 0.7, 1.3, 2, 10, 100, -1)]
    hedges = [f"{answer} or {answer + 1}", f"about {answer}", f"{answer - 1:.1f}-{answer + 1:.1f}"]
    wrong += [*hedges, f"{answer} km", f"{answer} cm", "", "nan", "inf", "1e0", "far"]
    return [(boxed(text),) for text in wrong]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """A likely length."""
    return (boxed(f"{rng.uniform(*task.reference['likely']):.2f}"),)


def _length(asked: str, solids: list[Solid]) -> float:
    if asked == "height":
        return solids[0].size[1]
    return sum(math.dist(one.at, other.at) for one, other in pairwise(solids))


CATEGORY = Category(
    name="metric_distance",
    group="spatial",
    level="element",
    benchmark="VSI-Bench",
    scale="things 2 … 6; distance, height, way; tiles of 1 m, of 0.5 m too, at 4 the lens instead",
    draw=draw_task,
    score=by_answer(metric.measured),
    oracle=oracle,
    distractors=distractors,
    guess=guess,
)
