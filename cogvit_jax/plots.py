"""Pictures of a run: its curves, and image grids with captions."""

import math
import re
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont

from cogvit_jax.metrics import read_jsonl

# A language model's losses, apart from those of stage 1's teachers.
_KINDS = "text|knowledge|interleaved|ocr|coding|gui|video|tool_use|spatial|grounding|academic"
# Which metrics share a panel: title -> regex of their names.
PANELS = {
    "loss": r"^loss$",
    "loss per teacher": rf"^loss/(?!source/|main|mtp_|{_KINDS})",
    "loss per head": r"^loss/(main|mtp_\d+)$",
    "loss per category": rf"^loss/({_KINDS})$",
    "held-out loss": r"^heldout/[^/]+/loss/main$",
    "right answers": r"^answers/[^/]+/right$",
    "acceptance length": r"^(acceptance|teacher_forced)/[^/]+/length$",
    "loss per source": r"^loss/source/",
    "zero-shot accuracy": r"^zero_shot/",
    "retrieval, recall at 1": r"^retrieval/.*_r1$",
    "kNN accuracy": r"^knn/",
    "linear probe accuracy": r"^linear_probe/",
    "segmentation of patches": r"^dense/.*/(miou|pixel_accuracy)",
    "correspondence within a patch": r"^dense/.*/pck",
    "correspondence error, patches": r"^dense/.*/error",
    "gradient norm": r"^grad_norm",
    "update-to-weight ratio": r"^update_ratio/",
    "largest attention logit": r"^attention/",
    "images per second": r"^time/examples_per_second$",
}
MAX_CAPTION = 40  # characters
TITLE_HEIGHT = 15  # pixels per line of a column's title


def curves(metrics_file: Path, target: Path) -> None:
    """Draws every panel of PANELS that the metrics file has numbers for, as a PNG."""
    rows = read_jsonl(metrics_file)
    panels = {title: _series(rows, pattern) for title, pattern in PANELS.items()}
    panels = {title: series for title, series in panels.items() if series}
    if not panels:
        return
    columns = min(3, len(panels))
    lines = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(4.5 * columns, 3.2 * lines), layout="constrained")
    axes = np.atleast_1d(figure.subplots(lines, columns)).ravel()
    for ax, (title, series) in zip(axes, panels.items(), strict=False):
        for name, points in sorted(series.items()):
            ax.plot(*zip(*points, strict=True), label=name, linewidth=1.2)
        ax.set_title(title, fontsize=10)
        ax.grid(alpha=0.3)
        if len(series) > 1:
            ax.legend(fontsize=6)
    for ax in axes[len(panels) :]:
        ax.remove()
    temporary = target.with_suffix(".tmp.png")
    figure.savefig(temporary, dpi=110)
    temporary.replace(target)


def stacked_bars(
    target: Path, title: str, panels: Sequence[tuple[str, Mapping[str, float], float | None]]
) -> None:
    """One stacked bar per panel (title, name -> height, limit or None), as a PNG."""
    panels = [panel for panel in panels if panel[1]]
    figure = Figure(figsize=(3.6 * len(panels), 4.2), layout="constrained")
    figure.suptitle(title, fontsize=10)
    for ax, (name, parts, limit) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
    ):
        bottom = 0.0
        for label, height in parts.items():
            ax.bar(0, height, 0.8, bottom, label=f"{label}: {height:.3g}")
            bottom += height
        if limit is not None:
            ax.axhline(limit, color="black", linestyle="--", label=f"limit: {limit:.3g}")
        ax.set_title(name, fontsize=9)
        ax.set_xlim(-0.6, 2.2)
        ax.set_xticks([])
        ax.legend(fontsize=6, loc="upper right")
    figure.savefig(target, dpi=120)


def caption_grid(
    pictures: Sequence[np.ndarray],
    captions: Sequence[Sequence[tuple[str, bool]]],
    font: Path,
    columns: int = 6,
) -> np.ndarray:
    """Pictures with lines of text below each, as one `[h, w, 3]` uint8 picture.

    Args:
        pictures: `[h, w, 3]` uint8, any sizes.
        captions: for each picture (text, whether it is right) lines; right ones are green.
        font: a font file that has the captions' characters.
        columns: pictures per row.
    """
    lines = math.ceil(len(pictures) / columns)
    text_lines = max(map(len, captions))
    figure = Figure(figsize=(2.1 * columns, (2.2 + 0.16 * text_lines) * lines))
    axes = np.atleast_1d(figure.subplots(lines, columns)).ravel()
    below = 0.08 * text_lines
    figure.subplots_adjust(0.01, below / lines, 0.99, 0.99, 0.12, 0.05 + 1.1 * below)
    properties = FontProperties(fname=str(font), size=6.5)
    known = FT2Font(str(font)).get_charmap()
    for ax, picture, texts in zip(axes, pictures, captions, strict=False):
        ax.imshow(on_square(picture), interpolation="nearest")
        for line, (text, right) in enumerate(texts):
            ax.text(
                0.5,
                -0.03 - 0.08 * line,
                _drawable(text, known),
                color="green" if right else "black",
                fontproperties=properties,
                ha="center",
                va="top",
                transform=ax.transAxes,
            )
    for ax in axes:
        ax.axis("off")
    return render(figure)


def _drawable(text: str, known: Container[int]) -> str:
    """A caption that is not too long, with "?" for what the font cannot draw."""
    cut = text if len(text) <= MAX_CAPTION else text[: MAX_CAPTION - 1] + "…"
    return "".join(c if ord(c) in known else "?" for c in cut)


def picture_table(
    titles: Sequence[str], rows: Sequence[Sequence[np.ndarray]], side: int, gap: int = 4
) -> np.ndarray:
    """Columns of pictures under titles, pixel for pixel, as one `[h, w, 3]` uint8 picture.

    Row r, column c begins `picture_table_corner(titles, r, c, side, gap)` pixels from the top left.

    Args:
        titles: one per column; lines are parted by newlines, and shrink until they fit.
        rows: pictures `[h, w, 3]` uint8, put on squares of `side` pixels: photographs are
            resampled, maps of at most half that size are enlarged to whole pixels.
        side: pixels.
        gap: white pixels between pictures.
    """
    top, left = picture_table_corner(titles, len(rows), len(titles), side, gap)
    page = np.full((top, left, 3), 255, np.uint8)
    page[: _heading(titles)] = _headings(titles, left, side, gap)
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            y, x = picture_table_corner(titles, row, column, side, gap)
            page[y : y + side, x : x + side] = _fit(on_square(picture), side)
    return page


def picture_table_corner(
    titles: Sequence[str], row: int, column: int, side: int, gap: int = 4
) -> tuple[int, int]:
    """(y, x) of a cell of `picture_table`."""
    return _heading(titles) + gap + row * (side + gap), gap + column * (side + gap)


def _heading(titles: Sequence[str]) -> int:
    """Height of the titles in pixels."""
    return TITLE_HEIGHT * max(title.count("\n") + 1 for title in titles) + 2


def _headings(titles: Sequence[str], width: int, side: int, gap: int) -> np.ndarray:
    page = Image.new("RGB", (width, _heading(titles)), "white")
    draw = ImageDraw.Draw(page)
    for column, title in enumerate(titles):
        for line, text in enumerate(title.split("\n")):
            size = next((s for s in range(12, 6, -1) if _text_width(text, s) <= side), 6)
            middle = gap + column * (side + gap) + side // 2, TITLE_HEIGHT * line + TITLE_HEIGHT
            draw.text(middle, text, "black", ImageFont.load_default(size), anchor="ms")
    return np.asarray(page)


def _text_width(text: str, size: int) -> float:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font.getlength(text)


def _fit(square: np.ndarray, side: int) -> np.ndarray:
    """To `side` pixels: patches keep their sharp edges, photographs are smoothed."""
    resample = Image.Resampling.NEAREST if 2 * len(square) <= side else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(square).resize((side, side), resample))


def on_square(picture: np.ndarray) -> np.ndarray:
    """A picture in the middle of the smallest white square that holds it."""
    height, width = picture.shape[:2]
    side = max(height, width)
    square = np.full((side, side, 3), 255, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = picture
    return square


def render(figure: Figure, dpi: int = 110) -> np.ndarray:
    """A matplotlib figure as `[h, w, 3]` uint8 pixels."""
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _series(rows: Sequence[dict[str, Any]], pattern: str) -> dict[str, list]:
    """name -> (step, value) points of the finite numbers whose name matches."""
    series: dict[str, list] = {}
    for row in rows:
        for name, value in row.items():
            if isinstance(value, int | float) and re.search(pattern, name):
                series.setdefault(name, []).append((row["step"], value))
    return series
