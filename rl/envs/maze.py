"""A maze, one move at a time: the red disc must come to the green square."""

from collections.abc import Mapping

import numpy as np

from cogvit_jax.data.rendering.canvas import pick
from mmtp.data.records import Image, Text
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, Step
from rl.envs.drawing import draw_mazes
from rl.envs.parts import grid_games
from rl.rewards.rules import moves
from rl.types import Json, Rollout, Task

ASK = {
    "en": "Bring the red disc to the green square within {left} moves. Answer with the next move "
    "alone: up, down, left or right. You will see what it leads to.",
    "zh": "请在{left}步之内把红色圆点移到绿色方块。只回答下一步：上、下、左或右。"
    "之后你会看到结果。",
}
ROOMS = (2, 3, 3, 4, 4)
LENGTHS = ((2, 4), (4, 6), (7, 10), (9, 12), (13, 16))
LOOPS = (0, 1, 1, 2, 2)
SPARE = 4  # moves more than the shortest way


def draw(context: Draw) -> Drawn:
    """A maze, a start and a goal."""
    rng, difficulty, language = context
    grid = draw_mazes.maze(rng, ROOMS[difficulty], LOOPS[difficulty])
    start, goal, length = draw_mazes.far_pair(rng, grid, *LENGTHS[difficulty])
    left = length + SPARE
    reference = {"grid": grid, "goal": list(goal), "cell": 20}
    pixels = draw_mazes.picture(reference, start, 20)
    text = ASK[language].format(left=left)
    return Drawn((Image(pixels), Text(text)), reference, {"at": list(start), "left": left})


def step(task: Task, state: Mapping[str, Json], reply: str) -> Step:
    """One move, if there is no wall."""
    reference = task.reference

    def after(state: Mapping[str, Json], answer: str) -> Mapping[str, Json] | None:
        move = moves.parse_move(answer)
        row, column = state["at"]
        new = moves.ahead((row, column), move) if move else None
        return {"at": list(new)} if new and moves.is_open(reference["grid"], new) else None

    return grid_games.turn(
        task,
        state,
        reply,
        after,
        lambda new: new["at"] == reference["goal"],
        lambda new: draw_mazes.picture(reference, new["at"], reference["cell"]),
    )


def score(task: Task, rollout: Rollout) -> float:
    """1 where the disc is on the goal."""
    return float(rollout.state["at"] == task.reference["goal"])


def oracle(task: Task) -> Replies:
    """A shortest way."""
    return tuple(boxed(move) for move in _way(task))


def distractors(task: Task) -> list[Replies]:
    """One move too few, the way turned around, into walls, all moves at once, claims."""
    path = _way(task)
    every = (
        boxed("up, down, left, right"),
        boxed(", ".join(path)),
        boxed("Solved."),
        boxed("goal"),
    )
    wrong = [path[:-1], draw_mazes.turned_moves(path)[:1] + path[:-2]]
    return [tuple(boxed(move) for move in one) for one in wrong] + [
        every,
        ("",),
        (boxed("up down"),) * 2,
    ]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """Moves at random."""
    words = tuple(moves.STEPS)
    return tuple(boxed(pick(rng, words)) for _ in range(task.state["left"]))


def _way(task: Task) -> list[str]:
    (row, column), (down, right) = task.state["at"], task.reference["goal"]
    return draw_mazes.way(task.reference["grid"], (row, column), (down, right))


CATEGORY = Category(
    name="maze",
    group="puzzles",
    level="trajectory",
    benchmark="VisuLogic-like mazes, MiniGrid",
    scale="length of the way: 2 … 16; cells a side: 3 … 7",
    draw=draw,
    score=score,
    oracle=oracle,
    distractors=distractors,
    guess=guess,
    step=step,
    max_turns=LENGTHS[-1][1] + SPARE,
)
