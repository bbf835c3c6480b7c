"""Plots with axes: lines, points, bars, histograms and spectra."""

from dataclasses import dataclass

import numpy as np

from cogvit_jax.data.rendering import texts
from cogvit_jax.data.rendering.canvas import (
    BLACK,
    COLOURS,
    WHITE,
    Colour,
    Drawing,
    Point,
    Sheet,
    draw_size,
    mix,
    new_sheet,
    pick,
    pick_some,
)

X_LABELS = {
    "en": ("time (s)", "length (m)", "angle", "year", "day", "dose", "depth (m)", "age", "x"),
    "zh": ("时间", "长度", "角度", "年", "天数", "高度", "x"),
}
Y_LABELS = {
    "en": ("height", "mass (kg)", "signal", "count", "force (N)", "speed", "voltage", "yield", "y"),
    "zh": ("高度", "重量", "数量", "力", "光度", "长度", "y"),
}
# English, Chinese, the function on 0 ... 1.
_TRENDS = (
    ("rising", "上升", lambda t, k: t**k),
    ("falling", "下降", lambda t, k: 1 - t**k),
    ("falling", "下降", lambda t, k: np.exp(-3 * k * t)),
    ("oscillating", "波动", lambda t, k: 0.5 + 0.45 * np.sin(2 * np.pi * (1 + 2 * k) * t)),
    ("peaked", "有一个峰", lambda t, k: np.exp(-(((t - 0.5) * (4 + 3 * k)) ** 2))),
)


@dataclass(frozen=True)
class Frame:
    """The part of a sheet between the axes; maps shares 0 ... 1 to pixels."""

    left: float
    top: float
    right: float
    bottom: float

    def at(self, x: float, y: float) -> Point:
        """The pixel of shares x from the left and y from below."""
        return self.left + x * (self.right - self.left), self.bottom - y * (self.bottom - self.top)

    def through(self, x: np.ndarray, y: np.ndarray) -> list[Point]:
        """`at` of many points."""
        return [self.at(a, b) for a, b in zip(x.tolist(), y.tolist(), strict=True)]


def line_plot(rng: np.random.Generator, language: str) -> Drawing:
    """One to three noisy curves, each with a colour and a trend."""
    sheet, frame = _axes(rng, language)
    chosen = pick_some(rng, COLOURS, int(rng.integers(1, 4)))
    t = np.linspace(0, 1, int(rng.integers(20, 80)))
    english, chinese = [], []
    for i, (en, zh, colour) in enumerate(chosen):
        trend_en, trend_zh, shape = pick(rng, _TRENDS)
        noise = rng.standard_normal(len(t)) * rng.uniform(0, 0.03)
        y = 0.05 + 0.9 * rng.uniform(0.5, 1) * shape(t, rng.uniform(0.5, 2)) + noise
        points = frame.through(t, np.clip(y, 0, 1))
        sheet.line(points, colour, rng.uniform(1, 2.5))
        if rng.random() < 0.3:
            for point in points[:: max(1, len(points) // 12)]:
                sheet.disc(point, 2.6, colour, WHITE)
        english.append(f"{'a' if i else 'one'} {trend_en} {en} line")
        chinese.append(f"一条{trend_zh}的{zh}线")
    en, zh = ", ".join(english), "、".join(chinese)
    return _drawing(sheet, "line plot", f"with {en}", "线图", f"有{zh}")


def scatter_plot(rng: np.random.Generator, language: str) -> Drawing:
    """Points of one or two groups, rising, falling or without a trend."""
    sheet, frame = _axes(rng, language)
    english, chinese = [], []
    marker = int(rng.integers(3))
    for en, zh, colour in pick_some(rng, COLOURS, int(rng.integers(1, 3))):
        trend_en, trend_zh, slope = pick(
            rng, (("rising", "上升", 1), ("falling", "下降", -1), ("scattered", "散开", 0))
        )
        count = int(rng.integers(15, 90))
        x = rng.uniform(0.03, 0.97, count)
        spread = rng.uniform(0.04, 0.12) if slope else 0.25
        y = 0.5 + 0.8 * slope * (x - 0.5) + rng.standard_normal(count) * spread
        radius = float(rng.uniform(1.4, 3.5))
        for point in frame.through(x, np.clip(y, 0.02, 0.98)):
            _mark(sheet, point, radius, colour, marker)
        english.append(f"{trend_en} {en} points")
        chinese.append(f"{trend_zh}的{zh}点")
    en, zh = " and ".join(english), "和".join(chinese)
    return _drawing(sheet, "scatter plot", f"of {en}", "散点图", f"有{zh}")


def bar_chart(rng: np.random.Generator, language: str) -> Drawing:
    """Bars with letters below them, with error bars at times."""
    sheet, frame = _axes(rng, language, ("group", "组"), x_numbers=False)
    count = int(rng.integers(3, 9))
    en, zh, colour = pick(rng, COLOURS)
    heights, errors = rng.uniform(0.1, 0.8, count), rng.random() < 0.5
    heights[rng.integers(count)] = 0.92  # so that the eye can tell which is the highest
    width = rng.uniform(0.5, 0.9) / count
    for i, height in enumerate(heights.tolist()):
        middle = (i + 0.5) / count
        left, top = frame.at(middle - width / 2, height)
        right, bottom = frame.at(middle + width / 2, 0)
        sheet.box((left, top, right, bottom), colour)
        if errors:
            reach = rng.uniform(0.02, 0.08)
            sheet.line([frame.at(middle, height - reach), frame.at(middle, height + reach)], BLACK)
        sheet.text((frame.at(middle, 0)[0], frame.bottom + 3), "ABCDEFGHI"[i], 10, BLACK, "ma")
    highest = "ABCDEFGHI"[int(np.argmax(heights))]
    return _drawing(
        sheet,
        "bar chart", f"of {count} {en} bars, {highest} is the highest",
        "条形图", f"有{count}根{zh}的条，{highest}最高",
    )  # fmt: skip


def histogram(rng: np.random.Generator, language: str) -> Drawing:
    """A histogram of a distribution with one mode, two modes or a long tail."""
    sheet, frame = _axes(rng, language, y_label=("count", "数量"))
    name_en, name_zh, kind = pick(
        rng, (("one peak", "一个峰", 0), ("two peaks", "两个峰", 1), ("a long tail", "长尾", 2))
    )
    count = int(rng.integers(200, 2000))
    values = rng.normal(rng.uniform(0.35, 0.65), rng.uniform(0.08, 0.15), count)
    if kind == 1:
        values = np.where(
            rng.random(count) < 0.5, rng.normal(0.25, 0.07, count), rng.normal(0.72, 0.08, count)
        )
    if kind == 2:
        values = rng.exponential(rng.uniform(0.1, 0.2), count)
    bins = int(rng.integers(12, 36))
    heights, edges = np.histogram(values, bins, (0, 1))
    heights = 0.93 * heights / heights.max()
    en, zh, colour = pick(rng, COLOURS)
    outline = WHITE if rng.random() < 0.6 else mix(colour, BLACK, 0.4)
    for height, left, right in zip(heights, edges[:-1], edges[1:], strict=True):
        if height > 0:
            (x0, y0), (x1, y1) = frame.at(left, height), frame.at(right, 0)
            sheet.box((x0, y0, x1, y1), colour, outline)
    return _drawing(sheet, "histogram", f"in {en} with {name_en}", "直方图", f"{zh}，有{name_zh}")


def spectrum(rng: np.random.Generator, language: str) -> Drawing:
    """Sharp peaks over wavelength: emission, absorption, or lines on a rainbow."""
    peaks = int(rng.integers(2, 8))
    x = np.linspace(0, 1, 260)
    # One peak in each cell of a grid, away from its edges, so that peaks can be counted.
    places = (np.arange(peaks) + rng.uniform(0.2, 0.8, peaks)) / peaks
    widths = rng.uniform(0.004, 0.1 / peaks, peaks)
    strengths = rng.uniform(0.25, 1, peaks)
    y = (strengths / (1 + ((x[:, None] - places) / widths) ** 2)).sum(axis=1)
    y /= y.max()
    kind = int(rng.integers(3))
    if kind == 2:
        sheet = _rainbow(rng, x, y)
        en, zh = "bright lines on black", "黑色背景上的亮线"
        if rng.random() < 0.5:
            sheet = _rainbow(rng, x, 1 - 0.95 * y)
            en, zh = "dark lines on a rainbow", "彩虹上的暗线"
        return _drawing(sheet, "spectrum", f"of {peaks} {en}", "光谱", f"有{peaks}条{zh}")
    sheet, frame = _axes(rng, language, ("nm", "nm"), ("signal", "光度"), first=300, step=100)
    colour_en, colour_zh, colour = pick(rng, COLOURS)
    y = 0.04 + 0.88 * y + rng.standard_normal(len(x)) * rng.uniform(0, 0.012)
    y = np.clip(y if kind == 0 else 1 - y, 0, 1)
    if rng.random() < 0.3:
        sheet.polygon(
            [frame.at(0, 0), *frame.through(x, y), frame.at(1, 0)], mix(colour, WHITE, 0.7)
        )
    sheet.line(frame.through(x, y), colour, rng.uniform(1, 1.6))
    en, zh = (("emission", "发光"), ("absorption", "吸收"))[kind]
    return _drawing(
        sheet,
        "spectrum", f"in {colour_en}: {en} lines at {peaks} wavelengths",
        "光谱", f"{colour_zh}，{peaks}条{zh}线",
    )  # fmt: skip


def _drawing(sheet: Sheet, kind: str, en: str, kind_zh: str, zh: str) -> Drawing:
    return Drawing(
        sheet.pixels(),
        (f"a {kind} {en}", f"this figure is a {kind} {en}"),
        (f"一张{kind_zh}，{zh}", f"这是{kind_zh}，{zh}"),
        f"{kind} {en}",
    )


def _axes(
    rng: np.random.Generator,
    language: str,
    x_label: tuple[str, str] | None = None,
    y_label: tuple[str, str] | None = None,
    x_numbers: bool = True,
    first: float | None = None,
    step: float = 0.0,
) -> tuple[Sheet, Frame]:
    """A sheet with axes, ticks, perhaps a grid and a title.

    Labels are (English, Chinese); those and the numbers on the x axis are drawn at random where
    not given.
    """
    paper = pick(rng, (WHITE, WHITE, (246, 246, 242), (232, 236, 244)))
    sheet = new_sheet(draw_size(rng, 0.8, 1.6), paper, scale=2)
    titled = rng.random() < 0.5
    frame = Frame(34, 24 if titled else 18, sheet.width - 10, sheet.height - 32)
    inner, grid = pick(rng, (paper, WHITE, (234, 234, 242))), rng.random() < 0.5
    sheet.box((frame.left, frame.top, frame.right, frame.bottom), inner)
    if first is None:
        step = float(pick(rng, (1, 2, 5, 10, 20, 0.5)))
        first = step * int(rng.integers(0, 3))
    x_ticks = (first, step) if x_numbers else None
    _ticks(rng, sheet, frame, x_ticks, mix(inner, BLACK, 0.15) if grid else inner)
    sheet.line([(frame.left, frame.top), (frame.left, frame.bottom)], BLACK)
    sheet.line([(frame.left, frame.bottom), (frame.right, frame.bottom)], BLACK)
    if rng.random() < 0.4:
        sheet.box((frame.left, frame.top, frame.right, frame.bottom), None, BLACK)
    middle, place = (frame.left + frame.right) / 2, texts.LANGUAGES.index(language)
    x_text, y_text = pick(rng, X_LABELS[language]), pick(rng, Y_LABELS[language])
    x_text, y_text = (x_label[place] if x_label else x_text, y_label[place] if y_label else y_text)
    sheet.text((middle, sheet.height - 3), x_text, 11, BLACK, "mb")
    sheet.text((4, 2), y_text, 11)
    if titled:
        title = pick(rng, texts.TITLES[language])
        sheet.text((sheet.width - 10, 3), title, 12, BLACK, "ra")
    return sheet, frame


def _mark(sheet: Sheet, at: Point, radius: float, colour: Colour, marker: int) -> None:
    x, y = at
    if marker == 0:
        sheet.disc(at, radius, colour)
    elif marker == 1:
        sheet.disc(at, radius, None, colour)
    else:
        sheet.line([(x - radius, y - radius), (x + radius, y + radius)], colour)
        sheet.line([(x - radius, y + radius), (x + radius, y - radius)], colour)


def _rainbow(rng: np.random.Generator, x: np.ndarray, light: np.ndarray) -> Sheet:
    """A strip as seen through a prism: brightness `light` over the colours violet to red."""
    sheet = new_sheet(draw_size(rng, 1.1, 2.0), BLACK, scale=2)
    top, bottom = 20, sheet.height - 28
    edges = np.linspace(0, sheet.width, len(x) + 1)
    centres = np.array([0.05, 0.25, 0.5, 0.7, 0.95])
    hues = np.array([(130, 0, 200), (20, 60, 255), (0, 230, 60), (255, 220, 0), (230, 0, 0)])
    for left, right, place, value in zip(edges[:-1], edges[1:], x, light, strict=True):
        hue = [float(np.interp(place, centres, hues[:, c])) * value for c in range(3)]
        sheet.box((left, top, right, bottom), (round(hue[0]), round(hue[1]), round(hue[2])))
    for nm in (400, 500, 600, 700):
        at = sheet.width * (nm - 370) / 380
        sheet.line([(at, bottom), (at, bottom + 5)], WHITE)
        sheet.text((at, bottom + 7), str(nm), 11, WHITE, "ma")
    return sheet


def _ticks(
    rng: np.random.Generator,
    sheet: Sheet,
    frame: Frame,
    x_ticks: tuple[float, float] | None,
    grid: Colour,
) -> None:
    """Numbers from 0 on the y axis, and from first by step on the x axis if given; grid lines."""
    y_step, count = float(pick(rng, (0.2, 0.5, 1, 2, 5, 10, 20))), int(rng.integers(3, 6))
    for i in range(count):
        share = i / (count - 0.5)
        (x, _), (_, y) = frame.at(share, 0), frame.at(0, share)
        sheet.line([(frame.left, y), (frame.right, y)], grid, 0.6)
        sheet.line([(frame.left - 3, y), (frame.left, y)], BLACK)
        sheet.text((frame.left - 5, y), f"{i * y_step:g}", 9, BLACK, "rm")
        if x_ticks:
            sheet.line([(x, frame.bottom), (x, frame.bottom + 3)], BLACK)
            label = f"{x_ticks[0] + i * x_ticks[1]:g}"
            sheet.text((x, frame.bottom + 4), label, 9, BLACK, "ma")
