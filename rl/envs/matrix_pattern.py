"""Which cell completes a matrix of 3 x 3: one rule for each attribute, along rows or columns.

The right option is the only one that fits: every known rule that agrees with the eight
cells shown predicts the same ninth. The options are the corners of a cube of attributes (Hu et al.
2021, "Stratified rule-aware network", on how RAVEN's own options give the answer away): each value
is as frequent among them as its alternative, so that nothing can be read off the options alone.
"""

from itertools import pairwise, product

import numpy as np
from jaxtyping import UInt8

from cogvit_jax.data.rendering.canvas import BLACK, WHITE, Colour, Sheet, new_sheet, pick, pick_some
from mmtp.data.records import Image, Text
from mmtp.data.tasks.scenes import KINDS, Shape, draw_shape
from rl.answers.numbers import letter
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, by_answer
from rl.rewards.rules import choice
from rl.types import Task

ASK = {
    "en": "Which option belongs in the place of the question mark? Answer with its letter alone.",
    "zh": "问号处应该填哪个选项？只回答字母。",
}
DOMAINS: dict[str, tuple] = {
    "kind": KINDS,
    "colour": ("red", "green", "blue", "yellow", "purple", "black"),
    "count": (1, 2, 3, 4),
    "size": (0, 1, 2),
}
RADII = (0.09, 0.15, 0.21)  # shares of a cell; four shapes fit at all of them, a quarter each
NUMERIC = ("count", "size")
VARYING = (1, 1, 2, 3, 4)  # attributes, by difficulty
FRAME: Colour = (150, 150, 156)
Cell = dict


def draw(context: Draw) -> Drawn:
    """Eight cells, and four options or eight."""
    rng, difficulty, language = context
    names = ("kind", "colour") if difficulty == 0 else tuple(DOMAINS)
    varying = pick_some(rng, names, VARYING[difficulty])
    grids = {name: _grid(rng, name, name in varying, difficulty) for name in DOMAINS}
    cells = [[{name: grids[name][r][c] for name in DOMAINS} for c in range(3)] for r in range(3)]
    gold = cells[2][2]
    others = pick_some(rng, [name for name in DOMAINS if name not in varying], 4 - len(varying))
    halved = [*varying, *others][: 3 if difficulty >= 3 else 2]
    turned = {name: _other(rng, name, grids[name], gold[name]) for name in halved}
    options = [gold | dict(zip(halved, values, strict=True)) for values in product(
        *((gold[name], turned[name]) for name in halved))]  # fmt: skip
    options = [options[i] for i in rng.permutation(len(options))]
    reference = {"answer": options.index(gold), "options": options, "cells": cells}
    pixels = picture(cells, options, 42 if difficulty < 3 else 48)
    return Drawn((Image(pixels), Text(ASK[language])), reference)


def _grid(rng: np.random.Generator, name: str, varies: bool, difficulty: int) -> list[list]:
    """Values of one attribute, drawn again until the ninth follows from the others."""
    while True:
        domain = DOMAINS[name] if name != "count" or varies else DOMAINS[name][:2]
        if not varies:
            return [[pick(rng, domain)] * 3] * 3
        values = pick_some(rng, domain, 3)
        rule = pick(
            rng, ("row", "column") if difficulty == 0 else ("row", "column", "latin", "step")
        )
        if rule == "step" and name in NUMERIC:
            values = sorted(values)
            rule = pick(rng, ("row", "column"))
        turn = pick(rng, (1, 2))
        by_row, by_column = {"row": (1, 0), "column": (0, 1)}.get(rule, (1, turn))
        grid = [[values[(by_row * r + by_column * c) % 3] for c in range(3)] for r in range(3)]
        if predictions(name, grid) == {grid[2][2]}:
            return grid


def predictions(name: str, grid: list[list]) -> set:
    """What the ninth value would be by every rule that the other eight keep."""
    found = set()
    for lines in (grid, [list(column) for column in zip(*grid, strict=True)]):
        whole, last = lines[:2], lines[2][:2]
        if all(len(set(line)) == 1 for line in (*whole, last)):
            found.add(last[0])
        if whole[0] == whole[1] and last == whole[0][:2]:
            found.add(whole[0][2])
        sets = [set(line) for line in whole]
        if len(sets[0]) == 3 and sets[0] == sets[1] and set(last) < sets[0] and len(set(last)) == 2:
            found |= sets[0] - set(last)
        if name in NUMERIC:
            steps = {b - a for line in whole for a, b in pairwise(line)}
            step = last[1] - last[0]
            if steps == {step} and last[1] + step in DOMAINS[name]:
                found.add(last[1] + step)
    return found


def _other(rng: np.random.Generator, name: str, grid: list[list], gold: object) -> object:
    """Another value, one that is seen if there is one."""
    seen = [value for value in DOMAINS[name] if any(value in row for row in grid) and value != gold]
    return pick(rng, seen or [value for value in DOMAINS[name] if value != gold])


def picture(cells: list[list[Cell]], options: list[Cell], size: int) -> UInt8[np.ndarray, "h w 3"]:
    """The matrix above, the options with their letters in rows of four below."""
    rows = len(options) // 4
    width, height = (
        28 * -(-(4 * size + 24) // 28),
        28 * -(-(3 * size + 22 + rows * (size + 18)) // 28),
    )
    sheet = new_sheet((width, height), WHITE, 3)
    left = (width - 3 * size) / 2
    for r, c in product(range(3), range(3)):
        corner = (left + c * size, 6 + r * size)
        _frame(sheet, corner, size)
        if (r, c) == (2, 2):
            sheet.text((corner[0] + size / 2, corner[1] + size / 2), "?", size // 2, BLACK, "mm")
        else:
            _cell(sheet, corner, size, cells[r][c])
    gap = (width - 4 * size) / 5
    for i, option in enumerate(options):
        corner = (gap + (i % 4) * (size + gap), 3 * size + 16 + (i // 4) * (size + 18))
        _frame(sheet, corner, size)
        _cell(sheet, corner, size, option)
        sheet.text((corner[0] + size / 2, corner[1] + size + 8), letter(i), 12, BLACK, "mm")
    return sheet.pixels()


def _frame(sheet: Sheet, corner: tuple[float, float], size: int) -> None:
    sheet.box((corner[0], corner[1], corner[0] + size, corner[1] + size), WHITE, FRAME)


def _cell(sheet: Sheet, corner: tuple[float, float], size: int, cell: Cell) -> None:
    """As many shapes as the cell says: one in the middle, two side by side, else in quarters."""
    spots = {
        1: ((0.5, 0.5),),
        2: ((0.27, 0.5), (0.73, 0.5)),
        3: ((0.27, 0.27), (0.73, 0.27), (0.5, 0.73)),
        4: ((0.27, 0.27), (0.73, 0.27), (0.27, 0.73), (0.73, 0.73)),
    }[cell["count"]]
    for x, y in spots:
        middle = (corner[0] + x * size, corner[1] + y * size)
        radius = RADII[cell["size"]] * size
        draw_shape(sheet, Shape(cell["kind"], cell["colour"], middle, radius))


def oracle(task: Task) -> Replies:
    """The letter."""
    return (boxed(letter(task.reference["answer"])),)


def distractors(task: Task) -> list[Replies]:
    """Every other letter, several at once, and what is none."""
    gold, count = task.reference["answer"], len(task.reference["options"])
    wrong = [letter(i) for i in range(count) if i != gold]
    every = "".join(f"({letter(i)})" for i in range(count))
    said = [
        *wrong,
        every,
        f"{letter(gold)} or {wrong[0]}",
        f"{letter(gold)}{wrong[0]}",
        "?",
        "",
        "(",
    ]
    return [(boxed(answer),) for answer in [*said, letter(count), str(gold), f"not {wrong[0]}"]]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """Any letter."""
    return (boxed(letter(int(rng.integers(len(task.reference["options"]))))),)


CATEGORY = Category(
    name="matrix_pattern",
    group="puzzles",
    level="step",
    benchmark="LogicVista, RAVEN",
    scale="attributes that change: 1, 1 with rules of order, 2, 3, 4; options: 4, from 3 on 8",
    draw=draw,
    score=by_answer(choice.choice),
    oracle=oracle,
    distractors=distractors,
    guess=guess,
)
