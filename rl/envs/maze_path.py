"""The way through a maze as one list of moves."""

import numpy as np

from cogvit_jax.data.rendering.canvas import pick
from mmtp.data.records import Image, Text
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, by_answer
from rl.envs.drawing import draw_mazes
from rl.rewards.rules import moves
from rl.types import Task

ASK = {
    "en": "How does the red disc get to the green square? List at most {most} moves by one cell, "
    "each up, down, left or right, separated by commas.",
    "zh": "红色圆点怎样走到绿色方块？请列出至多{most}步，每步走一格：上、下、左或右，用逗号隔开。",
}
ROOMS = (2, 3, 4, 5, 6)
LENGTHS = ((2, 4), (4, 8), (7, 12), (10, 18), (14, 26))


def draw(context: Draw) -> Drawn:
    """A maze, a start and a goal."""
    rng, difficulty, language = context
    grid = draw_mazes.maze(rng, ROOMS[difficulty], difficulty)
    start, goal, length = draw_mazes.far_pair(rng, grid, *LENGTHS[difficulty])
    reference = {"grid": grid, "start": list(start), "goal": list(goal), "most": length + 4}
    pixels = draw_mazes.picture(reference, start, 20)
    return Drawn((Image(pixels), Text(ASK[language].format(most=length + 4))), reference)


def oracle(task: Task) -> Replies:
    """A shortest way."""
    return (boxed(", ".join(_way(task))),)


def distractors(task: Task) -> list[Replies]:
    """One move too few or too many, the way turned around, through walls, too long, hedges."""
    path, reference = _way(task), task.reference
    wrong = [
        path[:-1],
        [*path, path[-1]],
        draw_mazes.turned_moves(path),
        ["up"] * reference["most"],
    ]
    back = draw_mazes.turned_moves(path[:1])
    wrong.append((path[:1] + back) * 3 + path)  # six moves of waiting
    bad = [", ".join(one) for one in wrong if moves.path(", ".join(one), reference) == 0]
    gold = ", ".join(path)
    bad += [f"{gold} or up", f"{gold}; {gold}", "goal", "", "up, down, left, right, stop", "[]"]
    return [(boxed(answer),) for answer in bad]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """A random walk of as many moves as there may be, less four."""
    words = tuple(moves.STEPS)
    return (boxed(", ".join(pick(rng, words) for _ in range(task.reference["most"] - 4))),)


def _way(task: Task) -> list[str]:
    (row, column), (down, right) = task.reference["start"], task.reference["goal"]
    return draw_mazes.way(task.reference["grid"], (row, column), (down, right))


CATEGORY = Category(
    name="maze_path",
    group="puzzles",
    level="step",
    benchmark="VisuLogic-like mazes",
    scale="length of the way: 2 … 26; cells a side: 3 … 11",
    draw=draw,
    score=by_answer(moves.path),
    oracle=oracle,
    distractors=distractors,
    guess=guess,
)
