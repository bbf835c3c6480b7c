"""How often a shape lights up or jumps in a clip, among others that do so too."""

import numpy as np

from cogvit_jax.data.rendering.canvas import pick
from mmtp.data.records import Text
from mmtp.data.tasks import scenes
from mmtp.data.tasks.scenes import Shape
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, by_answer
from rl.envs.drawing import clips
from rl.rewards.rules import counts
from rl.types import Task

ASKS = {
    "blink": {
        "en": "How many times does the {name} appear? Answer with the number alone.",
        "zh": "{name}出现了几次？只回答数字。",
    },
    "jump": {
        "en": "How many times does the {name} jump? Answer with the number alone.",
        "zh": "{name}跳了几次？只回答数字。",
    },
}
FRAMES = (8, 8, 12, 16, 16)
MOST = (3, 3, 5, 7, 7)
OTHERS = (0, 1, 1, 2, 3)
FLOOR, HEIGHT = 66.0, 26.0  # pixels


def draw(context: Draw) -> Drawn:
    """Shapes side by side, each of which acts on its own."""
    rng, difficulty, language = context
    total, number = FRAMES[difficulty], 1 + OTHERS[difficulty]
    kind = "blink" if difficulty == 0 else pick(rng, tuple(ASKS))
    side = 28 * max(3, number)
    base = 84 if kind == "jump" else side
    times = [int(n) for n in rng.choice(np.arange(1, MOST[difficulty] + 1), number, replace=False)]
    shapes, acts = [], []
    for i, (pair, count) in enumerate(zip(scenes.different(rng, number), times, strict=True)):
        x = side * (i + 0.5) / number
        middle = (
            x,
            FLOOR + side - base if kind == "jump" else side / 2 + float(rng.integers(-12, 13)),
        )
        shapes.append(Shape(*pair, middle, float(rng.uniform(9, 12))))
        acts.append(set(clips.apart(rng, count, total - 1)))
    frames = []
    for frame in range(total):
        seen = []
        for shape, act in zip(shapes, acts, strict=True):
            if kind == "jump":
                x, y = shape.middle
                seen.append(clips.moved(shape, (x, y - HEIGHT if frame in act else y)))
            elif frame in act:
                seen.append(shape)
        frames.append(seen)
    asked = int(rng.integers(number))
    reference = {
        "answer": times[asked],
        "others": times[:asked] + times[asked + 1 :],
        "most": MOST[difficulty],
    }
    question = ASKS[kind][language].format(name=shapes[asked].name(language))
    video = clips.clip(frames, side, scenes.light_ground(rng), 0.5)
    return Drawn((video, Text(question)), reference)


def oracle(task: Task) -> Replies:
    """The number."""
    return (boxed(task.reference["answer"]),)


def distractors(task: Task) -> list[Replies]:
    """One more or less, the others' numbers, their sum, hedges."""
    gold, others = task.reference["answer"], task.reference["others"]
    wrong = [gold - 1, gold + 1, *others, gold + sum(others) + 10, -gold]
    said = [str(n) for n in wrong]
    said += [
        f"{gold} or {gold + 1}",
        f"{gold}, {gold + 1}",
        f"{gold}-{gold + 1}",
        f"{gold}.5",
        "many",
        "",
    ]
    return [(boxed(answer),) for answer in [*said, "1, 2, 3, 4, 5, 6, 7, 8"]]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """Any number that could be."""
    return (boxed(rng.integers(1, task.reference["most"] + 1)),)


CATEGORY = Category(
    name="action_count",
    group="video",
    level="step",
    benchmark="MVBench (action count), RepCount",
    scale="frames: 8 … 16; times: up to 3 … 7; other shapes that act: 0 … 3",
    draw=draw,
    score=by_answer(counts.count),
    oracle=oracle,
    distractors=distractors,
    guess=guess,
)
