"""Charts: what they say (`random_chart`) and how they are drawn (`paint`); not a category.

The harder, the more series and items, the larger the numbers; then no grid, and an axis that is
logarithmic. A value is always a twentieth or more apart, in pixels, from what would be wrong.
"""

from dataclasses import dataclass, replace

import numpy as np

from cogvit_jax.data.rendering import texts
from cogvit_jax.data.rendering.canvas import COLOURS, Colour, pick, pick_some

KINDS = ("bars", "rows", "lines", "pie", "heat")
SIZES = ((168, 140), (224, 168), (280, 224), (364, 280), (448, 336))  # by difficulty


@dataclass(frozen=True)
class Chart:
    """What a chart says.

    Attributes:
        kind: one of KINDS: upright bars, lying bars, lines, a pie, a heat map with numbers.
        title: above it.
        names: of the items along the axis, of slices, of columns.
        series: of colours, or of rows; ("",) is one series without a name.
        values: [series][item].
        colours: of each series; of each item of a pie.
        step, top: of the axis, in values; `top` is its end.
        unit: "" or "%".
        log: whether the axis goes from top / 100 to top by factors.
        grid: whether lines go across.
    """

    kind: str
    title: str
    names: tuple[str, ...]
    series: tuple[str, ...]
    values: tuple[tuple[int, ...], ...]
    colours: tuple[Colour, ...]
    step: int = 1
    top: int = 10
    unit: str = ""
    log: bool = False
    grid: bool = True

    def share(self, value: float) -> float:
        """Of the axis, 0 … 1."""
        return 1 + np.log10(value / self.top) / 2 if self.log else value / self.top


def random_chart(
    rng: np.random.Generator, difficulty: int, language: str, kind: str, even: bool = False
) -> Chart:
    """A chart of a kind; of one series at difficulties 0 and 1.

    Args:
        rng, difficulty, language: of the task.
        kind: one of KINDS.
        even: whether values lie on ticks and half way between, so that they can be read exactly.
    """
    items = (3, 4, 5, 6, 7)[difficulty]
    count = 1 if difficulty < 2 or kind == "pie" else difficulty
    short = [name for name in texts.GOODS[language] if len(name) <= 6]
    names = years(rng, items) if kind == "lines" else tuple(pick_some(rng, short, items))
    series = ("",) if count == 1 and kind != "heat" else tuple(cities(rng, language, count + 1))
    series = series if kind == "heat" else series[:count]
    step = 2 if difficulty == 0 else int(pick(rng, (2, 4, 10, 20, 40, 100)))
    chart = Chart(
        kind,
        pick(rng, texts.TITLES[language]),
        names,
        series,
        (),
        tuple(c[2] for c in pick_some(rng, COLOURS, items if kind == "pie" else len(series))),
        step=step,
        top=5 * step,
        unit="%" if step in (10, 20) and rng.random() < 0.5 else "",
        grid=difficulty < 3 or even,
        log=difficulty == 4 and not even and kind in ("bars", "lines") and rng.random() < 0.5,
    )
    if chart.log:
        chart = replace(chart, step=200, top=1000, unit="")
    return replace(chart, values=_values(rng, chart, difficulty, even))


def years(rng: np.random.Generator, count: int) -> tuple[str, ...]:
    """Years in a row."""
    first = int(rng.integers(1990, 2020))
    return tuple(str(first + i) for i in range(count))


def cities(rng: np.random.Generator, language: str, count: int) -> list[str]:
    """Different ones."""
    return pick_some(rng, texts.FIELDS[language][{"en": "City", "zh": "城市"}[language]], count)


def _values(
    rng: np.random.Generator, chart: Chart, difficulty: int, even: bool
) -> tuple[tuple[int, ...], ...]:
    """Different within a series; none so small that a twentieth of it is too few pixels."""
    items, found = len(chart.names), []
    for _ in chart.series:
        if chart.kind == "pie":
            found.append(_shares(rng, items))
        elif chart.kind == "heat":
            found.append(tuple(rng.choice(np.arange(10, 100), items, replace=False).tolist()))
        elif chart.log:
            decades = rng.permutation(np.linspace(0.15, 1.9, items)) + rng.uniform(0, 0.08, items)
            low = chart.top / 100
            exact = low * 10**decades
            found.append(tuple(round(v) for v in exact.tolist()))
        elif even or difficulty == 0:
            halves = rng.choice(np.arange(2, 11), items, replace=False) * chart.step // 2
            found.append(tuple(halves.tolist()))
        else:
            low, high = max(3, round(0.35 * chart.top)), round(0.98 * chart.top)
            many = high - low > items
            found.append(tuple(rng.choice(np.arange(low, high), items, replace=not many).tolist()))
    return tuple(found)


def _shares(rng: np.random.Generator, count: int) -> tuple[int, ...]:
    """Different whole percents of 5 and more, 100 together."""
    while True:
        cuts = np.sort(rng.choice(np.arange(5, 96), count - 1, replace=False))
        shares = np.diff([0, *cuts.tolist(), 100]).tolist()
        if min(shares) >= 5 and len(set(shares)) == count:
            return tuple(shares)
