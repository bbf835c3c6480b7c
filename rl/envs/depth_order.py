"""What is near and what is far: one thing, or all of them in order, by letter."""

import itertools
import math

import numpy as np

from cogvit_jax.data.rendering.canvas import pick, pick_some
from mmtp.data.records import Image, Text
from rl.envs.category import Category, Draw, Drawn, by_answer
from rl.envs.drawing.draw_world import draw
from rl.envs.drawing.world import COLOURS, KINDS, Camera, stand
from rl.envs.parts import choices
from rl.rewards.rules import choice

SIZES = ((168, 112), (224, 168), (280, 196), (336, 252), (448, 336))
ONE = {
    "near": ("Which of these is nearest to the camera?", "下面哪一个离相机最近？"),
    "far": ("Which of these is farthest from the camera?", "下面哪一个离相机最远？"),
}
ORDER = (
    "In which order do they stand, from the nearest to the camera to the farthest?",
    "它们从近到远（离相机）的顺序是什么？",
)
NEAREST = 3.6  # metres: there, the tallest thing fits into the picture
RATIO = (1.35, 1.25, 1.18, 1.12, 1.08)  # of one distance to the next, at least


def draw_task(context: Draw) -> Drawn:
    """Solids of any size at clearly different distances."""
    rng, difficulty, language = context
    width, height = SIZES[difficulty]
    camera = Camera((width, height), width * 0.85, (width / 2, height * 0.4), 1.8, 0.15)
    count = 2 + difficulty
    pairs = [(pick(rng, tuple(KINDS)), c) for c in pick_some(rng, COLOURS, count)]
    distances = _distances(rng, count, 6.0 + difficulty, RATIO[difficulty])
    solids = stand(rng, camera, pairs, [(d, d) for d in distances])
    far = [float(np.hypot(*solid.at)) for solid in solids]
    order = sorted(range(count), key=far.__getitem__)
    names = [solid.name(language) for solid in solids]
    if difficulty < 3:
        asked = pick(rng, ("near", "far"))
        right = names[order[0 if asked == "near" else -1]]
        question = ONE[asked][language == "zh"]
        options, reference = choices.shuffled(rng, right, [n for n in names if n != right])
    else:
        arrow = " → "
        some = rng.permutation(count)[:4].tolist()
        chosen = [i for i in order if i in some]
        ways = [w for w in itertools.permutations(chosen) if list(w) != chosen]
        wrong = [list(reversed(chosen)), *(list(w) for w in pick_some(rng, ways, 4))]
        wrong = [w for i, w in enumerate(wrong) if w not in wrong[:i]][:3]
        said = [arrow.join(names[i] for i in w) for w in (chosen, *wrong)]
        question = ORDER[language == "zh"]
        options, reference = choices.shuffled(rng, said[0], said[1:])
    reference["far"] = {name: far[i] for i, name in enumerate(names)}
    text = choices.asked(question, options, language)
    return Drawn((Image(draw(camera, solids)), Text(text)), reference)


def _distances(rng: np.random.Generator, count: int, farthest: float, ratio: float) -> list[float]:
    """Distances from NEAREST on in random order, each `ratio` times the one before, or more."""
    room = math.log(farthest / NEAREST) - (count - 1) * math.log(1.01 * ratio)
    steps = np.sort(rng.uniform(0, room, count)) + np.arange(count) * math.log(1.01 * ratio)
    return [NEAREST * math.exp(float(step)) for step in rng.permutation(steps)]


CATEGORY = Category(
    name="depth_order",
    group="spatial",
    level="element",
    benchmark="VSI-Bench",
    scale="things 2 … 6, ever nearer to each other in depth; the whole order from 3 on",
    draw=draw_task,
    score=by_answer(choice.choice),
    oracle=choices.oracle,
    distractors=choices.distractors,
    guess=choices.guess,
)
