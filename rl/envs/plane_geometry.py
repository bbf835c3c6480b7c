"""Lengths, angles and areas of a figure with labels; the answer is an exact value."""

import numpy as np

from cogvit_jax.data.rendering.canvas import COLOURS, pick
from mmtp.data.records import Image, Text
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, by_answer
from rl.envs.drawing.draw_geometry import picture
from rl.envs.parts.geometry_problems import ASKS, KINDS
from rl.rewards.rules import math_equal
from rl.types import Task

FORM = {
    "en": " Answer with the exact value alone, such as 12, 5/2, 3*sqrt(2) or 4*pi.",
    "zh": "只回答精确值，如12、5/2、3*sqrt(2)或4*pi。",
}
DEGREES = ["°", "^\\circ", "^{\\circ}", "degrees", "度"]


def draw(context: Draw) -> Drawn:
    """A figure and the question about it."""
    rng, difficulty, language = context
    problem = pick(rng, KINDS[difficulty])(rng)
    ink = pick(rng, COLOURS)[2]
    turn = float(rng.uniform(-12, 12)) if difficulty >= 3 else 0.0
    side = 112 + 28 * max(difficulty, problem.asks == "angle")
    pixels = picture(problem.figure, side, ink, turn)
    reference = {
        "answer": problem.answer,
        "wrong": math_equal.different(problem.answer, problem.wrong),
        "units": DEGREES if problem.asks == "angle" else [],
        "asks": problem.asks,
    }
    question = ASKS[problem.asks][language] + FORM[language]
    return Drawn((Image(pixels), Text(question)), reference)


def oracle(task: Task) -> Replies:
    """The exact value."""
    return (boxed(task.reference["answer"]),)


def distractors(task: Task) -> list[Replies]:
    """Usual mistakes, two answers at once, a decimal close by, and what has fooled others."""
    gold, wrong = task.reference["answer"], task.reference["wrong"]
    said = [*wrong, f"{gold} or {wrong[0]}", f"{gold}, {wrong[0]}", f"{{{gold}}}", f"x = {gold}"]
    said += [f"{gold}+0.0001", f"-({gold})", f"±{gold}", f"{gold} {gold}", "9**9**9", ""]
    return [(boxed(answer),) for answer in said] + [(boxed(gold) + boxed(wrong[0]),)]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """A number of the kind that is asked for."""
    if task.reference["asks"] == "angle":
        return (boxed(5 * rng.integers(4, 29)),)
    if task.reference["asks"] in ("circle", "round"):
        return (boxed(f"{rng.integers(2, 50)}*pi"),)
    return (boxed(pick(rng, ("{}", "sqrt({})", "{}*pi")).format(rng.integers(2, 100))),)


CATEGORY = Category(
    name="plane_geometry",
    group="stem",
    level="step",
    benchmark="Geometry3K, MathVista",
    scale="theorems needed: rectangles and angle sums … sectors, chords, areas with roots and pi",
    draw=draw,
    score=by_answer(math_equal.exact),
    oracle=oracle,
    distractors=distractors,
    guess=guess,
)
