"""Moves in words, and walks over a grid: puzzles are judged by playing what was said.

    path = 1 where every move is possible and the last one ends at the goal, else 0

The number of moves is bounded by the reference, so that wandering over the whole grid cannot pay.
A move into a wall makes the answer wrong; it is not skipped.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TypeVar

from rl.answers.json_answer import parse_json
from rl.types import Json

Place = tuple[int, int]  # row, column
State = TypeVar("State", bound=Hashable)

STEPS: dict[str, Place] = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}
_SAME = {
    "u": "up", "d": "down", "l": "left", "r": "right",
    "上": "up", "下": "down", "左": "left", "右": "right",
    "向上": "up", "向下": "down", "向左": "left", "向右": "right",
}  # fmt: skip
MAX_MOVES = 200


def parse_moves(answer: str) -> list[str] | None:
    """Moves as "up, left", "上，左", "U L" or JSON ["up","left"]; None for anything else."""
    said = answer.strip().lower()
    if not said or len(said) > 12 * MAX_MOVES:
        return None
    if said[0] == "[":
        words = parse_json(said, max_depth=1)
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            return None
    else:
        for comma in "，、;\n":
            said = said.replace(comma, ",")
        words = said.removesuffix(".").removesuffix("。").split("," if "," in said else None)
    moves = [_SAME.get(word.strip(), word.strip()) for word in words]
    known = all(move in STEPS for move in moves)
    return moves if moves and known and len(moves) <= MAX_MOVES else None


def parse_move(answer: str) -> str | None:
    """The one move that the answer consists of."""
    moves = parse_moves(answer)
    return moves[0] if moves and len(moves) == 1 else None


def ahead(place: Place, move: str) -> Place:
    """The next place in that direction."""
    return place[0] + STEPS[move][0], place[1] + STEPS[move][1]


def is_open(grid: Iterable[str], place: Place) -> bool:
    """Whether a place is inside the grid and no wall ("#")."""
    rows = list(grid)
    row, column = place
    return 0 <= row < len(rows) and 0 <= column < len(rows[row]) and rows[row][column] != "#"


def walk(grid: Iterable[str], start: Place, moves: Iterable[str]) -> Place | None:
    """Where the moves lead; None where one of them runs into a wall."""
    rows, place = list(grid), start
    for move in moves:
        place = ahead(place, move)
        if not is_open(rows, place):
            return None
    return place


def path(answer: str, reference: Mapping[str, Json]) -> float:
    """1 where the moves lead from reference["start"] to reference["goal"] through its "grid".

    At most reference["most"] moves.
    """
    moves = parse_moves(answer)
    if moves is None or len(moves) > reference["most"]:
        return 0.0
    row, column = reference["start"]
    end = walk(reference["grid"], (row, column), moves)
    return float(end is not None and list(end) == list(reference["goal"]))


def shortest(
    start: State,
    after: Callable[[State], Iterable[tuple[str, State]]],
    solved: Callable[[State], bool],
    most_states: int = 20_000,
) -> list[str] | None:
    """A shortest list of moves to a solved state by breadth-first search; None where none is found.

    Args:
        start: where to begin.
        after: (move, next state) of every possible move.
        solved: whether a state is a goal.
        most_states: that are looked at before it gives up.
    """
    came: dict[State, tuple[State, str] | None] = {start: None}
    queue = deque([start])
    while queue:
        state = queue.popleft()
        if solved(state):
            return _way(came, state)
        for move, new in after(state):
            if new not in came and len(came) < most_states:
                came[new] = (state, move)
                queue.append(new)
    return None


def _way(came: Mapping[State, tuple[State, str] | None], state: State) -> list[str]:
    moves: list[str] = []
    step = came[state]
    while step is not None:
        moves.append(step[1])
        step = came[step[0]]
    return moves[::-1]
