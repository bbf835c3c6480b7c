"""Pages, lists and tables with a question about them, drawn as a scanner or a screen shows them."""

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
    wrap,
)

_PAPERS: tuple[Colour, ...] = (
    WHITE,
    (250, 246, 234),
    (238, 242, 248),
    (244, 240, 240),
    (232, 226, 208),
)


def document(rng: np.random.Generator, language: str) -> Drawing:
    """A page: a title, paragraphs of one or two columns, sometimes a picture."""
    width, height = draw_size(rng, 0.62, 1.3)
    paper, title = pick(rng, _PAPERS), pick(rng, texts.TITLES[language])
    sheet = new_sheet((width, height), paper)
    margin, size = int(rng.integers(8, 24)), int(rng.integers(9, 13))
    columns = 1 if width < 200 else int(rng.integers(1, 3))
    room = width - 2 * margin
    heading = largest_size([title], room, range(24, 12, -1))
    colour = pick(rng, COLOURS)[2] if rng.random() < 0.4 else BLACK
    at, anchor = (width / 2, "ma") if rng.random() < 0.4 else (margin, "la")
    sheet.text((at, margin), title, heading, colour, anchor)
    top = margin + heading * 1.4
    if rng.random() < 0.5:
        sheet.line([(margin, top), (width - margin, top)], mix(colour, paper, 0.4))
    top += 6
    if rng.random() < 0.35 and columns == 1:
        top = _illustration(rng, sheet, top, margin, colour)
    gap = 10
    column_room = (room - gap * (columns - 1)) / columns
    for column in range(columns):
        left = margin + column * (column_room + gap)
        _paragraphs(rng, sheet, language, (left, top), column_room, size, margin)
    pixels = _scanned(rng, sheet.pixels())
    return Drawing(
        pixels,
        (
            f"a page of a document with the title “{title}”",
            f"What is the title of this document? {title}",
            f"printed text under the heading “{title}”",
        ),
        (
            f"一页文档，标题是“{title}”",
            f"这份文档的标题是什么？{title}",
            f"标题“{title}”下面的印刷文字",
        ),
        f"document: {title}",
        {"en": "What is the title?", "zh": "标题是什么？"}[language],
    )


def checklist(rng: np.random.Generator, language: str) -> Drawing:
    """A list of tasks of which some are ticked."""
    width, height = draw_size(rng, 0.6, 1.2)
    paper, accent = pick(rng, _PAPERS), pick(rng, COLOURS)[2]
    sheet = new_sheet((width, height), paper)
    items = pick_some(rng, texts.ITEMS[language], int(rng.integers(3, 8)))
    step = min(34.0, (height - 20) / len(items))
    room, box = width - 60, step * 0.42
    size = largest_size(items, room, range(min(18, int(step * 0.62)), 9, -1))
    ticked = rng.random(len(items)) < rng.uniform(0.2, 0.8)
    left, top = rng.uniform(8, 20), rng.uniform(6, max(7, height - step * len(items) - 6))
    ruled = rng.random() < 0.5
    for i, item in enumerate(items):
        y = top + step * (i + 0.5)
        _tick_box(sheet, (left, y - box / 2), box, bool(ticked[i]), accent)
        ink = mix(BLACK, paper, 0.45) if ticked[i] else BLACK
        sheet.text((left + box + 8, y), item, size, ink, "lm")
        if ruled:
            below = y + step / 2
            sheet.line([(left, below), (width - left, below)], mix(BLACK, paper, 0.85))
    done, total = int(ticked.sum()), len(items)
    names = {"en": ", ".join(items), "zh": "、".join(items)}[language]
    return Drawing(
        _scanned(rng, sheet.pixels()),
        (
            f"a checklist of {total} items with {done} ticked: {names}",
            f"How many items of the checklist {names} are ticked? {done} of {total}",
        ),
        (
            f"一个任务清单，共{total}项，打勾{done}项：{names}",
            f"任务清单（{names}）里有几项打了勾？{total}项中的{done}项",
        ),
        f"checklist: {names}: {done} of {total}",
        {"en": "How many are done?", "zh": "完成了多少？"}[language],
    )


def table(rng: np.random.Generator, language: str) -> Drawing:
    """A table of numbers and a question about one of its cells."""
    width, height = draw_size(rng, 0.8, 1.7)
    rows, columns = int(rng.integers(3, 8)), int(rng.integers(1, 4))
    goods = pick_some(rng, texts.GOODS[language], rows)
    heads = pick_some(rng, texts.COLUMNS[language], columns)
    values = rng.integers(1, 10 ** int(rng.integers(2, 5)), (rows, columns))
    row, column = int(rng.integers(rows)), int(rng.integers(columns))
    sheet = _draw_table(rng, (width, height), goods, heads, values)
    good, head, value = goods[row], heads[column], int(values[row, column])
    return Drawing(
        _scanned(rng, sheet.pixels()),
        (
            f"a table with {rows} rows; {good}, {head}: {value}",
            f"Look at the table. What does it say for {good} under “{head}”? {value}",
        ),
        (
            f"一张{rows}行的表格；{good}，{head}：{value}",
            f"请看表格，{good}的“{head}”是多少？{value}",
        ),
        f"table: {rows} rows, {good} {head} {value}",
        {"en": f"{head} of {good}?", "zh": f"{good}的{head}是多少？"}[language],
    )


def _draw_table(
    rng: np.random.Generator,
    size: tuple[int, int],
    goods: list[str],
    heads: list[str],
    values: np.ndarray,
) -> Sheet:
    paper, accent = pick(rng, _PAPERS), pick(rng, COLOURS)[2]
    sheet = new_sheet(size, paper)
    margin = float(rng.uniform(4, 16))
    step = min(30.0, (size[1] - 2 * margin) / (len(goods) + 1))
    lefts = np.linspace(margin, size[0] - margin, len(heads) + 2)
    cells = [*goods, *heads, *(str(v) for v in values.ravel())]
    letters = largest_size(cells, lefts[1] - lefts[0] - 8, range(min(17, int(step * 0.7)), 7, -1))
    ruled, striped, filled = rng.random(3) < (0.6, 0.4, 0.6)
    for i in range(len(goods) + 1):
        top = margin + i * step
        inside = (margin, top, size[0] - margin, top + step)
        if i == 0 and filled:
            sheet.box(inside, accent)
        elif i % 2 == 0 and striped:
            sheet.box(inside, mix(accent, paper, 0.85))
        line = goods[i - 1 : i] + [str(v) for v in values[i - 1]] if i else ["", *heads]
        ink = WHITE if i == 0 and filled else BLACK
        for j, text in enumerate(line):
            x, anchor = (lefts[j] + 4, "lm") if j == 0 else (lefts[j + 1] - 4, "rm")
            sheet.text((x, top + step / 2), text, letters, ink, anchor)
        if ruled:
            sheet.box(inside, None, mix(BLACK, paper, 0.6))
    if ruled:
        for x in lefts[1:-1]:
            bottom = margin + step * (len(goods) + 1)
            sheet.line([(x, margin), (x, bottom)], mix(BLACK, paper, 0.6))
    return sheet


def _paragraphs(
    rng: np.random.Generator,
    sheet: Sheet,
    language: str,
    at: tuple[float, float],
    room: float,
    size: int,
    margin: int,
) -> None:
    """Fills a column with paragraphs down to the lower margin."""
    left, y = at
    leading, stop = size * rng.uniform(1.2, 1.6), sheet.height - margin - size
    spread, bullets = rng.uniform(0.3, 1.0), rng.random() < 0.25
    indent = 9 if bullets else 0
    while y < stop and rng.random() < 0.95:
        joint = " " if language == "en" else ""
        count = 1 if bullets else int(rng.integers(1, 4))
        text = joint.join(texts.sentence(rng, language) for _ in range(count))
        if bullets:
            sheet.disc((left + 3, y + size / 2 + 1), 1.6, BLACK)
        for line in wrap(text, size, room - indent):
            if y >= stop:
                break
            sheet.text((left + indent, y), line, size)
            y += leading
        y += leading * spread


def _illustration(
    rng: np.random.Generator, sheet: Sheet, top: float, margin: int, colour: Colour
) -> float:
    """A simple landscape between title and text; returns where the text begins."""
    bottom = top + sheet.height * rng.uniform(0.18, 0.3)
    right = sheet.width - margin
    sky = mix(pick(rng, COLOURS)[2], WHITE, 0.7)
    sheet.box((margin, top, right, bottom), sky)
    ridge = rng.uniform(top + 4, bottom, 7)
    points = list(zip(np.linspace(margin, right, 7).tolist(), ridge.tolist(), strict=True))
    sheet.polygon([(margin, bottom), *points, (right, bottom)], mix(colour, BLACK, 0.2))
    return bottom + 8


def _tick_box(
    sheet: Sheet, at: tuple[float, float], side: float, ticked: bool, colour: Colour
) -> None:
    x, y = at
    sheet.box((x, y, x + side, y + side), colour if ticked else None, colour, radius=2)
    if ticked:
        points = [(x + side * a, y + side * b) for a, b in ((0.2, 0.5), (0.42, 0.75), (0.8, 0.25))]
        sheet.line(points, WHITE, 2)


def _scanned(rng: np.random.Generator, pixels: np.ndarray) -> np.ndarray:
    """A third of the pages get the uneven light and the grain of a scan."""
    if rng.random() > 1 / 3:
        return pixels
    height, width = pixels.shape[:2]
    light = np.linspace(1, rng.uniform(0.75, 1), height, dtype=np.float32)[:, None]
    light = light * np.linspace(1, rng.uniform(0.85, 1), width, dtype=np.float32)
    grain = rng.standard_normal((height, width), np.float32) * rng.uniform(2, 9)
    shaded = pixels * light[..., None] + grain[..., None]
    return np.clip(shaded, 0, 255).astype(np.uint8)
