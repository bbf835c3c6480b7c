"""What games on a grid share: a turn, what is said after it, and a picture of cells."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import UInt8

from cogvit_jax.data.rendering.canvas import WHITE, Colour, Sheet, new_sheet
from mmtp.data.records import Image, Text
from rl.answers.reply import answer_of
from rl.envs.category import Step
from rl.types import Json, Observation, Task

State = Mapping[str, Json]  # with "left", the number of turns that are left

SCALE = 2
WALL: Colour = (84, 90, 104)
FLOOR: Colour = (242, 240, 234)
LINE: Colour = (214, 212, 206)
_NOTES = {
    "en": {
        "done": "Solved.",
        "ok": "Done. {left} moves left.",
        "no": "That is not possible. {left} moves left.",
        "end": "No moves left.",
    },
    "zh": {
        "done": "完成了。",
        "ok": "已执行。还剩{left}步。",
        "no": "不能这样做。还剩{left}步。",
        "end": "步数用完了。",
    },
}


def turn(
    task: Task,
    state: State,
    reply: str,
    after: Callable[[State, str], State | None],
    solved: Callable[[State], bool],
    view: Callable[[State], UInt8[np.ndarray, "h w 3"]],
) -> Step:
    """One turn; what is not possible leaves the state and counts.

    Args:
        task, state, reply: as a category's `step` takes them.
        after: (state, answer) -> what changes in the state, or None where it cannot be done.
        solved: whether a state is the end.
        view: its picture.
    """
    answer = answer_of(reply)
    changes = None if answer is None else after(state, answer)
    new = {**state, **(changes or {}), "left": state["left"] - 1}
    won = solved(new)
    note = "done" if won else "end" if new["left"] <= 0 else "ok" if changes else "no"
    text = _NOTES[task.language][note].format(left=new["left"])
    observation = Observation((Image(view(new)), Text(text)), role="observation")
    return Step(new, observation, won or new["left"] <= 0)


def board(grid: Sequence[str], cell: int) -> Sheet:
    """Floors and walls ("#"), each a square of `cell` pixels, in a frame of four pixels."""
    rows, columns = len(grid), len(grid[0])
    sheet = new_sheet((columns * cell + 8, rows * cell + 8), WALL, SCALE)
    sheet.box((4, 4, columns * cell + 4, rows * cell + 4), FLOOR)
    for r, row in enumerate(grid):
        for c, place in enumerate(row):
            x, y = 4 + c * cell, 4 + r * cell
            if place == "#":
                sheet.box((x, y, x + cell, y + cell), WALL)
            else:
                sheet.box((x, y, x + cell, y + cell), FLOOR, LINE)
    return sheet


def middle(place: Sequence[int], cell: int) -> tuple[float, float]:
    """Of a cell (row, column), in pixels."""
    return 4 + (place[1] + 0.5) * cell, 4 + (place[0] + 0.5) * cell


def player(sheet: Sheet, place: Sequence[int], cell: int) -> None:
    """A red disc with a white rim."""
    sheet.disc(middle(place, cell), cell * 0.36, (214, 40, 40))
    sheet.disc(middle(place, cell), cell * 0.15, WHITE)


def flag(sheet: Sheet, place: Sequence[int], cell: int) -> None:
    """A green square with a lighter one inside."""
    x, y = middle(place, cell)
    for share, ink in ((0.4, (24, 140, 60)), (0.26, WHITE), (0.14, (24, 140, 60))):
        half = cell * share
        sheet.box((x - half, y - half, x + half, y + half), ink)
