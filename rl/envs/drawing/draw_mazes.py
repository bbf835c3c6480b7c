"""Mazes: drawn at random, searched, and pictured."""

from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import UInt8

from cogvit_jax.data.rendering.canvas import pick
from rl.envs.parts.grid_games import board, flag, player
from rl.rewards.rules import moves
from rl.rewards.rules.moves import Place


def maze(rng: np.random.Generator, rooms: int, loops: int) -> list[str]:
    """A grid of 2 * rooms - 1 cells a side; between any two rooms there is a way.

    Args:
        rng: random numbers.
        rooms: cells with even coordinates, a side.
        loops: walls that are taken out of a maze that has just one way.
    """
    side = 2 * rooms - 1
    grid = [["#"] * side for _ in range(side)]
    stack = [(2 * int(rng.integers(rooms)), 2 * int(rng.integers(rooms)))]
    grid[stack[0][0]][stack[0][1]] = "."
    while stack:
        row, column = stack[-1]
        new = [
            (row + 2 * dr, column + 2 * dc)
            for dr, dc in moves.STEPS.values()
            if 0 <= row + 2 * dr < side
            and 0 <= column + 2 * dc < side
            and grid[row + 2 * dr][column + 2 * dc] == "#"
        ]
        if not new:
            stack.pop()
            continue
        r, c = pick(rng, new)
        grid[r][c] = grid[(row + r) // 2][(column + c) // 2] = "."
        stack.append((r, c))
    walls = [(r, c) for r in range(side) for c in range(side) if grid[r][c] == "#" and (r + c) % 2]
    for i in rng.permutation(len(walls))[:loops].tolist():
        grid[walls[i][0]][walls[i][1]] = "."
    return ["".join(row) for row in grid]


def distances(grid: Sequence[str], start: Place) -> dict[Place, int]:
    """Moves from a place to each that can be reached."""
    found, queue = {start: 0}, deque([start])
    while queue:
        place = queue.popleft()
        for move in moves.STEPS:
            new = moves.ahead(place, move)
            if new not in found and moves.is_open(grid, new):
                found[new] = found[place] + 1
                queue.append(new)
    return found


def far_pair(
    rng: np.random.Generator, grid: Sequence[str], low: int, high: int
) -> tuple[Place, Place, int]:
    """A start, a goal and the moves between them: low … high, or as many as there are."""
    open_ = [(r, c) for r, row in enumerate(grid) for c, cell in enumerate(row) if cell == "."]
    start = pick(rng, open_)
    far = distances(grid, start)
    reach = min(high, max(far.values()))
    goals = [place for place, n in far.items() if min(low, reach) <= n <= reach]
    goal = pick(rng, goals)
    return start, goal, far[goal]


def way(grid: Sequence[str], start: Place, goal: Place) -> list[str]:
    """A shortest list of moves."""
    far = distances(grid, goal)
    place, found = start, []
    while place != goal:
        for move in moves.STEPS:
            new = moves.ahead(place, move)
            if far.get(new, -1) == far[place] - 1:
                found.append(move)
                place = new
                break
    return found


def picture(reference: Mapping, at: Sequence[int], cell: int) -> UInt8[np.ndarray, "h w 3"]:
    """The maze, the goal in green and the player in red."""
    sheet = board(reference["grid"], cell)
    flag(sheet, reference["goal"], cell)
    player(sheet, at, cell)
    return sheet.pixels()


def turned_moves(path: list[str]) -> list[str]:
    """The same way with left and right exchanged, and up and down."""
    other = {"left": "right", "right": "left", "up": "down", "down": "up"}
    return [other[move] for move in path]
