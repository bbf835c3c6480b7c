"""Charts and tables: contracts, and that the pictures show what the references say."""

import csv
import io

import numpy as np
import pytest

from cogvit_jax.data.assets import FONT_PATH
from cogvit_jax.data.rendering.canvas import BLACK
from rl.envs import CATEGORIES, make_task
from rl.envs.drawing.draw_charts import KINDS, SIZES, random_chart
from rl.envs.drawing.draw_tables import CORNERS, random_table
from rl.envs.drawing.paint_charts import paint, ticks
from rl.envs.environment import judge, play

NAMES = ("chart_value", "chart_reasoning", "chart_to_csv", "table_to_html", "table_qa")
GUESSES = {name: 0.1 for name in NAMES} | {"chart_reasoning": 0.3}


@pytest.mark.parametrize("name", NAMES)
def test_guesses_are_rarely_right(name):
    category, total = CATEGORIES[name], 0.0
    for seed in range(60):
        task = make_task(category, seed, seed % 5)
        replies = category.guess(task, np.random.default_rng(seed))
        total += judge(category, play(category, task, replies)).value or 0
    assert total / 60 < GUESSES[name]


def column_heights(pixels, colour):
    """Of each run of columns with that colour: its middle and how many pixels are coloured."""
    hit = np.abs(pixels.astype(int) - colour).sum(2) < 60
    counts = hit.sum(0)
    runs, start = [], None
    for x, count in enumerate([*counts.tolist(), 0]):
        if count > 8 and start is None:
            start = x
        elif count <= 8 and start is not None:
            runs.append(int(counts[start:x].max()))
            start = None
    return runs


@pytest.mark.parametrize("difficulty", [0, 1])
def test_bars_are_as_high_as_their_values(difficulty):
    for seed in range(10):
        chart = random_chart(np.random.default_rng(seed), difficulty, "en", "bars")
        if chart.colours[0] == BLACK:
            continue  # as the axis
        heights = column_heights(paint(chart, SIZES[difficulty]), chart.colours[0])
        values = chart.values[0]
        assert len(heights) == len(values)
        scale = heights[0] / values[0]
        np.testing.assert_allclose(heights, np.array(values) * scale, atol=2.5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("difficulty", range(5))
def test_a_twentieth_of_a_value_can_be_seen(kind, difficulty):
    height = SIZES[difficulty][1] - 60  # of the axis at least
    for seed in range(20):
        chart = random_chart(np.random.default_rng(seed), difficulty, "zh", kind)
        if kind in ("pie", "heat") or difficulty == 0:
            continue
        for values in chart.values:
            for value in values:
                assert 0 < chart.share(value) <= 1
                moved = abs(chart.share(value * 1.05) - chart.share(value)) * height
                assert moved > 1.4, (chart, value)


def test_logarithmic_ticks_are_where_their_values_are():
    logs = [random_chart(np.random.default_rng(s), 4, "en", "bars") for s in range(20)]
    chart = next(chart for chart in logs if chart.log)
    assert chart.share(chart.top) == 1
    assert chart.share(chart.top / 100) == 0
    assert chart.share(chart.top / 10) == pytest.approx(0.5)
    assert [label for _, label in ticks(chart) if label][-1] == f"{chart.top}{chart.unit}"


def test_a_percent_sign_is_right_where_the_axis_has_one():
    seen = set()
    for seed in range(60):
        task = make_task(CATEGORIES["chart_value"], seed, 2)
        gold, units = task.reference["answer"], task.reference["units"]
        reply = (f"<|begin_of_box|>{gold}%<|end_of_box|>",)
        verdict = judge(CATEGORIES["chart_value"], play(CATEGORIES["chart_value"], task, reply))
        assert verdict.value == float("%" in units)
        seen.add("%" in units)
    assert seen == {True, False}


def test_years_are_exact():
    for seed in range(200):
        task = make_task(CATEGORIES["chart_value"], seed, 1)
        if task.reference["kind"] == "year":
            for off in (-20, -1, 1, 20):
                answer = int(task.reference["answer"]) + off
                played = play(CATEGORIES["chart_value"], task, (str(answer),))
                assert judge(CATEGORIES["chart_value"], played).value == 0
            return
    pytest.fail("no question for a year")


def test_csv_has_every_value():
    task = make_task(CATEGORIES["chart_to_csv"], 3, 4)
    lines = list(csv.reader(io.StringIO(task.reference["csv"])))
    assert len({len(line) for line in lines}) == 1
    assert all(cell for line in lines for cell in line)


@pytest.mark.parametrize("merged", [0, 1, 2])
def test_cells_fill_the_grid(merged):
    for seed in range(10):
        table = random_table(np.random.default_rng(seed), 5, 3, "en", merged)
        taken = np.zeros(table.shape, int)
        for cell in table.cells:
            rows = slice(cell.row, cell.row + cell.rowspan)
            taken[rows, cell.column : cell.column + cell.colspan] += 1
        assert (taken == 1).all()
        assert table.html().count("<td") == len(table.cells)


def test_drawn_characters_are_in_the_font():
    known = (FONT_PATH.parent / "font_characters.txt").read_text(encoding="utf-8")
    assert set("".join(CORNERS["zh"])) <= set(known)
