"""Read one value off a chart, count bars above a level, or name the year of an extreme."""

from itertools import pairwise

import numpy as np

from cogvit_jax.data.rendering.canvas import pick
from mmtp.data.records import Image, Text
from rl.envs.category import Category, Draw, Drawn, by_answer
from rl.envs.drawing.draw_charts import KINDS, SIZES, Chart, random_chart
from rl.envs.drawing.paint_charts import paint
from rl.envs.parts import short_answers
from rl.rewards.rules.short import short
from rl.types import Json

VALUE = {
    "en": ("What is the value of {what}?", "Read the value of {what} off the chart."),
    "zh": ("{what}的值是多少？", "请从图中读出{what}的值。"),
}
COUNT = {
    "en": ("How many values{of} are above {level}?", "How many values{of} exceed {level}?"),
    "zh": ("{of}有多少个值大于{level}？", "{of}大于{level}的值有几个？"),
}
YEAR = {
    "en": {"max": "In which year is {what} highest?", "min": "In which year is {what} lowest?"},
    "zh": {"max": "{what}在哪一年最高？", "min": "{what}在哪一年最低？"},
}
LINE = {"en": "the line", "zh": "这条线"}


def draw(context: Draw) -> Drawn:
    """A chart, and a question whose answer is a number."""
    rng, difficulty, language = context
    chart = random_chart(rng, difficulty, language, pick(rng, KINDS[: 3 + min(2, difficulty)]))
    asked = "value" if rng.random() < 0.7 else "year" if chart.kind == "lines" else "count"
    if asked == "year" and not _stand_out(chart):
        asked = "value"
    ask = {"value": _value, "year": _year, "count": _count}[asked]
    question, reference = ask(rng, chart, language)
    text = question + short_answers.NUMBER[language]
    return Drawn((Image(paint(chart, SIZES[difficulty])), Text(text)), reference)


def _value(rng: np.random.Generator, chart: Chart, language: str) -> tuple[str, dict[str, Json]]:
    """Measured, but exact where it is written."""
    row, column = int(rng.integers(len(chart.series))), int(rng.integers(len(chart.names)))
    series, name = chart.series[row], chart.names[column]
    both = f"“{name}” in “{series}”" if language == "en" else f"“{series}”中“{name}”"
    what = both if series else f"“{name}”"
    question = pick(rng, VALUE[language]).format(what=what)
    written = chart.kind in ("pie", "heat")
    percent = chart.unit == "%" or chart.kind == "pie"
    return question, short_answers.number(
        chart.values[row][column],
        "count" if written else "measure",
        [value for values in chart.values for value in values],
        ["%"] if percent else [],
    )


def _count(rng: np.random.Generator, chart: Chart, language: str) -> tuple[str, dict[str, Json]]:
    """How many values are above a level that none of them is near to."""
    row = int(rng.integers(len(chart.series)))
    values, series = sorted(chart.values[row]), chart.series[row]
    gaps = [chart.share(b) - chart.share(a) for a, b in pairwise(values)]
    below = pick(rng, [i for i, gap in enumerate(gaps) if gap >= min(0.1, max(gaps))])
    level = _round_between(values[below], values[below + 1])
    of = {"en": f" of “{series}”", "zh": f"“{series}”"}[language] if series else ""
    question = pick(rng, COUNT[language]).format(of=of, level=f"{level:g}")
    above = sum(value > level for value in values)
    return question, short_answers.number(above, "count", range(len(values) + 1))


def _round_between(low: float, high: float) -> float:
    """The roundest number in the middle third."""
    for digits in range(-3, 3):
        level = round((low + high) / 2, digits)
        if abs(level - (low + high) / 2) <= (high - low) / 6:
            return level
    return (low + high) / 2


def _stand_out(chart: Chart) -> bool:
    """Whether the highest and lowest points of every line can be told from the next."""
    ordered = [sorted(map(chart.share, values)) for values in chart.values]
    return all(min(line[1] - line[0], line[-1] - line[-2]) >= 0.04 for line in ordered)


def _year(rng: np.random.Generator, chart: Chart, language: str) -> tuple[str, dict[str, Json]]:
    """The year of the highest or lowest point of a line; it stands out."""
    row, kind = int(rng.integers(len(chart.series))), pick(rng, ("max", "min"))
    values, series = chart.values[row], chart.series[row]
    best = {"max": max, "min": min}[kind](values)
    what = f"“{series}”" if series else LINE[language]
    question = YEAR[language][kind].format(what=what)
    answer = int(chart.names[values.index(best)])
    return question, short_answers.number(answer, "year", map(int, chart.names))


CATEGORY = Category(
    name="chart_value",
    group="charts",
    level="step",
    benchmark="ChartQA",
    scale="items 3 … 7, series 1 … 4, from a grid with values on it to none and log axes",
    draw=draw,
    score=by_answer(short),
    oracle=short_answers.oracle,
    distractors=short_answers.distractors,
    guess=short_answers.guess,
)
