"""Sokoban: push every box onto a goal, one move at a time."""

from collections.abc import Mapping

import numpy as np

from cogvit_jax.data.rendering.canvas import pick
from mmtp.data.records import Image, Text
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, Step
from rl.envs.drawing import draw_sokoban
from rl.envs.parts import grid_games
from rl.rewards.rules import moves
from rl.types import Json, Rollout, Task

ASK = {
    "en": "You are the red disc. Push every brown box onto a green dot within {left} moves; a box "
    "can be pushed, not pulled, and only one at a time. Answer with the next move alone: up, down, "
    "left or right. You will see what it leads to.",
    "zh": "你是红色圆点。请在{left}步之内把每个棕色箱子推到绿色圆点上；箱子只能推，不能拉，"
    "一次只能推一个。只回答下一步：上、下、左或右。之后你会看到结果。",
}
# Rows and columns, boxes, walls, least and most moves.
LEVELS = (
    ((3, 3), 1, 0, (1, 3)),
    ((4, 4), 1, 1, (4, 7)),
    ((4, 5), 1, 2, (7, 11)),
    ((4, 4), 2, 1, (7, 12)),
    ((5, 5), 2, 3, (11, 16)),
)
SPARE = 6
CELL = 24


def draw(context: Draw) -> Drawn:
    """A level that can be solved."""
    rng, difficulty, language = context
    grid, goals, (at, boxes), solution = draw_sokoban.level(rng, *LEVELS[difficulty])
    left = len(solution) + SPARE
    reference = {"grid": grid, "goals": [list(g) for g in goals], "solution": solution}
    state = {"at": list(at), "boxes": [list(box) for box in sorted(boxes)], "left": left}
    pixels = draw_sokoban.picture(grid, goals, at, state["boxes"], CELL)
    return Drawn((Image(pixels), Text(ASK[language].format(left=left))), reference, state)


def step(task: Task, state: Mapping[str, Json], reply: str) -> Step:
    """One move, and a push if a box is ahead."""
    reference = task.reference

    def after(state: Mapping[str, Json], answer: str) -> Mapping[str, Json] | None:
        move = moves.parse_move(answer)
        (row, column), boxes = state["at"], frozenset((r, c) for r, c in state["boxes"])
        new = draw_sokoban.push(reference["grid"], ((row, column), boxes), move) if move else None
        if new is None:
            return None
        return {"at": list(new[0]), "boxes": [list(box) for box in sorted(new[1])]}

    return grid_games.turn(
        task,
        state,
        reply,
        after,
        lambda new: new["boxes"] == reference["goals"],
        lambda new: draw_sokoban.picture(
            reference["grid"], reference["goals"], new["at"], new["boxes"], CELL
        ),
    )


def score(task: Task, rollout: Rollout) -> float:
    """1 where every box is on a goal."""
    return float(rollout.state["boxes"] == task.reference["goals"])


def oracle(task: Task) -> Replies:
    """The shortest solution."""
    return tuple(boxed(move) for move in task.reference["solution"])


def distractors(task: Task) -> list[Replies]:
    """One move too few, several at once, claims, no move at all."""
    solution = task.reference["solution"]
    said = [solution[:-1], [], [", ".join(solution)] * 2 if len(solution) > 1 else ["pull"]]
    said += [["solved"] * 2, ["up, down, left, right"] * 3, [""]]
    return [tuple(boxed(move) for move in one) for one in said]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """Moves at random."""
    words = tuple(moves.STEPS)
    return tuple(boxed(pick(rng, words)) for _ in range(task.state["left"]))


CATEGORY = Category(
    name="sokoban",
    group="puzzles",
    level="trajectory",
    benchmark="Sokoban (Boxoban)",
    scale="moves of the shortest solution: 1 … 16; boxes: 1, from 3 on 2; cells a side: 3 … 5",
    draw=draw,
    score=score,
    oracle=oracle,
    distractors=distractors,
    guess=guess,
    step=step,
    max_turns=LEVELS[-1][3][1] + SPARE,
)
