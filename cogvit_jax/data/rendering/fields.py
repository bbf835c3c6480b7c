"""Pictures of fields of numbers: micrographs, contour maps and vector fields."""

import numpy as np
from jaxtyping import Float
from PIL import Image

from cogvit_jax.data.rendering.canvas import (
    BLACK,
    WHITE,
    Drawing,
    Sheet,
    draw_size,
    mix,
    new_sheet,
    pick,
    sheet_of,
    smooth_noise,
)

Field = Float[np.ndarray, "h w"]

# English, Chinese, colours at 0, 1/2 and 1.
_MAPS = (
    ("blue and yellow", "蓝黄", ((48, 18, 90), (40, 150, 140), (250, 230, 40))),
    ("black and orange", "黑橙", ((4, 4, 12), (180, 50, 70), (252, 226, 160))),
    ("blue and red", "蓝红", ((40, 70, 190), (240, 240, 240), (190, 30, 40))),
    ("grey", "灰色", ((10, 10, 10), (128, 128, 128), (245, 245, 245))),
    ("green", "绿色", ((240, 250, 235), (110, 190, 120), (0, 70, 40))),
)
# English, Chinese, background, cell, nucleus.
_STAINS = (
    ("green glowing", "发绿光的", (4, 8, 6), (30, 150, 50), (150, 255, 150)),
    ("red glowing", "发红光的", (8, 2, 4), (150, 24, 30), (255, 140, 120)),
    ("blue stained", "染成蓝色的", (236, 232, 240), (170, 180, 226), (60, 60, 150)),
    ("purple stained", "染成紫色的", (246, 232, 240), (226, 160, 206), (100, 40, 130)),
    ("grey", "灰色的", (120, 120, 120), (150, 150, 150), (70, 70, 70)),
)


def micrograph(rng: np.random.Generator, language: str) -> Drawing:
    """Round or elongated cells with nuclei, with noise and a scale bar at times."""
    del language
    width, height = draw_size(rng, 0.8, 1.3)
    stain_en, stain_zh, back, cell, nucleus = pick(rng, _STAINS)
    shape_en, shape_zh, longest = pick(rng, (("round", "圆", 1.15), ("elongated", "长", 2.6)))
    amount_en, amount_zh, low, high = pick(
        rng, (("a few", "几个", 3, 7), ("many", "许多", 14, 30), ("crowded", "密集的", 40, 60))
    )
    radius = {"a few": 24.0, "many": 14.0, "crowded": 10.0}[amount_en] * rng.uniform(0.8, 1.25)
    cells, nuclei = np.zeros((2, height, width), np.float32)
    for _ in range(int(rng.integers(low, high))):
        centre = rng.uniform((0, 0), (height, width))
        stretch, angle = rng.uniform(1, longest), rng.uniform(0, np.pi)
        size = radius * rng.uniform(0.75, 1.3)
        _blob(cells, centre, size, stretch, angle, 0.25)
        _blob(nuclei, centre + rng.uniform(-0.2, 0.2, 2) * size, size * 0.42, 1.1, angle, 0.3)
    texture = 1 + 0.25 * smooth_noise(rng, (height, width), 24)
    pixels = np.array(back, np.float32) * np.ones((height, width, 1), np.float32)
    for layer, colour in ((cells * texture, cell), (nuclei, nucleus)):
        opacity = np.clip(layer, 0, 1)[..., None]
        pixels += (np.array(colour, np.float32) - pixels) * opacity
    pixels *= 1 + 0.2 * smooth_noise(rng, (height, width), 3)[..., None]
    pixels += rng.standard_normal((height, width, 1), np.float32) * rng.uniform(2, 14)
    sheet = sheet_of(pixels)
    if rng.random() < 0.5:
        _scale_bar(rng, sheet, BLACK if sum(back) > 500 else WHITE)
    return Drawing(
        sheet.pixels(),
        (
            f"a microscope image of {amount_en} {shape_en} {stain_en} cells",
            f"{amount_en} {shape_en} {stain_en} cells under the microscope",
        ),
        (
            f"{amount_zh}{shape_zh}形{stain_zh}细胞的显微图像",
            f"显微镜下{amount_zh}{shape_zh}形的{stain_zh}细胞",
        ),
        f"micrograph: {amount_en} {shape_en} {stain_en}",
    )


def contour_map(rng: np.random.Generator, language: str) -> Drawing:
    """A smooth field in colours with lines of equal value: hills, waves or a phase."""
    del language
    width, height = draw_size(rng, 0.8, 1.4)
    kind_en, kind_zh = pick(rng, (("hills", "山包"), ("waves", "波"), ("vortices", "旋涡")))
    values = {"hills": _hills, "waves": _waves, "vortices": _phase}[kind_en](rng, (height, width))
    map_en, map_zh, colours = pick(rng, _MAPS)
    levels = int(rng.integers(5, 14))
    steps = np.floor(values * levels)
    shown = steps / levels if rng.random() < 0.5 else values
    pixels = _coloured(shown, colours)
    edge = np.zeros((height, width), bool)
    if kind_en != "vortices":  # a phase jumps from 1 to 0, which is no contour
        edge[1:] |= steps[1:] != steps[:-1]
        edge[:, 1:] |= steps[:, 1:] != steps[:, :-1]
    pixels[edge] *= rng.uniform(0.2, 0.7)
    pixels += rng.standard_normal((height, width, 1), np.float32) * rng.uniform(0, 6)
    sheet = sheet_of(pixels)
    if rng.random() < 0.5:
        _colour_bar(sheet, colours)
    return Drawing(
        sheet.pixels(),
        (
            f"a contour map of {kind_en} in {map_en}",
            f"a field of {kind_en} drawn as a contour map in {map_en}",
        ),
        (f"{map_zh}的{kind_zh}等高线图", f"用{map_zh}等高线图画出的{kind_zh}"),
        f"contour map: {kind_en}, {map_en}",
    )


def vector_field(rng: np.random.Generator, language: str) -> Drawing:
    """Arrows on a grid that turn round a centre, leave it, reach it, or shear."""
    del language
    paper = pick(rng, (WHITE, (244, 240, 228), (226, 232, 242)))
    sheet = new_sheet(draw_size(rng, 0.8, 1.4), paper, scale=2)
    kind_en, kind_zh, matrix = pick(
        rng,
        (
            ("turning round a point", "绕着一点转动", ((0, -1), (1, 0))),
            ("leaving a point", "从一点向外", ((1, 0), (0, 1))),
            ("meeting at a point", "向一点集中", ((-1, 0), (0, -1))),
            ("passing a saddle", "绕过鞍点", ((1, 0), (0, -1))),
        ),
    )
    centre = np.array([sheet.width, sheet.height]) * rng.uniform(0.3, 0.7, 2)
    step = float(rng.uniform(15, 26))
    map_en, map_zh, colours = pick(rng, _MAPS[:2] + _MAPS[3:4])
    x = np.arange(step / 2, sheet.width, step)
    y = np.arange(step / 2, sheet.height, step)
    places = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    vectors = (places - centre) @ np.array(matrix, float).T
    lengths = np.linalg.norm(vectors, axis=1)
    unit = vectors / np.maximum(lengths, 1e-6)[:, None]
    equal = rng.random() < 0.5
    share = lengths / lengths.max()
    inks = _coloured(0.75 * share[None].astype(np.float32), colours)[0]
    for place, direction, length, ink in zip(places, unit, share, inks, strict=True):
        reach = step * (0.8 if equal else 0.25 + 0.7 * float(length))
        _arrow(sheet, place, direction * reach, (int(ink[0]), int(ink[1]), int(ink[2])))
    return Drawing(
        sheet.pixels(),
        (
            f"a vector field of {map_en} arrows {kind_en}",
            f"{map_en} arrows {kind_en} in a vector field",
        ),
        (f"矢量场，{map_zh}的箭头{kind_zh}", f"{map_zh}的箭头{kind_zh}的矢量场"),
        f"vector field: {map_en} {kind_en}",
    )


def _blob(
    field: Field, centre: np.ndarray, radius: float, stretch: float, angle: float, soft: float
) -> None:
    """Raises `field` to 1 inside an ellipse, falling to 0 over the share `soft` of its radius."""
    reach = int(radius * stretch * 1.4) + 2
    top, left = (max(0, int(c) - reach) for c in centre)
    view = field[top : int(centre[0]) + reach, left : int(centre[1]) + reach]
    y = np.arange(top, top + view.shape[0], dtype=np.float32)[:, None] - centre[0]
    x = np.arange(left, left + view.shape[1], dtype=np.float32)[None] - centre[1]
    along = (x * np.cos(angle) + y * np.sin(angle)) / (radius * stretch)
    across = (y * np.cos(angle) - x * np.sin(angle)) / radius
    distance = np.sqrt(along**2 + across**2)
    np.maximum(view, np.clip((1 - distance) / soft, 0, 1) * 0.9, out=view)


def _hills(rng: np.random.Generator, size: tuple[int, int]) -> Field:
    y, x = np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1])
    total = np.zeros(size)
    for _ in range(int(rng.integers(2, 7))):
        (cy, cx), (sy, sx) = rng.uniform(0, 1, 2), rng.uniform(0.08, 0.35, 2)
        bump = np.outer(np.exp(-(((y - cy) / sy) ** 2)), np.exp(-(((x - cx) / sx) ** 2)))
        total += rng.uniform(-1, 1) * bump
    return _to_unit(total)


def _waves(rng: np.random.Generator, size: tuple[int, int]) -> Field:
    y, x = np.linspace(0, 1, size[0])[:, None], np.linspace(0, 1, size[1])[None]
    total = np.zeros(size)
    for _ in range(int(rng.integers(1, 4))):
        if rng.random() < 0.5:  # from a point
            cy, cx = rng.uniform(-0.2, 1.2, 2)
            path = np.hypot(y - cy, x - cx)
        else:  # plane
            angle = rng.uniform(0, 2 * np.pi)
            path = y * np.sin(angle) + x * np.cos(angle)
        total += np.sin(2 * np.pi * rng.uniform(1.5, 6) * path + rng.uniform(0, 6))
    return _to_unit(total)


def _phase(rng: np.random.Generator, size: tuple[int, int]) -> Field:
    """The phase of a complex field with a few vortices."""
    y, x = np.linspace(0, 1, size[0])[:, None], np.linspace(0, 1, size[1])[None]
    total = 2 * np.pi * (rng.uniform(-1, 1) * x + rng.uniform(-1, 1) * y)
    for _ in range(int(rng.integers(1, 4))):
        cy, cx = rng.uniform(0.15, 0.85, 2)
        total = total + pick(rng, (-1, 1)) * np.arctan2(y - cy, x - cx)
    return (total / (2 * np.pi)) % 1.0


def _to_unit(values: np.ndarray) -> Field:
    return (values - values.min()) / max(1e-9, np.ptp(values)) * 0.9999


def _coloured(values: np.ndarray, colours: tuple) -> Float[np.ndarray, "h w 3"]:
    """0 ... 1 to colours, by a table of 256."""
    table = np.stack(
        [
            np.interp(np.linspace(0, 1, 256), (0, 0.5, 1), channel)
            for channel in zip(*colours, strict=True)
        ],
        axis=1,
    ).astype(np.float32)
    return table[(np.clip(values, 0, 1) * 255).astype(np.uint8)]


def _arrow(sheet: Sheet, centre: np.ndarray, vector: np.ndarray, ink: tuple[int, int, int]) -> None:
    start, end = centre - vector / 2, centre + vector / 2
    across = np.array([-vector[1], vector[0]])
    sheet.line([(start[0], start[1]), (end[0], end[1])], ink, 1.2)
    tip = [end, end - 0.35 * vector + 0.18 * across, end - 0.35 * vector - 0.18 * across]
    sheet.polygon([(p[0], p[1]) for p in tip], ink)


def _scale_bar(rng: np.random.Generator, sheet: Sheet, ink: tuple[int, int, int]) -> None:
    length = float(rng.uniform(25, 60))
    x, y = sheet.width - 12 - length, sheet.height - 12
    sheet.box((x, y, x + length, y + 3), ink)
    sheet.text((x + length / 2, y - 2), f"{pick(rng, (5, 10, 20, 50))} um", 11, ink, "mb")


def _colour_bar(sheet: Sheet, colours: tuple) -> None:
    x, top, bottom = sheet.width - 18, 12, sheet.height - 12
    ramp = _coloured(np.linspace(1, 0, bottom - top)[:, None].repeat(10, axis=1), colours)
    sheet.image.paste(Image.fromarray(ramp.astype(np.uint8)), (x, top))
    sheet.box((x - 1, top - 1, x + 10, bottom), None, mix(BLACK, WHITE, 0.2))
