"""Pictures of a run: its curves, and image grids with captions."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from cogvit_jax.metrics import read_jsonl

# Which metrics share a panel: title -> name prefixes.
PANELS = {
    "loss": ("loss",),
    "zero-shot accuracy": ("zero_shot/",),
    "retrieval": ("retrieval/",),
    "gradient norm": ("grad_norm",),
    "update-to-weight ratio": ("update_ratio/",),
    "largest attention logit": ("attention/",),
    "images per second": ("time/examples_per_second",),
}


def curves(metrics_file: Path, target: Path) -> None:
    """Draws every panel of PANELS that the metrics file has numbers for, as a PNG."""
    rows = read_jsonl(metrics_file)
    panels = {title: _series(rows, prefixes) for title, prefixes in PANELS.items()}
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


def caption_grid(
    pictures: Sequence[np.ndarray], captions: Sequence[Sequence[str]], font: Path, columns: int = 6
) -> np.ndarray:
    """Pictures with lines of text below each, as one `[h, w, 3]` uint8 picture.

    Args:
        pictures: `[h, w, 3]` uint8, any sizes.
        captions: the lines below each picture.
        font: a font file that has the captions' characters.
        columns: pictures per row.
    """
    lines = math.ceil(len(pictures) / columns)
    figure = Figure(figsize=(2.1 * columns, 2.5 * lines), layout="constrained")
    axes = np.atleast_1d(figure.subplots(lines, columns)).ravel()
    properties = FontProperties(fname=str(font), size=7)
    for ax, picture, text in zip(axes, pictures, captions, strict=False):
        ax.imshow(picture, interpolation="nearest")
        ax.set_title("\n".join(text), fontproperties=properties, y=-0.02, va="top")
    for ax in axes:
        ax.axis("off")
    return render(figure)


def render(figure: Figure, dpi: int = 110) -> np.ndarray:
    """A matplotlib figure as `[h, w, 3]` uint8 pixels."""
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _series(rows: Sequence[dict[str, Any]], prefixes: Sequence[str]) -> dict[str, list]:
    """name -> (step, value) points of the finite numbers whose name starts with a prefix."""
    series: dict[str, list] = {}
    for row in rows:
        for name, value in row.items():
            if isinstance(value, int | float) and name.startswith(tuple(prefixes)):
                series.setdefault(name, []).append((row["step"], value))
    return series
