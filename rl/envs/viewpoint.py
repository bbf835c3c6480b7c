"""Which picture shows the same things from another side."""

import itertools
import math
from dataclasses import replace

import numpy as np

from cogvit_jax.data.rendering.canvas import pick, pick_some
from mmtp.data.records import Image, Text
from rl.answers.numbers import letter
from rl.envs.category import Category, Draw, Drawn, by_answer
from rl.envs.drawing.draw_world import draw
from rl.envs.drawing.world import COLOURS, KINDS, Camera, Solid, draw_solid, screen_box
from rl.envs.parts import choices
from rl.rewards.rules import choice

SIZES = ((112, 84), (140, 112), (168, 112), (196, 140), (224, 168))
ASK = {
    90: ("seen from the right side of the first picture", "从第一张图的右侧看"),
    180: ("seen from behind", "从后面看"),
    270: ("seen from the left side of the first picture", "从第一张图的左侧看"),
}
MOVED = (
    "after the camera has gone {} degrees around them, to its {}",
    "相机绕着它们向{1}移动{0}度以后",
)
WHICH = (
    "The first picture shows some things on a floor. Which of the others shows the same things, "
    "{}?",
    "第一张图里地面上有几样东西。{}，看到的是哪一张图？",
)
FIRST = ("First picture:", "第一张图：")
CLEAR = 0.12  # of the picture's width: by this, something must be elsewhere in each other option


def draw_task(context: Draw) -> Drawn:
    """Things on a floor, and pictures of them and of other arrangements from other sides."""
    rng, difficulty, language = context
    zh = language == "zh"
    step = 90 if difficulty < 3 else 45
    turn = step * int(rng.integers(1, 360 // step))
    while True:
        solids = _things(rng, 2 + difficulty)
        right = solids, turn
        wrong = [(solids, other) for other in range(0, 360, step) if other != turn]
        if difficulty:
            wrong += [(_mirrored(solids), turn), (_mirrored(solids), (360 - turn) % 360)]
        if difficulty > 1:
            pairs = list(itertools.combinations(range(len(solids)), 2))
            wrong += [(_swapped(solids, *pair), turn) for pair in pick_some(rng, pairs, 2)]
        order = rng.permutation(len(wrong))
        views = _different(right, [wrong[i] for i in order], SIZES[difficulty])
        if views:
            break
    where = rng.permutation(len(views))
    shown = [views[i] for i in where]
    answer = int(np.flatnonzero(where == 0)[0])
    size = SIZES[difficulty]
    parts = [Text(FIRST[zh]), Image(draw(_camera(size, 0), solids))]
    for i, (things, angle) in enumerate(shown):
        parts += [Text(f"{letter(i)}:"), Image(draw(_camera(size, angle), things))]
    if turn % 90 == 0 and difficulty < 3:
        words = ASK[turn][zh]
    else:
        side = turn <= 180
        words = MOVED[zh].format(
            min(turn, 360 - turn), ("左", "右")[side] if zh else ("left", "right")[side]
        )
    question = WHICH[zh].format(words)
    parts.append(Text(f"{question}\n{choices.FORM[language]}"))
    reference = {
        "answer": answer,
        "options": [letter(i) for i in range(len(shown))],
        "turn": turn,
        "views": [_facts(things, angle) for things, angle in [(solids, 0), *shown]],
    }
    return Drawn(tuple(parts), reference)


def _camera(size: tuple[int, int], degrees: int) -> Camera:
    """A camera that has gone round to the right by some degrees."""
    angle, far = math.radians(degrees), 6.2
    place = far * math.sin(angle), -far * math.cos(angle)
    return Camera(size, size[0] * 1.4, (size[0] / 2, size[1] / 2), 4.4, 0.6, place, -angle)


def _things(rng: np.random.Generator, count: int) -> list[Solid]:
    """Different things in a circle around the origin, well apart."""
    solids: list[Solid] = []
    colours = pick_some(rng, COLOURS, count)
    while len(solids) < count:
        far, angle = 1.75 * math.sqrt(rng.random()), rng.uniform(0, 2 * math.pi)
        at = round(far * math.sin(angle), 2), round(far * math.cos(angle), 2)
        if all(math.dist(at, solid.at) > 1.05 for solid in solids):
            solid = draw_solid(rng, pick(rng, tuple(KINDS)), colours[len(solids)], at)
            w, h, length = (min(0.75, side) for side in solid.size)
            solids.append(replace(solid, size=(w, h, length)))
        elif rng.random() < 0.02:
            solids = []
    return solids


def _mirrored(solids: list[Solid]) -> list[Solid]:
    return [replace(s, at=(-s.at[0], s.at[1]), yaw=-s.yaw) for s in solids]


def _swapped(solids: list[Solid], one: int, other: int) -> list[Solid]:
    places = [solid.at for solid in solids]
    places[one], places[other] = places[other], places[one]
    return [replace(solid, at=at) for solid, at in zip(solids, places, strict=True)]


View = tuple[list[Solid], int]


def _different(right: View, wrong: list[View], size: tuple[int, int]) -> list[View]:
    """The right view and three others (two where there are no more) that clearly differ.

    [] where too few do, or where something is hidden in one of them.
    """
    if _hidden((right[0], 0), size):
        return []
    views, places = [], []
    for view in [right, *wrong]:
        at = np.array(_middles(view, size))
        if _hidden(view, size) or any(np.abs(at - o).max() < CLEAR * size[0] for o in places):
            if view is right:
                return []
            continue
        views.append(view)
        places.append(at)
        if len(views) == 4:
            break
    return views if len(views) >= 3 else []


def _middles(view: View, size: tuple[int, int]) -> list[tuple[float, float]]:
    ground = np.array([[solid.at[0], 0, solid.at[1]] for solid in view[0]])
    return _camera(size, view[1]).project(ground)


def _hidden(view: View, size: tuple[int, int]) -> bool:
    """Whether something is out of the picture, or half of its box is covered by another's."""
    boxes = [screen_box(_camera(size, view[1]), solid) for solid in view[0]]
    for i, box in enumerate(boxes):
        if box is None or min(box[:2]) < 1 or box[2] > size[0] - 1 or box[3] > size[1] - 1:
            return True
        for other in boxes[:i]:
            assert other is not None
            width = min(box[2], other[2]) - max(box[0], other[0])
            height = min(box[3], other[3]) - max(box[1], other[1])
            areas = ((b[2] - b[0]) * (b[3] - b[1]) for b in (box, other))
            if width > 0 and height > 0 and width * height > 0.3 * min(areas):
                return True
    return False


def _facts(solids: list[Solid], angle: int) -> dict[str, object]:
    return {"turn": angle, "places": {solid.colour: list(solid.at) for solid in solids}}


CATEGORY = Category(
    name="viewpoint",
    group="spatial",
    level="element",
    benchmark="MindCube",
    scale="things 2 … 6; quarter turns, then mirrored and swapped ones; from 3 on turns of 45°",
    draw=draw_task,
    score=by_answer(choice.choice),
    oracle=choices.oracle,
    distractors=choices.distractors,
    guess=choices.guess,
)
