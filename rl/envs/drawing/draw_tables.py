"""Tables with merged cells: what they say, their HTML, and how they are drawn; not a category."""

from dataclasses import dataclass

import numpy as np

from cogvit_jax.data.rendering import texts
from cogvit_jax.data.rendering.canvas import (
    BLACK,
    COLOURS,
    WHITE,
    Sheet,
    mix,
    pick,
    pick_some,
    text_width,
)
from rl.envs.drawing.draw_charts import cities, years

HEIGHT = 20  # of a row
LETTERS = 12
CORNERS = {"en": ("city", "name"), "zh": ("城市", "名字")}


@dataclass(frozen=True)
class Cell:
    """Of a grid: its upper left place, and how many columns and rows it takes."""

    row: int
    column: int
    text: str
    colspan: int = 1
    rowspan: int = 1


@dataclass(frozen=True)
class Table:
    """What a table says.

    Attributes:
        cells: in the order of HTML: by row, then by column.
        rows: names of the rows of numbers.
        columns: names of their columns; under a merged head "2024 / price".
        values: [row][column].
        heads: how many lines of the grid are heads.
    """

    cells: tuple[Cell, ...]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[int, ...], ...]
    heads: int

    @property
    def shape(self) -> tuple[int, int]:
        """Lines and columns of the grid."""
        lines = max(cell.row + cell.rowspan for cell in self.cells)
        return lines, max(cell.column + cell.colspan for cell in self.cells)

    def html(self) -> str:
        """Rows of td, with colspan and rowspan where they are not 1."""
        lines = ["" for _ in range(self.shape[0])]
        for cell in self.cells:
            wide = f' colspan="{cell.colspan}"' if cell.colspan > 1 else ""
            high = f' rowspan="{cell.rowspan}"' if cell.rowspan > 1 else ""
            lines[cell.row] += f"<td{wide}{high}>{cell.text}</td>"
        return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def random_table(
    rng: np.random.Generator, rows: int, columns: int, language: str, merged: int = 0
) -> Table:
    """Goods and their numbers.

    Args:
        rng: random numbers.
        rows: of numbers, 2 … 12.
        columns: of numbers, 1 … 4; with merged heads they are doubled, and 1 … 3.
        language: of the names.
        merged: 0; 1: a head above each two columns; 2: also a place before each two rows.
    """
    goods = tuple(pick_some(rng, texts.GOODS[language], rows))
    kinds = [name for name in texts.COLUMNS[language] if not name.isdigit()]
    names = pick_some(rng, kinds, 2 if merged else columns)
    groups = years(rng, columns) if merged else ("",)
    wide = len(names) * len(groups)
    values = rng.choice(np.arange(2, 1000), (rows, wide), replace=False)
    first, heads = (1 if merged == 2 else 0), (2 if merged else 1)
    corners = CORNERS[language][1 - first :]
    cells = [Cell(0, i, name, rowspan=heads) for i, name in enumerate(corners)]
    if merged:
        cells += [Cell(0, first + 1 + 2 * i, year, colspan=2) for i, year in enumerate(groups)]
    for i in range(wide):
        cells.append(Cell(heads - 1, first + 1 + i, names[i % len(names)]))
    places = cities(rng, language, (rows + 1) // 2) if first else []
    for i, good in enumerate(goods):
        if first and i % 2 == 0:
            cells.append(Cell(heads + i, 0, places[i // 2], rowspan=min(2, rows - i)))
        cells.append(Cell(heads + i, first, good))
        cells += [Cell(heads + i, first + 1 + j, str(v)) for j, v in enumerate(values[i])]
    paths = [f"{group} / {name}" if group else name for group in groups for name in names]
    return Table(tuple(cells), goods, tuple(paths), tuple(map(tuple, values.tolist())), heads)


def widths(table: Table) -> list[int]:
    """Pixels of each column."""
    found = [0.0] * table.shape[1]
    for cell in table.cells:
        need = (text_width(cell.text, LETTERS) + 14) / cell.colspan
        for column in range(cell.column, cell.column + cell.colspan):
            found[column] = max(found[column], need)
    return [int(np.ceil(w)) for w in found]


def size_of(table: Table) -> tuple[int, int]:
    """Width and height in pixels."""
    return sum(widths(table)), HEIGHT * table.shape[0]


def draw_table(
    rng: np.random.Generator, sheet: Sheet, at: tuple[float, float], table: Table
) -> None:
    """Draws it with its upper left corner at a place."""
    lefts = [at[0] + x for x in np.cumsum([0, *widths(table)]).tolist()]
    ink = mix(BLACK, WHITE, float(pick(rng, (0.1, 0.4, 0.6))))
    accent = pick(rng, COLOURS)[2]
    fills = {"head": mix(accent, WHITE, 0.75), "stripe": mix(accent, WHITE, 0.93), "": None}
    filled, striped = rng.random(2) < (0.7, 0.3)
    for cell in table.cells:
        head = cell.row < table.heads
        stripe = striped and not head and (cell.row - table.heads) % 2 == 1 and cell.rowspan == 1
        left, right = lefts[cell.column], lefts[cell.column + cell.colspan]
        top = at[1] + HEIGHT * cell.row
        bottom = top + HEIGHT * cell.rowspan
        fill = fills["head" if head and filled else "stripe" if stripe else ""]
        sheet.box((left, top, right, bottom), fill, ink)
        number = cell.text.isdigit() and not head
        x, anchor = (right - 6, "rm") if number else (left + 6, "lm")
        if head:
            x, anchor = (left + right) / 2, "mm"
        sheet.text((x, (top + bottom) / 2), cell.text, LETTERS, BLACK, anchor)
