"""Sokoban levels: searched backwards from the solved state, so that each can be solved."""

from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import UInt8

from cogvit_jax.data.rendering.canvas import Colour, pick, pick_some
from rl.envs.parts.grid_games import board, middle, player
from rl.rewards.rules import moves
from rl.rewards.rules.moves import Place

Level = tuple[Place, frozenset[Place]]  # the player and the boxes

MOST_STATES = 1500
BOX: Colour = (190, 130, 60)
HOME: Colour = (24, 140, 60)


def push(grid: Sequence[str], level: Level, move: str) -> Level | None:
    """The level after a move, pushing a box if one is there; None where that cannot be."""
    at, boxes = level
    new = moves.ahead(at, move)
    if not moves.is_open(grid, new):
        return None
    if new not in boxes:
        return new, boxes
    behind = moves.ahead(new, move)
    if behind in boxes or not moves.is_open(grid, behind):
        return None
    return new, (boxes - {new}) | {behind}


def level(
    rng: np.random.Generator,
    size: tuple[int, int],
    boxes: int,
    walls: int,
    lengths: tuple[int, int],
) -> tuple[list[str], list[Place], Level, list[str]]:
    """A grid, goals, a start and the moves that solve it, as few as there can be.

    Args:
        rng: random numbers.
        size: rows and columns.
        boxes: and goals.
        walls: cells that are walls.
        lengths: least and most moves of the solution.
    """
    while True:
        places = [(r, c) for r in range(size[0]) for c in range(size[1])]
        blocked = set(pick_some(rng, places, walls))
        grid = ["".join(".#"[(r, c) in blocked] for c in range(size[1])) for r in range(size[0])]
        goals = sorted(pick_some(rng, [p for p in places if p not in blocked], boxes))
        came, far = _backwards(grid, frozenset(goals), lengths[1])
        starts = [
            one
            for one, n in far.items()
            if lengths[0] <= n <= lengths[1] and not one[1] & set(goals)
        ]
        if starts:
            start = pick(rng, starts)
            return grid, goals, start, _solution(came, start)


def _backwards(
    grid: Sequence[str], goals: frozenset[Place], most: int
) -> tuple[dict[Level, tuple[str, Level] | None], dict[Level, int]]:
    """(next move, what it leads to) and moves left, of the states near the solved ones."""
    open_ = {(r, c) for r, row in enumerate(grid) for c, cell in enumerate(row) if cell != "#"}
    steps = list(moves.STEPS.items())
    came: dict[Level, tuple[str, Level] | None] = {}
    far: dict[Level, int] = {}
    queue: deque[Level] = deque()
    for at in sorted(open_ - goals):
        if any((at[0] + dr, at[1] + dc) in goals for _, (dr, dc) in steps):
            came[at, goals], far[at, goals] = None, 0
            queue.append((at, goals))
    while queue and len(far) < MOST_STATES:
        state = queue.popleft()
        (row, column), boxes = state
        if far[state] == most:
            break
        for move, (dr, dc) in steps:
            at = (row - dr, column - dc)  # where the player was before this move
            if at not in open_ or at in boxes:
                continue
            box = (row + dr, column + dc)  # where it has pushed a box to, if it did
            before = [boxes]
            if box in boxes:
                before.append((boxes - {box}) | {(row, column)})
            for there in before:
                new = (at, there)
                if new not in far and (there != boxes or boxes != goals):
                    came[new], far[new] = (move, state), far[state] + 1
                    queue.append(new)
    return came, far


def _solution(came: Mapping[Level, tuple[str, Level] | None], start: Level) -> list[str]:
    found, step = [], came[start]
    while step is not None:
        found.append(step[0])
        step = came[step[1]]
    return found


def picture(
    grid: Sequence[str],
    goals: Sequence[Sequence[int]],
    at: Sequence[int],
    boxes: Sequence[Sequence[int]],
    cell: int,
) -> UInt8[np.ndarray, "h w 3"]:
    """Goals as green rings, boxes brown with a cross, the player red."""
    sheet = board(grid, cell)
    for place in boxes:
        x, y = middle(place, cell)
        half = 0.4 * cell
        home = list(place) in [list(goal) for goal in goals]
        sheet.box(
            (x - half, y - half, x + half, y + half), BOX, HOME if home else (110, 70, 30), width=2
        )
        for sign in (-1, 1):
            sheet.line(
                [(x - half, y - sign * half), (x + half, y + sign * half)], (110, 70, 30), 1.2
            )
    for place in goals:
        sheet.disc(middle(place, cell), 0.2 * cell, HOME)
    player(sheet, at, cell)
    return sheet.pixels()
