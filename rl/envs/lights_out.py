"""Lights out: choose the cells to press so that every lamp goes out; any solution is right."""

from collections.abc import Iterable, Mapping

import numpy as np
from jaxtyping import UInt8

from cogvit_jax.data.rendering.canvas import BLACK, Colour, new_sheet
from mmtp.data.records import Image, Text
from rl.answers.places import parse_points
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, by_answer
from rl.types import Json, Task

ASK = {
    "en": "Pressing a cell switches its lamp and those directly above, below, left and right of "
    "it. Which cells must be pressed so that all lamps go out? Answer with at most {most} cells as "
    "[row,column],[row,column]; rows and columns begin with 1 at the top left.",
    "zh": "按下一格会切换这一格以及上、下、左、右相邻格的灯。按哪些格能让所有的灯熄灭？"
    "请按[行,列],[行,列]的形式回答至多{most}格；行和列从左上角的1开始。",
}
SIDES = (2, 3, 3, 4, 4)
PRESSES = (1, 1, 2, 3, 4)
CELL = 28
ON: Colour = (255, 210, 60)
OFF: Colour = (70, 74, 88)


def press(lamps: Iterable[Iterable[int]], cells: Iterable[tuple[int, int]]) -> list[list[int]]:
    """The lamps (1 = on) after cells (row, column from 0) are pressed."""
    new = [list(row) for row in lamps]
    for row, column in cells:
        for r, c in (
            (row, column),
            (row - 1, column),
            (row + 1, column),
            (row, column - 1),
            (row, column + 1),
        ):
            if 0 <= r < len(new) and 0 <= c < len(new):
                new[r][c] ^= 1
    return new


def draw(context: Draw) -> Drawn:
    """Lamps that some presses have lit."""
    rng, difficulty, language = context
    side, count = SIDES[difficulty], PRESSES[difficulty]
    while True:
        cells = [
            divmod(int(i), side) for i in np.sort(rng.choice(side * side, count, replace=False))
        ]
        lamps = press([[0] * side] * side, cells)
        if sum(map(sum, lamps)):
            break
    reference = {"lamps": lamps, "presses": [[r + 1, c + 1] for r, c in cells], "most": count}
    return Drawn((Image(picture(lamps)), Text(ASK[language].format(most=count))), reference)


def picture(lamps: list[list[int]]) -> UInt8[np.ndarray, "h w 3"]:
    """Lamps as discs, yellow where they are on."""
    side = CELL * len(lamps)
    sheet = new_sheet((side, side), (36, 38, 48), 2)
    for r, row in enumerate(lamps):
        for c, lamp in enumerate(row):
            x, y = CELL * c, CELL * r
            sheet.box((x + 1, y + 1, x + CELL - 2, y + CELL - 2), (52, 56, 68), BLACK, radius=3)
            sheet.disc((x + CELL / 2, y + CELL / 2), 9, ON if lamp else OFF)
    return sheet.pixels()


def score(answer: str, reference: Mapping[str, Json]) -> float:
    """1 where pressing these cells, each once and no more than there may be, puts all lamps out."""
    cells, side = parse_points(answer), len(reference["lamps"])
    if not cells or len(cells) > reference["most"] or len(set(cells)) < len(cells):
        return 0.0
    if not all(1 <= n <= side for cell in cells for n in cell):
        return 0.0
    lamps = press(reference["lamps"], [(r - 1, c - 1) for r, c in cells])
    return float(not any(map(any, lamps)))


def oracle(task: Task) -> Replies:
    """The cells that lit them."""
    return (boxed(_said(task.reference["presses"])),)


def distractors(task: Task) -> list[Replies]:
    """A cell less or more, a neighbour, a cell twice, every cell, those that are lit."""
    gold, side = task.reference["presses"], len(task.reference["lamps"])
    cells = [[r, c] for r in range(1, side + 1) for c in range(1, side + 1)]
    lit = [[r, c] for r, c in cells if task.reference["lamps"][r - 1][c - 1]]
    other = next(cell for cell in cells if cell not in gold)
    wrong = [gold[1:], [*gold, other], [other, *gold[1:]], [*gold, gold[0]], cells, [[0, 0]], lit]
    wrong.append([[r - 1, c - 1] for r, c in gold])
    said = [_said(one) for one in wrong]
    said += [f"{_said(gold)} or {_said([other])}", "", "[]", "all"]
    return [(boxed(one),) for one in said if not score(one, task.reference)]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """As many cells as there may be."""
    side, count = len(task.reference["lamps"]), task.reference["most"]
    chosen = rng.choice(side * side, count, replace=False).tolist()
    return (boxed(_said([[i // side + 1, i % side + 1] for i in chosen])),)


def _said(cells: list[list[int]]) -> str:
    return ",".join(f"[{r},{c}]" for r, c in cells)


CATEGORY = Category(
    name="lights_out",
    group="puzzles",
    level="step",
    benchmark="reasoning-gym and VisualPuzzles lights out",
    scale="cells a side: 2 … 4; presses: 1 … 4",
    draw=draw,
    score=by_answer(score),
    oracle=oracle,
    distractors=distractors,
    guess=guess,
)
