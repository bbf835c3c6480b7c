"""Eight tiles and a gap: slide one tile at a time until they are in order."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import UInt8

from cogvit_jax.data.rendering.canvas import BLACK, WHITE, Colour, mix, new_sheet, pick
from mmtp.data.records import Image, Text
from rl.answers.numbers import parse_integer
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, Step
from rl.envs.parts import grid_games
from rl.types import Json, Rollout, Task

ASK = {
    "en": "Slide the tiles into the order 1 2 3 / 4 5 6 / 7 8 gap within {left} moves. Answer with "
    "the number of the next tile alone; it must be beside the gap. You will see what it leads to.",
    "zh": "请在{left}步之内把滑块移成1 2 3 / 4 5 6 / 7 8 空格的顺序。"
    "只回答下一个要移动的滑块的数字，它必须与空格相邻。之后你会看到结果。",
}
SOLVED: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8, 0)
LENGTHS = (1, 3, 5, 8, 11)
SPARE = 4
CELL = 28
TILE: Colour = (70, 120, 190)


def after(tiles: Sequence[int], tile: int) -> tuple[int, ...] | None:
    """The tiles after one has slid into the gap; None where it is not beside it."""
    if tile not in tiles or tile == 0:
        return None
    gap, place = tiles.index(0), tiles.index(tile)
    if abs(gap // 3 - place // 3) + abs(gap % 3 - place % 3) != 1:
        return None
    new = list(tiles)
    new[gap], new[place] = tile, 0
    return tuple(new)


def neighbours(tiles: tuple[int, ...]) -> Iterable[tuple[str, tuple[int, ...]]]:
    """(tile, what its move leads to) of each tile beside the gap."""
    for tile in range(1, 9):
        new = after(tiles, tile)
        if new is not None:
            yield str(tile), new


def draw(context: Draw) -> Drawn:
    """Tiles that some moves, none of them taken back, have brought out of order."""
    rng, difficulty, language = context
    tiles, undo, seen = SOLVED, [], {SOLVED}
    while len(undo) < LENGTHS[difficulty]:
        ways = [(tile, new) for tile, new in neighbours(tiles) if new not in seen]
        tile, tiles = pick(rng, ways)
        seen.add(tiles)
        undo.append(tile)
    left = len(undo) + SPARE
    reference = {"solution": undo[::-1]}
    state = {"tiles": list(tiles), "left": left}
    return Drawn((Image(picture(tiles)), Text(ASK[language].format(left=left))), reference, state)


def picture(tiles: Sequence[int]) -> UInt8[np.ndarray, "h w 3"]:
    """Tiles with their numbers on a dark ground."""
    sheet = new_sheet((3 * CELL, 3 * CELL), mix(BLACK, WHITE, 0.25), 2)
    for place, tile in enumerate(tiles):
        x, y = CELL * (place % 3), CELL * (place // 3)
        if tile:
            sheet.box((x + 1, y + 1, x + CELL - 2, y + CELL - 2), TILE, radius=3)
            sheet.text((x + CELL / 2, y + CELL / 2), str(tile), 17, WHITE, "mm")
    return sheet.pixels()


def step(task: Task, state: Mapping[str, Json], reply: str) -> Step:
    """One tile slides."""

    def change(state: Mapping[str, Json], answer: str) -> Mapping[str, Json] | None:
        tile = parse_integer(answer)
        new = None if tile is None else after(tuple(state["tiles"]), tile)
        return {"tiles": list(new)} if new else None

    return grid_games.turn(
        task,
        state,
        reply,
        change,
        lambda new: new["tiles"] == list(SOLVED),
        lambda new: picture(new["tiles"]),
    )


def score(task: Task, rollout: Rollout) -> float:
    """1 where the tiles are in order."""
    return float(rollout.state["tiles"] == list(SOLVED))


def oracle(task: Task) -> Replies:
    """The moves that made it, undone."""
    return tuple(boxed(tile) for tile in task.reference["solution"])


def distractors(task: Task) -> list[Replies]:
    """One move too few, another tile first, all at once, tiles that are none."""
    solution = task.reference["solution"]
    row = "1,2,3,4,5,6,7,8"
    wrong = [
        solution[:-1],
        [],
        ["0", "9", "-1", row],
        [" ".join(solution)] * 2 if len(solution) > 1 else [],
    ]
    return [tuple(boxed(tile) for tile in one) for one in wrong] + [("",), (boxed("solved"),) * 2]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """Any tiles."""
    return tuple(boxed(rng.integers(1, 9)) for _ in range(task.state["left"]))


CATEGORY = Category(
    name="sliding_tiles",
    group="puzzles",
    level="trajectory",
    benchmark="reasoning-gym and VisualPuzzles sliding puzzles",
    scale="moves to undo: 1, 3, 5, 8, 11",
    draw=draw,
    score=score,
    oracle=oracle,
    distractors=distractors,
    guess=guess,
    step=step,
    max_turns=LENGTHS[-1] + SPARE,
)
