"""Draws charts; see `rl.envs.drawing.draw_charts`. Not a category."""

import numpy as np
from jaxtyping import UInt8

from cogvit_jax.data.rendering.canvas import (
    BLACK,
    WHITE,
    Colour,
    Sheet,
    mix,
    new_sheet,
    text_width,
)
from cogvit_jax.data.rendering.plots import Frame
from mmtp.data.tasks.pages import ink_on
from rl.envs.drawing.draw_charts import Chart

GRID: Colour = (205, 205, 210)
LETTERS = 11  # pixels


def paint(chart: Chart, size: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
    """A picture of `size` = (width, height)."""
    sheet = new_sheet(size, WHITE, 2)
    sheet.text((sheet.width / 2, 4), chart.title, 12, BLACK, "ma")
    if chart.kind == "pie":
        _pie(sheet, chart)
    elif chart.kind == "heat":
        _heat(sheet, chart)
    else:
        top = 22 + (14 if chart.series != ("",) else 0)
        legend(sheet, 20, chart.series, chart.colours)
        {"bars": _bars, "rows": _rows, "lines": _lines}[chart.kind](sheet, chart, top)
    return sheet.pixels()


def legend(sheet: Sheet, top: float, series: tuple[str, ...], colours: tuple[Colour, ...]) -> None:
    """Names beside patches of their colours, in a row."""
    if series == ("",):
        return
    widths = [text_width(name, LETTERS) + 22 for name in series]
    left = (sheet.width - sum(widths) + 8) / 2
    for name, colour, width in zip(series, colours, widths, strict=True):
        sheet.box((left, top + 1, left + 9, top + 10), colour)
        sheet.text((left + 12, top + 6), name, LETTERS, BLACK, "lm")
        left += width


def ticks(chart: Chart) -> list[tuple[float, str]]:
    """(value, label) of the marks of the axis; those of a logarithmic one are mostly unlabelled."""
    if not chart.log:
        values = range(0, chart.top + 1, chart.step)
        return [(v, f"{v}{chart.unit}") for v in values]
    low = chart.top / 100
    marks = [low * m * 10**d for d in range(2) for m in range(1, 10)] + [chart.top]
    labelled = (low, 2 * low, 5 * low, 10 * low, 20 * low, 50 * low, chart.top)
    return [(v, f"{v:g}{chart.unit}" if v in labelled else "") for v in marks]


def upright(sheet: Sheet, chart: Chart, top: float) -> Frame:
    """The axes of a chart whose values go up."""
    marks = ticks(chart)
    left = 8 + max(text_width(label, 10) for _, label in marks)
    frame = Frame(left, top + 5, sheet.width - 8, sheet.height - 20)
    for value, label in marks:
        y = frame.at(0, chart.share(value))[1]
        if chart.grid:
            sheet.line([(left, y), (frame.right, y)], GRID, 0.6)
        sheet.line([(left - (3 if label else 2), y), (left, y)], BLACK, 0.6)
        sheet.text((left - 4, y), label, 10, BLACK, "rm")
    sheet.line([(left, frame.top), (left, frame.bottom), (frame.right, frame.bottom)], BLACK, 1)
    return frame


def scatter(
    title: str,
    names: tuple[str, ...],
    colours: tuple[Colour, ...],
    groups: list[np.ndarray],
    size: tuple[int, int],
) -> UInt8[np.ndarray, "h w 3"]:
    """Points (x, y) of 0 … 1 in groups of colours, on axes without numbers."""
    sheet = new_sheet(size, WHITE, 2)
    sheet.text((sheet.width / 2, 4), title, 12, BLACK, "ma")
    legend(sheet, 20, names, colours)
    frame = Frame(12, 38, sheet.width - 8, sheet.height - 10)
    sheet.line([(12, frame.top), (12, frame.bottom), (frame.right, frame.bottom)], BLACK, 1)
    for colour, points in zip(colours, groups, strict=True):
        for x, y in points.tolist():
            sheet.disc(frame.at(x, y), 2.6, colour)
    return sheet.pixels()


def _bars(sheet: Sheet, chart: Chart, top: float) -> None:
    frame, count = upright(sheet, chart, top), len(chart.names)
    width = 0.7 / count / len(chart.series)
    for i, name in enumerate(chart.names):
        middle = (i + 0.5) / count
        for j, values in enumerate(chart.values):
            left = middle + (j - len(chart.series) / 2) * width
            x0, y0 = frame.at(left, chart.share(values[i]))
            x1, y1 = frame.at(left + width * 0.92, 0)
            sheet.box((x0, y0, x1, y1), chart.colours[j])
        at = (frame.at(middle, 0)[0], frame.bottom + 4)
        sheet.text(at, name, LETTERS, BLACK, "ma")


def _lines(sheet: Sheet, chart: Chart, top: float) -> None:
    frame, count = upright(sheet, chart, top), len(chart.names)
    xs = [(i + 0.5) / count for i in range(count)]
    for x, name in zip(xs, chart.names, strict=True):
        at = frame.at(x, 0)
        sheet.line([at, (at[0], at[1] + 3)], BLACK, 0.6)
        sheet.text((at[0], at[1] + 4), name, 10, BLACK, "ma")
    for colour, values in zip(chart.colours, chart.values, strict=True):
        points = [frame.at(x, chart.share(v)) for x, v in zip(xs, values, strict=True)]
        sheet.line(points, colour, 1.6)
        for point in points:
            sheet.disc(point, 2.8, colour)


def _rows(sheet: Sheet, chart: Chart, top: float) -> None:
    left = 8 + max(text_width(name, LETTERS) for name in chart.names)
    frame = Frame(left, top, sheet.width - 16, sheet.height - 20)
    for value, label in ticks(chart):
        x = frame.at(chart.share(value), 0)[0]
        if chart.grid:
            sheet.line([(x, frame.top), (x, frame.bottom)], GRID, 0.6)
        sheet.line([(x, frame.bottom), (x, frame.bottom + 3)], BLACK, 0.6)
        sheet.text((x, frame.bottom + 4), label, 10, BLACK, "ma")
    sheet.line([(left, frame.top), (left, frame.bottom), (frame.right, frame.bottom)], BLACK, 1)
    step = (frame.bottom - frame.top) / len(chart.names)
    thick = 0.7 * step / len(chart.series)
    for i, name in enumerate(chart.names):
        middle = frame.top + step * (i + 0.5)
        sheet.text((left - 4, middle), name, LETTERS, BLACK, "rm")
        for j, values in enumerate(chart.values):
            y = middle + (j - len(chart.series) / 2) * thick
            right = frame.at(chart.share(values[i]), 0)[0]
            sheet.box((left, y, right, y + thick * 0.92), chart.colours[j])


def _pie(sheet: Sheet, chart: Chart) -> None:
    """Slices with their percents outside, clockwise from the top; names in a list beside."""
    room = 24 + max(text_width(name, LETTERS) for name in chart.names)
    radius = min((sheet.width - room) / 2 - 26, (sheet.height - 24) / 2 - 18)
    x, y = (sheet.width - room) / 2, 22 + (sheet.height - 24) / 2
    square = [v * sheet.scale for v in (x - radius, y - radius, x + radius, y + radius)]
    start = -90.0
    for share, colour in zip(chart.values[0], chart.colours, strict=True):
        end = start + 3.6 * share
        sheet.pen.pieslice(square, start, end, colour, WHITE, sheet.scale)
        turn = np.deg2rad((start + end) / 2)
        at = (x + (radius + 13) * float(np.cos(turn)), y + (radius + 9) * float(np.sin(turn)))
        sheet.text(at, f"{share}%", 10, BLACK, "mm")
        start = end
    for i, (name, colour) in enumerate(zip(chart.names, chart.colours, strict=True)):
        top = y + (i - len(chart.names) / 2) * 16
        left = sheet.width - room + 4
        sheet.box((left, top, left + 9, top + 9), colour)
        sheet.text((left + 13, top + 5), name, LETTERS, BLACK, "lm")


def _heat(sheet: Sheet, chart: Chart) -> None:
    """Cells with numbers, the darker the larger."""
    left = 8 + max(text_width(name, LETTERS) for name in chart.series)
    frame = Frame(left, 38, sheet.width - 6, sheet.height - 6)
    wide = (frame.right - left) / len(chart.names)
    high = (frame.bottom - frame.top) / len(chart.series)
    for i, name in enumerate(chart.names):
        sheet.text((left + wide * (i + 0.5), 30), name, LETTERS, BLACK, "mm")
    for j, (name, values) in enumerate(zip(chart.series, chart.values, strict=True)):
        y = frame.top + high * j
        sheet.text((left - 4, y + high / 2), name, LETTERS, BLACK, "rm")
        for i, value in enumerate(values):
            x = left + wide * i
            ground = mix(WHITE, chart.colours[0], value / 110)
            sheet.box((x, y, x + wide - 1, y + high - 1), ground)
            at = (x + wide / 2, y + high / 2)
            sheet.text(at, str(value), LETTERS, ink_on(ground), "mm")
