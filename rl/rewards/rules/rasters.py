"""Pictures of `rl.answers.svg`: shapes on white, drawn finer and averaged."""

import numpy as np

from cogvit_jax.data.rendering.canvas import WHITE, new_sheet
from mmtp.data.tasks.example import Pixels
from rl.answers.svg import Shape, Svg

FINER = 3
STEPS = 48  # corners of an ellipse


def render(svg: Svg, size: tuple[int, int]) -> Pixels:
    """The picture, `size` = (width, height) pixels; its view is stretched onto them."""
    sheet = new_sheet(size, WHITE, FINER)
    left, top, wide, high = svg.view
    wide_px, high_px = size[0] * FINER, size[1] * FINER
    scale = (wide_px / wide, high_px / high)
    for shape in svg.shapes:
        points = outline(shape)
        placed = [((x - left) * scale[0], (y - top) * scale[1]) for x, y in points]
        placed = [(_near(x, wide_px), _near(y, high_px)) for x, y in placed]
        if shape.fill and len(placed) > 2:
            sheet.pen.polygon(placed, shape.fill)
        if shape.stroke and shape.width > 0:
            drawn = shape.width * (scale[0] + scale[1]) / 2
            closed = shape.tag not in ("line", "polyline")
            ends = [*placed, *placed[:2]] if closed else placed
            width = max(1, round(min(drawn, max(wide_px, high_px) / 4)))
            sheet.pen.line(ends, shape.stroke, width, "curve")
    return sheet.pixels()


def outline(shape: Shape) -> list[tuple[float, float]]:
    """The corners of a shape, in the units of the view."""
    n = shape.numbers
    if shape.tag == "rect":
        x, y, w, h = n
        return [(x, y), (x + w, y), (x + w, y + h), (x, y + h)]
    if shape.tag in ("circle", "ellipse"):
        angles = np.arange(STEPS) * (2 * np.pi / STEPS)
        across, down = n[0] + n[2] * np.cos(angles), n[1] + n[3] * np.sin(angles)
        return list(zip(across.tolist(), down.tolist(), strict=True))
    return list(zip(n[::2], n[1::2], strict=True))


def _near(place: float, length: float) -> float:
    """Not further off than the picture is long, so that no shape takes long to draw."""
    return min(2 * length, max(-length, place))
