"""Write the data of a chart as CSV."""

import numpy as np

from cogvit_jax.data.rendering import texts
from cogvit_jax.data.rendering.canvas import pick, pick_some
from mmtp.data.records import Image, Text
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, by_answer
from rl.envs.drawing.draw_charts import KINDS, SIZES, Chart, random_chart
from rl.envs.drawing.paint_charts import paint
from rl.rewards.rules.tables import mapping_f1
from rl.types import Task

ASK = {
    "en": "Write the data of the chart as CSV and nothing else. The first line is: {header}. Each "
    "further line has the name of an item and its {values}, as plain numbers.",
    "zh": "请把图中的数据写成CSV，不要写别的。第一行是：{header}。以后每行写一个名称和"
    "它的{values}，只用数字。",
}
VALUES = {"en": ("value", "values"), "zh": ("值", "各个值")}
LEGEND = {
    "en": "item,… (the names of the {what} in order)",
    "zh": "item,…（按顺序写出{what}的名字）",
}
WHAT = {
    "en": {"heat": "rows", "": "legend"},
    "zh": {"heat": "行", "": "图例"},
}


def draw(context: Draw) -> Drawn:
    """A chart of any kind."""
    rng, difficulty, language = context
    kinds = ("bars", "rows", "lines") if difficulty == 0 else KINDS
    chart = random_chart(rng, difficulty, language, pick(rng, kinds))
    single = chart.series == ("",)
    what = WHAT[language]["heat" if chart.kind == "heat" else ""]
    header = "item,value" if single else LEGEND[language].format(what=what)
    values = VALUES[language][0 if single else 1]
    question = ASK[language].format(header=header, values=values)
    reference = {"csv": table(chart), "units": ["%"] if chart.unit or chart.kind == "pie" else []}
    return Drawn((Image(paint(chart, SIZES[difficulty])), Text(question)), reference)


def table(chart: Chart) -> str:
    """Items down, series across."""
    series = ["value"] if chart.series == ("",) else list(chart.series)
    lines = [["item", *series]]
    for i, name in enumerate(chart.names):
        lines.append([name, *(str(values[i]) for values in chart.values)])
    return "\n".join(",".join(line) for line in lines)


def oracle(task: Task) -> Replies:
    """The table."""
    return (boxed(task.reference["csv"]),)


def distractors(task: Task) -> list[Replies]:
    """The names without their numbers, numbers of another scale, all numbers, other forms."""
    lines = [line.split(",") for line in task.reference["csv"].split("\n")]
    head, rows = lines[0], lines[1:]
    scaled = [
        [head, *([row[0], *(f"{factor * int(v):g}" for v in row[1:])] for row in rows)]
        for factor in (2, 0.5, 10, -1)
    ]
    empty = [head, *([row[0], *[""] * (len(row) - 1)] for row in rows)]
    every = [head, *([row[0], *[str(n)] * (len(row) - 1)] for n in range(100) for row in rows)]
    spread = [*lines[:-1], [*lines[-1], "1"]]
    tables = [*scaled, empty, every, spread, [head], rows[:0], list(zip(*lines, strict=True))]
    wrong = ["\n".join(",".join(line) for line in written) for written in tables]
    gold = task.reference["csv"]
    wrong += [f"The data:\n{gold}", f"```csv\n{gold}\n```", gold.replace(",", "\t"), '"' + gold]
    wrong += [gold.replace("\n", " "), ",".join(cell for row in rows for cell in row)]
    return [(boxed(text),) for text in wrong]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """Some goods with some numbers."""
    names = pick_some(rng, texts.GOODS[task.language], 3 + task.difficulty)
    lines = [f"{name},{rng.integers(1, 100)}" for name in names]
    return (boxed("\n".join(["item,value", *lines])),)


CATEGORY = Category(
    name="chart_to_csv",
    group="charts",
    level="step",
    benchmark="DePlot",
    scale="items 3 … 7, series 1 … 4, from a grid with values on it to none and log axes",
    draw=draw,
    score=by_answer(mapping_f1),
    oracle=oracle,
    distractors=distractors,
    guess=guess,
)
