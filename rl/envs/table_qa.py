"""Find a cell of a table, or an aggregate of a row or column."""

import numpy as np

from cogvit_jax.data.rendering.canvas import WHITE, new_sheet, pick
from mmtp.data.records import Image, Text
from rl.envs.category import Category, Draw, Drawn, by_answer
from rl.envs.drawing.draw_tables import Table, draw_table, random_table, size_of
from rl.envs.parts import short_answers
from rl.rewards.rules.short import short
from rl.types import Json

MARGIN = 8
SHAPES = ((2, 1, 0), (3, 2, 0), (5, 3, 0), (6, 2, 1), (10, 3, 2))  # rows, columns, merged
ASKS = {
    "en": {
        "cell": "What is the {column} of “{row}”?",
        "sum": "What is the sum of the column {column}?",
        "difference": "By how much do “{row}” and “{other}” differ in {column}?",
        "largest": "Which has the largest number in the column {column}?",
        "smallest": "Which has the smallest number in the column {column}?",
        "count": "How many numbers in the column {column} are larger than {level}?",
    },
    "zh": {
        "cell": "“{row}”的{column}是多少？",
        "sum": "{column}这一列的总和是多少？",
        "difference": "“{row}”和“{other}”的{column}相差多少？",
        "largest": "{column}这一列中，哪个的数最大？",
        "smallest": "{column}这一列中，哪个的数最小？",
        "count": "{column}这一列中有几个数大于{level}？",
    },
}


def draw(context: Draw) -> Drawn:
    """A table and a question about one of its columns."""
    rng, difficulty, language = context
    rows, columns, merged = SHAPES[difficulty]
    table = random_table(rng, rows, columns, language, merged)
    width, height = size_of(table)
    sides = [-(-(side + 2 * MARGIN) // 28) * 28 for side in (width, height)]
    sheet = new_sheet((sides[0], sides[1]), WHITE)
    draw_table(rng, sheet, (MARGIN, MARGIN), table)
    asked = pick(rng, tuple(ASKS[language])[: (1, 3, 6, 6, 6)[difficulty]])
    question, reference = _ask(rng, table, asked, language)
    form = short_answers.NAME if reference["form"] == "name" else short_answers.NUMBER
    return Drawn((Image(sheet.pixels()), Text(question + form[language])), reference)


def _ask(
    rng: np.random.Generator, table: Table, asked: str, language: str
) -> tuple[str, dict[str, Json]]:
    column = int(rng.integers(len(table.columns)))
    row, other = (int(n) for n in rng.choice(len(table.rows), 2, replace=False))
    values = [line[column] for line in table.values]
    level = sorted(values)[int(rng.integers(len(values)))] + 0.5
    question = ASKS[language][asked].format(
        column=f"“{table.columns[column]}”",
        row=table.rows[row],
        other=table.rows[other],
        level=f"{level:g}",
    )
    if asked in ("largest", "smallest"):
        best = {"largest": max, "smallest": min}[asked](values)
        return question, short_answers.name(table.rows[values.index(best)], table.rows)
    sums = [sum(line[i] for line in table.values) for i in range(len(table.columns))]
    answers = {
        "cell": (values[row], (*values, *table.values[row])),
        "sum": (sums[column], (*sums, *(sums[column] - v for v in values))),
        "difference": (abs(values[row] - values[other]), (abs(values[row] - v) for v in values)),
        "count": (sum(v > level for v in values), range(len(values) + 1)),
    }
    answer, near = answers[asked]
    return question, short_answers.number(answer, "count", near)


CATEGORY = Category(
    name="table_qa",
    group="charts",
    level="step",
    benchmark="TableVQA-Bench",
    scale="2 × 1 numbers … 10 × 6 under merged heads; cells, then sums, differences, counts",
    draw=draw,
    score=by_answer(short),
    oracle=short_answers.oracle,
    distractors=short_answers.distractors,
    guess=short_answers.guess,
)
