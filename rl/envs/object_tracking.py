"""Where a shape is at given seconds of a clip, among others that move too."""

import json

import numpy as np

from cogvit_jax.data.rendering.canvas import Point
from mmtp.data.records import Text
from mmtp.data.tasks import scenes
from mmtp.data.tasks.scenes import Shape
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, by_answer
from rl.envs.drawing import clips
from rl.rewards.rules import tracks
from rl.types import Task

ASK = {
    "en": "Track the {name}. Give its box at the seconds {seconds} as JSON with the second as key, "
    'such as {{"0": [x1,y1,x2,y2], …}}, in thousandths of the width and height.',
    "zh": "请跟踪{name}。给出它在第{seconds}秒的边界框，用以秒为键的JSON，"
    '如{{"0": [x1,y1,x2,y2], …}}，坐标为宽和高的千分之几。',
}
SIDES = (84, 84, 112, 112, 140)
OTHERS = (0, 1, 2, 3, 4)
STEPS = (1, 1, 2, 3, 3)  # frames from one asked second to the next
STOPS = (3, 3, 4, 4, 5)  # asked seconds


def draw(context: Draw) -> Drawn:
    """Shapes that go from stop to stop; the asked ones are the target's stops."""
    rng, difficulty, language = context
    side, step, stops = SIDES[difficulty], STEPS[difficulty], STOPS[difficulty]
    pairs = scenes.different(rng, 1 + OTHERS[difficulty], "pair" if difficulty < 4 else "colour")
    ways = []
    for kind, colour in pairs:
        radius = float(rng.uniform(9, 12))
        places = _between(_stops(rng, side, radius, stops), step)
        ways.append([Shape(kind, colour, place, radius) for place in places])
    frames = [list(shapes)[::-1] for shapes in zip(*ways, strict=True)]  # the target in front
    target = ways[0][::step]
    seconds = [str(i * step) for i in range(stops)]
    boxes = {s: _box(shape, side) for s, shape in zip(seconds, target, strict=True)}
    reference = {"boxes": boxes, "side": side}
    joint = ", " if language == "en" else "、"
    text = ASK[language].format(name=target[0].name(language), seconds=joint.join(seconds))
    video = clips.clip(frames, side, scenes.light_ground(rng))
    return Drawn((video, Text(text)), reference)


def _stops(rng: np.random.Generator, side: int, radius: float, count: int) -> list[Point]:
    """Places that are far enough from each other for one box to fit one of them only."""
    while True:
        low, high = int(radius) + 2, side - int(radius) - 2
        places = rng.integers(low, high + 1, (count, 2))
        far = np.abs(places[:, None] - places[None]).max(axis=2) + 1000 * np.eye(count)
        if far.min() > 1.8 * radius:
            return [(float(x), float(y)) for x, y in places]


def _between(stops: list[Point], step: int) -> list[Point]:
    """All places: `step` equal parts from each stop to the next."""
    shares = np.arange((len(stops) - 1) * step + 1) / step
    x, y = (np.interp(shares, np.arange(len(stops)), axis) for axis in zip(*stops, strict=True))
    return [(float(a), float(b)) for a, b in zip(x, y, strict=True)]


def _box(shape: Shape, side: int) -> list[int]:
    """In thousandths."""
    return [min(999, max(0, round(1000 * value / side))) for value in shape.box]


def oracle(task: Task) -> Replies:
    """All boxes."""
    return (boxed(json.dumps(task.reference["boxes"])),)


def distractors(task: Task) -> list[Replies]:
    """One box for all seconds, the whole picture, seconds missing or exchanged, boxes too large."""
    boxes: dict[str, list[int]] = task.reference["boxes"]
    seconds = list(boxes)
    turned = {s: boxes[other] for s, other in zip(seconds, seconds[1:] + seconds[:1], strict=True)}
    wide = {
        s: [max(0, x - 80), max(0, y - 80), z + 80, w + 80] for s, (x, y, z, w) in boxes.items()
    }
    wide = {s: [min(1000, n) for n in box] for s, box in wide.items()}
    wrong = [
        {s: boxes[seconds[0]] for s in seconds},
        {s: boxes[seconds[-1]] for s in seconds},
        {s: [0, 0, 999, 999] for s in seconds},
        {s: boxes[s] for s in seconds[1:]},
        boxes | {"99": [1, 1, 2, 2]},
        {s: [z, w, x, y] for s, (x, y, z, w) in boxes.items()},
        {s: [x, y, x, y] for s, (x, y, _, _) in boxes.items()},
        turned,
        wide,
    ]
    said = [json.dumps(one) for one in wrong] + [json.dumps(list(boxes.values())), "{}", ""]
    return [(boxed(one),) for one in said] + [(boxed(json.dumps(boxes) + json.dumps(turned)),)]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """Boxes of the usual size anywhere."""
    size = round(21000 / task.reference["side"])
    places = {s: rng.integers(0, 1000 - size, 2).tolist() for s in task.reference["boxes"]}
    return (boxed(json.dumps({s: [x, y, x + size, y + size] for s, (x, y) in places.items()})),)


CATEGORY = Category(
    name="object_tracking",
    group="video",
    level="grounding",
    benchmark="LaSOT, GOT-10k; GLM-V's boxes keyed by second",
    scale="other shapes: 0 … 4; frames: 3 … 13; asked seconds: 3 … 5",
    draw=draw,
    score=by_answer(tracks.track),
    oracle=oracle,
    distractors=distractors,
    guess=guess,
)
