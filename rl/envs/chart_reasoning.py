"""Reason about a chart: largest, difference, trend, crossings, or which group of points rises."""

from dataclasses import replace

import numpy as np

from cogvit_jax.data.rendering import texts
from cogvit_jax.data.rendering.canvas import COLOURS, pick, pick_some
from mmtp.data.records import Image, Text
from rl.envs.category import Category, Draw, Drawn, by_answer
from rl.envs.drawing.draw_charts import SIZES, Chart, cities, random_chart, years
from rl.envs.drawing.paint_charts import paint, scatter
from rl.envs.parts import short_answers
from rl.rewards.rules.short import short
from rl.types import Json

Asked = tuple[str, dict[str, Json], np.ndarray]  # question, reference, picture

LARGEST = {"en": "Which of the names has the {n} value?", "zh": "哪个名字的值{n}？"}
PLACES = {"en": ("largest", "second largest", "smallest"), "zh": ("最大", "第二大", "最小")}
DIFFERENCE = {
    "en": "By how much do “{a}” and “{b}” differ{of}?",
    "zh": "{of}“{a}”和“{b}”相差多少？",
}
TREND = {
    "en": "How does {what} go from the first year to the last?",
    "zh": "从第一年到最后一年，{what}怎样变化？",
}
TRENDS = {
    "en": (
        "it rises",
        "it falls",
        "it stays level",
        "it rises, then falls",
        "it falls, then rises",
    ),
    "zh": ("上升", "下降", "保持不变", "先升后降", "先降后升"),
}
LINE = {"en": "the line", "zh": "这条线"}
CROSS = {
    "en": "How often do the lines “{a}” and “{b}” cross?",
    "zh": "“{a}”和“{b}”两条线相交几次？",
}
RISING = {
    "en": "Whose points rise from left to right?",
    "zh": "哪一组点从左到右上升？",
}


def draw(context: Draw) -> Drawn:
    """One of five questions; the harder, the more lines, items and scatter."""
    rng, difficulty, language = context
    ask = pick(
        rng, (_largest, _difference, _trend, _crossings, _rising)[: 3 + 2 * (difficulty > 0)]
    )
    question, reference, pixels = ask(rng, difficulty, language)
    ending = {
        "number": short_answers.NUMBER,
        "name": short_answers.NAME,
        "choice": short_answers.LETTER,
    }[reference["form"]][language]
    options = short_answers.lettered(reference["options"]) if reference["form"] == "choice" else ""
    return Drawn((Image(pixels), Text(question + ending + options)), reference)


def _largest(rng: np.random.Generator, difficulty: int, language: str) -> Asked:
    """Of bars or slices that can be told apart."""
    kind = pick(rng, ("bars", "rows", "pie")[: 2 + (difficulty > 0)])
    while True:
        chart = random_chart(rng, min(difficulty, 1), language, kind)
        chart = _longer(rng, chart, difficulty, language)
        ordered = sorted(chart.values[0])
        if min(np.diff(ordered)) >= 0.04 * chart.top:
            break
    place = int(rng.integers(3 if difficulty > 1 else 1))
    answer = chart.names[chart.values[0].index(ordered[(-1, -2, 0)[place]])]
    question = LARGEST[language].format(n=PLACES[language][place])
    return question, short_answers.name(answer, chart.names), paint(chart, SIZES[difficulty])


def _longer(rng: np.random.Generator, chart: Chart, difficulty: int, language: str) -> Chart:
    """With more items and no grid where it is harder."""
    if difficulty < 2 or chart.kind == "pie":
        return chart
    names = [name for name in texts.GOODS[language] if len(name) <= 6]
    values = rng.choice(np.arange(8, 25), 4 + difficulty, replace=False) * chart.top // 25
    return replace(
        chart,
        names=tuple(pick_some(rng, names, len(values))),
        values=(tuple(values.tolist()),),
        grid=difficulty < 3,
    )


def _difference(rng: np.random.Generator, difficulty: int, language: str) -> Asked:
    """Of two values that lie on ticks or half way between."""
    chart = random_chart(rng, difficulty, language, pick(rng, ("bars", "rows")), even=True)
    row = int(rng.integers(len(chart.series)))
    one, other = (int(n) for n in rng.choice(len(chart.names), 2, replace=False))
    values, series = chart.values[row], chart.series[row]
    of = {"en": f" in “{series}”", "zh": f"在“{series}”中，"}[language] if series else ""
    question = DIFFERENCE[language].format(a=chart.names[one], b=chart.names[other], of=of)
    near = {abs(a - b) for a in values for b in values} | {values[one] + values[other]}
    units = ["%"] if chart.unit else []
    reference = short_answers.number(abs(values[one] - values[other]), "count", near, units)
    return question, reference, paint(chart, SIZES[difficulty])


def _line_chart(
    rng: np.random.Generator, difficulty: int, language: str, lines: list[np.ndarray]
) -> Chart:
    """Lines of values 0 … 1 over years, named where there are several."""
    names = tuple(cities(rng, language, len(lines))) if len(lines) > 1 else ("",)
    colours = tuple(c[2] for c in pick_some(rng, COLOURS, len(lines)))
    values = tuple(tuple(np.round(100 * line).astype(int).tolist()) for line in lines)
    title = pick(rng, texts.TITLES[language])
    return Chart(
        "lines", title, years(rng, len(lines[0])), names, values, colours, 20, 100,
        grid=difficulty < 3,
    )  # fmt: skip


def _trend(rng: np.random.Generator, difficulty: int, language: str) -> Asked:
    """The shape of one line, among others and with more noise where it is harder."""
    count = 1 + (difficulty + 1) // 2
    kinds = [int(k) for k in rng.choice(5, count, replace=False)]
    time = np.linspace(0, 1, (4, 5, 6, 7, 8)[difficulty])
    hill = 1 - 2 * np.abs(time - 0.5)
    shapes = (time, 1 - time, np.full_like(time, 0.5), hill, 1 - hill)
    noise = 0.02 * difficulty
    lines = [
        rng.uniform(0.1, 0.3) + 0.55 * shapes[k] + rng.uniform(-noise, noise, len(time))
        for k in kinds
    ]
    chart = _line_chart(rng, difficulty, language, lines)
    what = f"“{chart.series[0]}”" if count > 1 else LINE[language]
    words = TRENDS[language]
    wrong = [word for i, word in enumerate(words) if i != kinds[0]]
    reference = short_answers.choice(rng, words[kinds[0]], wrong)
    return TREND[language].format(what=what), reference, paint(chart, SIZES[difficulty])


def _crossings(rng: np.random.Generator, difficulty: int, language: str) -> Asked:
    """Of two lines that are never near to each other at a year; others run beside."""
    items = (3, 4, 5, 6, 7)[difficulty]
    times = int(rng.integers(0, min(items, 2 + difficulty)))
    sides = np.ones(items)
    for at in rng.choice(np.arange(1, items), times, replace=False):
        sides[at:] *= -1
    middle = rng.uniform(0.4, 0.6, items)
    half = rng.uniform(0.08, 0.3, items) * sides * pick(rng, (1, -1))
    others = [rng.uniform(0.1, 0.9, items) for _ in range(max(0, difficulty - 2))]
    chart = _line_chart(rng, difficulty, language, [middle + half, middle - half, *others])
    question = CROSS[language].format(a=chart.series[0], b=chart.series[1])
    reference = short_answers.number(times, "count", range(items))
    return question, reference, paint(chart, SIZES[difficulty])


def _rising(rng: np.random.Generator, difficulty: int, language: str) -> Asked:
    """One group of points rises, the others fall or have no trend."""
    names, colours = cities(rng, language, 1 + difficulty), COLOURS
    slopes = [1.0, *(float(pick(rng, (0.0, -1.0))) for _ in names[1:])]
    order = rng.permutation(len(names)).tolist()
    groups = []
    for slope in slopes:
        x = np.linspace(0.05, 0.92, 12) + rng.uniform(0, 0.05, 12)
        y = rng.uniform(-1, 1, 12) * (0.35 if slope == 0 else 0.08 + 0.02 * difficulty)
        off = x - x.mean()
        y -= off * (off @ y) / (off @ off)  # no trend but the one that is meant
        y += 0.5 + 0.65 * slope * off
        groups.append(np.stack([x, np.clip(y, 0.02, 0.98)], 1))
    pixels = scatter(
        pick(rng, texts.TITLES[language]),
        tuple(names[i] for i in order),
        tuple(c[2] for c in pick_some(rng, colours, len(names))),
        [groups[i] for i in order],
        SIZES[difficulty],
    )
    return RISING[language], short_answers.name(names[0], names), pixels


CATEGORY = Category(
    name="chart_reasoning",
    group="charts",
    level="step",
    benchmark="CharXiv",
    scale="items 3 … 8, lines and groups 1 … 5, second largest and smallest, noise, no grid",
    draw=draw,
    score=by_answer(short),
    oracle=short_answers.oracle,
    distractors=short_answers.distractors,
    guess=short_answers.guess,
)
