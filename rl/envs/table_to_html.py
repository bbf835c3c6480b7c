"""Write a table as HTML, merged cells and all."""

import numpy as np

from cogvit_jax.data.rendering.canvas import WHITE, new_sheet, pick
from mmtp.data.records import Image, Text
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, by_answer
from rl.envs.drawing.draw_tables import draw_table, random_table, size_of
from rl.rewards.rules.tables import teds
from rl.types import Task

MARGIN = 8
ASK = {
    "en": (
        "Write the table as HTML: <table>, <tr> and <td> with colspan and rowspan, nothing else.",
        "Give this table as one HTML <table> with <tr> and <td>; use colspan and rowspan where "
        "cells are merged. Write nothing else.",
    ),
    "zh": (
        "请把表格写成HTML：只用<table>、<tr>和<td>，合并的单元格用colspan和rowspan，不要写别的。",
        "请用一个HTML的<table>写出这张表，只用<tr>和<td>；单元格合并时写colspan或rowspan。不要写别的。",
    ),
}
SHAPES = ((2, 1, 0), (3, 2, 0), (4, 2, 1), (6, 2, 2), (9, 3, 2))  # rows, columns, merged


def draw(context: Draw) -> Drawn:
    """A table on a sheet of its size."""
    rng, difficulty, language = context
    rows, columns, merged = SHAPES[difficulty]
    table = random_table(rng, rows, columns, language, merged)
    width, height = size_of(table)
    sheet = new_sheet((_even(width), _even(height)), WHITE)
    draw_table(rng, sheet, (MARGIN, MARGIN), table)
    question = pick(rng, ASK[language])
    return Drawn((Image(sheet.pixels()), Text(question)), {"html": table.html()})


def oracle(task: Task) -> Replies:
    """The HTML."""
    return (boxed(task.reference["html"]),)


def distractors(task: Task) -> list[Replies]:
    """An empty table, an empty grid, the texts in other forms, too much, and unsafe HTML."""
    gold = task.reference["html"]
    rows = [
        [cell.partition(">")[2] for cell in row.split("</td>")[:-1]]
        for row in gold.removeprefix("<table><tr>").split("</tr>")[:-1]
    ]
    blank = "".join("<tr>" + "<td></td>" * len(row) + "</tr>" for row in rows)
    one = "".join("<tr><td>" + " ".join(row) + "</td></tr>" for row in rows)
    wrong = [
        "<table></table>",
        f"<table>{blank}</table>",
        f"<table>{one}</table>" if max(map(len, rows)) > 3 else "<table><tr></tr></table>",
        "\n".join(",".join(row) for row in rows),
        "\n".join("| " + " | ".join(row) + " |" for row in rows),
        gold + gold,
        f"Here is the table: {gold}",
        f"```html\n{gold}\n```",
        gold.removesuffix("</table>"),
        gold.replace("<tr>", "<tr><b>x</b>", 1),
        gold.replace("</td>", "<script>x</script></td>", 1),
        f"<!DOCTYPE html>{gold}",
        f"<table><tr><td>{gold}</td></tr></table>",
        "<table>" + "<tr><td>" * 3000 + "</table>",
        "<table>" + ("<tr>" + "<td>1</td>" * 50 + "</tr>") * 60 + "</table>",
        "",
    ]
    return [(boxed(text),) for text in wrong]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """Some numbers in a grid."""
    rows, columns = (int(n) for n in rng.integers(2, 8, 2))
    cells = [[f"<td>{rng.integers(2, 1000)}</td>" for _ in range(columns)] for _ in range(rows)]
    lines = "".join(f"<tr>{''.join(row)}</tr>" for row in cells)
    return (boxed(f"<table>{lines}</table>"),)


def _even(length: int) -> int:
    """A multiple of 28 that holds it with margins."""
    return -(-(length + 2 * MARGIN) // 28) * 28


CATEGORY = Category(
    name="table_to_html",
    group="charts",
    level="step",
    benchmark="PubTabNet",
    scale="2 × 2 cells … 11 × 8, merged heads from 2 on, merged rows from 3 on",
    draw=draw,
    score=by_answer(teds),
    oracle=oracle,
    distractors=distractors,
    guess=guess,
)
