"""Patch features as colours: their first three principal components, as in DINOv2's figures.

Parts of a picture, and of different pictures, that the encoder finds alike have like colours
(arXiv:2304.07193, figure 1; here without removing the background).
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, UInt8

from cogvit_jax import plots
from cogvit_jax.data.records import Source
from cogvit_jax.data.transforms import decode_image, resize
from cogvit_jax.evals.embed import Embedder, Grid, usable_records

PAIRS_PER_ROW = 4


class Colours(NamedTuple):
    """Features -> red, green, blue: `(x - mean) @ components.T`, `low` black and `high` full."""

    mean: Float[np.ndarray, "d"]
    components: Float[np.ndarray, "3 d"]
    low: Float[np.ndarray, "3"]
    high: Float[np.ndarray, "3"]


def fit_colours(features: Float32[np.ndarray, "n d"]) -> Colours:
    """The first three principal components; the 1st to 99th percentile of each fills its channel.

    A component's sign is arbitrary: its largest loading is made positive, so that equal features
    give equal colours. Dims that are missing (d or rank below 3) are grey.
    """
    x = features.astype(np.float64)
    mean = x.mean(0)
    values, vectors = np.linalg.eigh((x - mean).T @ (x - mean))
    count = min(3, int(np.sum(values > 1e-9 * max(values[-1], 1e-30))))
    components = np.zeros((3, x.shape[1]))
    components[:count] = vectors[:, ::-1][:, :count].T
    largest = np.take_along_axis(components, np.abs(components).argmax(1)[:, None], axis=1)
    components *= np.where(largest < 0, -1, 1)
    low, high = np.percentile((x - mean) @ components.T, (1, 99), axis=0)
    low[count:], high[count:] = -1, 1
    return Colours(mean, components, low, high)


def paint(
    colours: Colours, features: Float32[np.ndarray, "*grid d"]
) -> UInt8[np.ndarray, "*grid 3"]:
    """Colours of features; those beyond the range are clipped."""
    found = (features - colours.mean) @ colours.components.T
    span = np.maximum(colours.high - colours.low, 1e-12)
    return (np.clip((found - colours.low) / span, 0, 1) * 255).round().astype(np.uint8)


def feature_maps(
    embedder: Embedder, source: Source, num_images: int, params: Any, side: int = 160
) -> dict[str, np.ndarray]:
    """{"pca": uint8 picture}: pictures evenly spread over a source, each beside its feature map.

    The components are those of all these pictures' patches, so colours can be compared.

    Raises:
        ValueError: no picture of the source can be decoded.
    """
    records = usable_records(source)
    spread = np.linspace(0, len(records) - 1, min(num_images, len(records))).astype(int)
    chosen = [records[i] for i in spread]
    grids = list(embedder.patches(params, chosen))
    pairs = [(decode_image(r.image), g) for r, g in zip(chosen, grids, strict=True) if g.size]
    if not pairs:
        raise ValueError(f"{source.name}: none of {len(chosen)} pictures can be decoded.")
    colours = fit_colours(np.concatenate([g.reshape(-1, g.shape[-1]) for _, g in pairs]))
    cells = [cell for picture, grid in pairs for cell in _beside(picture, grid, colours, side)]
    columns = min(2 * PAIRS_PER_ROW, len(cells))
    rows = [cells[i : i + columns] for i in range(0, len(cells), columns)]
    titles = ["picture", "features"] * (columns // 2)
    return {"pca": plots.picture_table(titles, rows, side)}


def _beside(
    picture: UInt8[np.ndarray, "h w 3"], grid: Grid, colours: Colours, side: int
) -> tuple[np.ndarray, np.ndarray]:
    """A picture in the shape of its grid, and its map, patch for patch at the same places."""
    rows, columns = grid.shape[:2]
    scale = max(1, side // max(rows, columns))
    enlarged = paint(colours, grid).repeat(scale, axis=0).repeat(scale, axis=1)
    return resize(picture, (rows * scale, columns * scale)), enlarged
