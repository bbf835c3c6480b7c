"""Pies and rows of bars with names, and the question which is the largest."""

import numpy as np

from cogvit_jax.data.rendering import texts
from cogvit_jax.data.rendering.canvas import (
    BLACK,
    COLOURS,
    WHITE,
    Colour,
    Drawing,
    Sheet,
    draw_size,
    largest_size,
    mix,
    new_sheet,
    pick,
    pick_some,
    text_width,
)


def chart(rng: np.random.Generator, language: str) -> Drawing:
    """A pie or a row of bars with names, and the question which is the largest."""
    count = int(rng.integers(3, 6))
    names = pick_some(rng, texts.GOODS[language], count)
    colours = pick_some(rng, COLOURS, count)
    shares = rng.uniform(0.3, 1, count)
    shares[rng.integers(count)] = 1.35  # so that the eye can tell which is the largest
    sheet = new_sheet(draw_size(rng, 0.9, 1.6), mix(colours[0][2], WHITE, rng.uniform(0.9, 1)), 2)
    title = pick(rng, texts.TITLES[language])
    sheet.text((sheet.width / 2, 6), title, 14, BLACK, "ma")
    if pie := rng.random() < 0.5:
        _pie(rng, sheet, names, [c[2] for c in colours], shares)
    else:
        _named_bars(rng, sheet, names, [c[2] for c in colours], shares)
    largest, all_names = int(np.argmax(shares)), {"en": ", ".join, "zh": "、".join}[language](names)
    en, zh = ("pie chart", "饼图") if pie else ("bar chart", "条形图")
    return Drawing(
        sheet.pixels(),
        (
            f"a {en} “{title}” of {all_names}; {names[largest]} is the largest",
            f"Which is the largest in the {en} “{title}” ({all_names})? {names[largest]}",
        ),
        (
            f"一张{zh}“{title}”，有{all_names}；最大的是{names[largest]}",
            f"{zh}“{title}”（{all_names}）里哪个最大？{names[largest]}",
        ),
        f"{en} {title}: {all_names}: {names[largest]}",
        {"en": "Which is the largest?", "zh": "最大的是什么？"}[language],
    )


def _pie(
    rng: np.random.Generator,
    sheet: Sheet,
    names: list[str],
    colours: list[Colour],
    shares: np.ndarray,
) -> None:
    """Slices, with names in a legend below."""
    radius = min(sheet.width / 2 - 10, (sheet.height - 70) / 2)
    x, y = sheet.width / 2, 28 + radius
    edges = np.concatenate([[0], np.cumsum(shares)]) / shares.sum() * 360 + rng.uniform(0, 360)
    square = [v * sheet.scale for v in (x - radius, y - radius, x + radius, y + radius)]
    for start, end, colour in zip(edges[:-1].tolist(), edges[1:].tolist(), colours, strict=True):
        sheet.pen.pieslice(square, start, end, colour, WHITE, sheet.scale)
    if rng.random() < 0.4:
        sheet.disc((x, y), radius * 0.5, WHITE)
    size = 11
    lefts = np.cumsum([0.0, *(text_width(name, size) + 18 for name in names)])
    if lefts[-1] > sheet.width - 8:
        size, lefts = 9, np.cumsum([0.0, *(text_width(name, 9) + 13 for name in names)])
    start, top = (sheet.width - lefts[-1]) / 2, sheet.height - 20
    for left, name, colour in zip(lefts.tolist(), names, colours, strict=False):
        sheet.box((start + left, top, start + left + 8, top + 8), colour)
        sheet.text((start + left + 10, top + 4), name, size, BLACK, "lm")


def _named_bars(
    rng: np.random.Generator,
    sheet: Sheet,
    names: list[str],
    colours: list[Colour],
    shares: np.ndarray,
) -> None:
    """Horizontal bars beside their names."""
    size = largest_size(names, 70, range(14, 8, -1))
    left = 10 + max(text_width(name, size) for name in names)
    step = (sheet.height - 40) / len(names)
    for i, (name, colour) in enumerate(zip(names, colours, strict=True)):
        middle = 32 + step * (i + 0.5)
        sheet.text((left - 4, middle), name, size, BLACK, "rm")
        right = left + (sheet.width - left - 10) * float(shares[i]) / float(shares.max())
        sheet.box((left, middle - step * 0.32, right, middle + step * 0.32), colour)
    if rng.random() < 0.5:
        sheet.line([(left, 30), (left, sheet.height - 6)], BLACK)
