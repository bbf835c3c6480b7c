"""Nearest-neighbour correspondence: do patch features tell places of a texture apart?

Two views of one picture, cut out and mirrored in a known way. For each patch of the first, the
patch of the second with the nearest feature should be the one that shows the same place. No
classes and no training: it measures texture and place, where `dense.py` measures objects.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, UInt8

from cogvit_jax.data.records import CorruptRecord, Record, Source
from cogvit_jax.data.transforms import decode_image, resize
from cogvit_jax.evals.embed import Embedder, usable_records


class View(NamedTuple):
    """A square of a picture: its corner and size in pixels, and whether it is mirrored."""

    top: int
    left: int
    size: int
    mirrored: bool


def correspondence(
    embedder: Embedder,
    source: Source,
    params: Any,
    num_pairs: int = 64,
    scale: tuple[float, float] = (0.6, 1.0),
    min_side: int = 64,
    seed: int = 0,
) -> dict[str, float]:
    """Matches patches between pairs of views.

    Args:
        embedder: with patch features.
        source: pictures; mirrored only where it is flippable.
        params: of the encoder.
        num_pairs: pairs of views, spread evenly over the pictures.
        scale: range of a view's side as a share of the picture's shorter side.
        min_side: pictures with a shorter side in pixels are left out: a view must have detail.
        seed: of the views, which stay the same from one evaluation to the next.

    Returns:
        "pck": share of patches matched within one patch of the true place (the percentage of
        correct keypoints of Yang and Ramanan, 2013, with one patch as its tolerance); "error":
        mean distance in patches; "pck_chance", "error_chance": of matching at random, exactly.

    Raises:
        ValueError: no picture is large enough, or no place shows in both views of any pair.
    """
    side = embedder.patch_size * int(embedder.length**0.5)
    images = _pictures(source, min_side)
    views, records = [], []
    for i in range(num_pairs):
        image, rng = images[i % len(images)], np.random.default_rng([seed, i])
        pair = [draw_view(image, rng, scale, source.flippable) for _ in range(2)]
        views.append(pair)
        records += [Record(f"view/{i}", cut(image, view, side), ()) for view in pair]
    grids = list(embedder.patches(params, records))
    found = [
        match(first, second, features, others)
        for (first, second), features, others in zip(views, grids[::2], grids[1::2], strict=True)
    ]
    distance, chance = (np.concatenate([pair[i] for pair in found]) for i in range(2))
    if not len(distance):
        raise ValueError(f"{source.name}: the views of no pair overlap; raise num_pairs or scale.")
    return {
        "pck": float(np.mean(distance <= 1)),
        "error": float(np.mean(distance)),
        "pck_chance": float(np.mean(chance <= 1)),
        "error_chance": float(np.mean(chance)),
    }


def match(
    first: View,
    second: View,
    features: Float32[np.ndarray, "g g d"],
    others: Float32[np.ndarray, "g g d"],
) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n gg"]]:
    """Distances in patches from the true place in the second view, which shows n of the patches.

    Returns:
        of the nearest feature's patch, and of every patch.
    """
    grid = len(features)
    centres = (np.indices((grid, grid)).reshape(2, -1).T + 0.5) / grid
    true = to_view(second, to_picture(first, centres))
    seen = np.all((true >= 0) & (true < 1), axis=1)
    cosines = _unit(features)[seen] @ _unit(others).T
    distances = np.linalg.norm(true[seen][:, None] - centres[None], axis=-1) * grid
    nearest = cosines.argmax(1)
    return distances[np.arange(len(nearest)), nearest], distances


def draw_view(
    image: UInt8[np.ndarray, "h w 3"],
    rng: np.random.Generator,
    scale: tuple[float, float],
    flip: bool,
) -> View:
    """A random square, of whole pixels, so that the places of its patches are known exactly."""
    size = max(1, round(min(image.shape[:2]) * rng.uniform(*scale)))
    top, left = rng.integers((image.shape[0] - size + 1, image.shape[1] - size + 1)).tolist()
    return View(top, left, size, bool(rng.integers(2)) and flip)


def cut(
    image: UInt8[np.ndarray, "h w 3"], view: View, side: int
) -> UInt8[np.ndarray, "side side 3"]:
    """The view's pixels, resized to `side`."""
    part = image[view.top : view.top + view.size, view.left : view.left + view.size]
    part = part[:, ::-1] if view.mirrored else part
    return resize(np.ascontiguousarray(part), (side, side))


def to_picture(view: View, points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
    """(y, x) in a view, 0 to 1, -> pixels of the picture."""
    y, x = points.T
    x = 1 - x if view.mirrored else x
    return np.stack([view.top + y * view.size, view.left + x * view.size], axis=1)


def to_view(view: View, points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
    """(y, x) in pixels of the picture -> in a view, 0 to 1 within it."""
    y, x = ((points - (view.top, view.left)) / view.size).T
    return np.stack([y, 1 - x if view.mirrored else x], axis=1)


def _unit(grid: Float32[np.ndarray, "g g d"]) -> Float32[np.ndarray, "gg d"]:
    x = grid.reshape(-1, grid.shape[-1])
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def _pictures(source: Source, min_side: int) -> list[np.ndarray]:
    images = []
    for record in usable_records(source):
        try:
            image = decode_image(record.image)
        except CorruptRecord:
            continue
        if min(image.shape[:2]) >= min_side:
            images.append(image)
    if not images:
        raise ValueError(
            f"{source.name} has no readable picture with both sides of {min_side} pixels or more"
        )
    return images
