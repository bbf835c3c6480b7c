"""Pictures as a telescope takes them: stars, galaxies and nebulae."""

import numpy as np
from jaxtyping import Float

from cogvit_jax.data.rendering.canvas import Drawing, draw_size, pick, sheet_of, smooth_noise


def star_field(rng: np.random.Generator, language: str) -> Drawing:
    """Stars of different brightness and colour; a galaxy or a nebula among them at times."""
    del language
    width, height = draw_size(rng, 0.8, 1.4)
    pixels = np.zeros((height, width, 3), np.float32) + rng.uniform(0, 14)
    amount_en, amount_zh, low, high = pick(
        rng, (("few", "少量", 15, 40), ("many", "许多", 90, 160), ("countless", "无数", 250, 400))
    )
    object_en, object_zh = pick(
        rng,
        (
            ("on a dark sky", "暗空中的"),
            ("round a spiral galaxy", "旋涡星系周围的"),
            ("in a nebula", "星云中的"),
        ),
    )
    if object_en == "in a nebula":
        for _ in range(2):
            colour = rng.uniform(20, 150, 3).astype(np.float32)
            cloud = np.clip(smooth_noise(rng, (height, width), 5), 0, None)
            detail = 1 + 0.2 * smooth_noise(rng, (height, width), 14)
            pixels += (cloud * detail)[..., None] * colour
    if object_en == "round a spiral galaxy":
        pixels += _galaxy(rng, (height, width))
    count = int(rng.integers(low, high))
    places = np.stack([rng.integers(0, height, count), rng.integers(0, width, count)], axis=1)
    brightness = 60 + 250 * rng.power(0.6, count)
    tints = np.array([(1, 0.8, 0.6), (1, 1, 1), (0.7, 0.8, 1)], np.float32)
    for place, value, tint in zip(places, brightness, rng.integers(0, 3, count), strict=True):
        _star(pixels, place, float(value), tints[tint])
    pixels += rng.standard_normal((height, width, 1), np.float32) * rng.uniform(1, 8)
    return Drawing(
        sheet_of(pixels).pixels(),
        (
            f"a star field with {amount_en} stars {object_en}",
            f"a telescope picture of a star field: {amount_en} stars {object_en}",
        ),
        (f"星空，{object_zh}{amount_zh}星星", f"望远镜拍到的星空：{object_zh}{amount_zh}星星"),
        f"star field: {amount_en} {object_en}",
    )


def _galaxy(rng: np.random.Generator, size: tuple[int, int]) -> Float[np.ndarray, "h w 3"]:
    """A disc with spiral arms, seen at an angle."""
    centre = np.array(size) * rng.uniform(0.3, 0.7, 2)
    y = np.arange(size[0], dtype=np.float32)[:, None] - centre[0]
    x = np.arange(size[1], dtype=np.float32)[None] - centre[1]
    angle, tilt, radius = rng.uniform(0, np.pi), rng.uniform(1, 3), rng.uniform(20, 45)
    along = x * np.cos(angle) + y * np.sin(angle)
    across = (y * np.cos(angle) - x * np.sin(angle)) * tilt
    distance = np.sqrt(along**2 + across**2) / radius
    arms = np.cos(2 * np.arctan2(across, along) - rng.uniform(2, 4) * distance)
    light = np.exp(-distance) * (1 + 0.7 * arms * np.minimum(distance, 1))
    core = np.exp(-((distance * 3) ** 2))
    tint = np.array(pick(rng, ((150, 170, 255), (255, 220, 180))), np.float32)
    return 0.9 * light[..., None] * tint + core[..., None] * np.float32(120)


def _star(
    pixels: Float[np.ndarray, "h w 3"], at: np.ndarray, value: float, tint: np.ndarray
) -> None:
    """Adds a point of light, blurred over a few pixels."""
    reach = 3 if value > 200 else 1
    top, left = max(0, at[0] - reach), max(0, at[1] - reach)
    view = pixels[top : at[0] + reach + 1, left : at[1] + reach + 1]
    y = np.arange(top, top + view.shape[0])[:, None] - at[0]
    x = np.arange(left, left + view.shape[1])[None] - at[1]
    view += (np.exp(-(y**2 + x**2) / (1.6 if reach == 3 else 0.6)) * value)[..., None] * tint
