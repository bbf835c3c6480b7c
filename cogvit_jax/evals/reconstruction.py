"""What a masked student reconstructs of its teachers' features, as one picture."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8
from matplotlib import colormaps

from cogvit_jax import plots
from cogvit_jax.data.transforms import resize
from cogvit_jax.evals.feature_maps import fit_colours, paint

GREY = 128
WORST = 1.0  # 1 - cosine at the top of the colour scale: nothing in common


def panel(
    pictures: Sequence[UInt8[np.ndarray, "_ _ 3"]] | UInt8[np.ndarray, "n h w 3"],
    masked: Bool[np.ndarray, "_ t"],
    targets: Mapping[str, Float32[np.ndarray, "_ _ _"]],
    predictions: Mapping[str, Float32[np.ndarray, "_ _ _"]],
    side: int = 128,
) -> UInt8[np.ndarray, "height width 3"]:
    """Rows: pictures. Columns: picture, what the student saw, and of each teacher three maps.

    The teacher's target and the student's prediction share their colours (principal components
    of the targets of all pictures); the third map is 1 - cosine of the two per patch, from dark
    (equal) to bright (WORST or more). Predictions are shown at visible patches too.

    Args:
        pictures: square, uint8; one row each.
        masked: per patch of the student's grid, row by row; masked patches are grey.
        targets, predictions: teacher -> features `[n, m, d]` on a square grid.
        side: pixels per picture; a multiple of the grid's sides draws patches of equal size.

    Raises:
        ValueError: numbers, names or shapes that do not fit each other, or grids not square.
    """
    _check(len(pictures), masked, targets, predictions)
    titles, columns = ["picture", "seen"], [list(pictures), []]
    columns[1] = [hide(p, m, side) for p, m in zip(pictures, masked, strict=True)]
    for name, target in targets.items():
        predicted = predictions[name]
        colours = fit_colours(target.reshape(-1, target.shape[-1]))
        maps = (paint(colours, target), paint(colours, predicted), heat(errors(predicted, target)))
        columns += [[_square(m, f"targets[{name!r}]") for m in column] for column in maps]
        titles += [f"{name}\n{kind}" for kind in ("target", "prediction", "1 - cosine")]
    return plots.picture_table(titles, list(zip(*columns, strict=True)), side)


def hide(
    picture: UInt8[np.ndarray, "h w 3"], masked: Bool[np.ndarray, "t"], side: int
) -> UInt8[np.ndarray, "side side 3"]:
    """A picture at `side` pixels with its masked patches grey."""
    grid = _square(masked, "masked")
    place = np.arange(side) * len(grid) // side  # the patch of each pixel row
    seen = resize(picture, (side, side)).copy()
    seen[grid[np.ix_(place, place)]] = GREY
    return seen


def errors(
    predicted: Float[np.ndarray, "*n d"], target: Float[np.ndarray, "*n d"]
) -> Float[np.ndarray, "*n"]:
    """1 - cosine; 1 where either is zero."""
    norms = np.linalg.norm(predicted, axis=-1) * np.linalg.norm(target, axis=-1)
    return 1 - np.sum(predicted * target, axis=-1) / np.maximum(norms, 1e-12)


def heat(error: Float[np.ndarray, "*n"]) -> UInt8[np.ndarray, "*n 3"]:
    """Colours of errors, 0 to WORST."""
    found = colormaps["magma"](np.clip(error / WORST, 0, 1))
    return (found[..., :3] * 255).round().astype(np.uint8)


def _square(values: np.ndarray, name: str) -> np.ndarray:
    """`[t, …]` -> `[rows, rows, …]`."""
    rows = round(len(values) ** 0.5)
    if rows * rows != len(values):
        raise ValueError(f"{name} has {len(values)} patches; expected a square grid, row by row")
    return values.reshape(rows, rows, *values.shape[1:])


def _check(
    count: int,
    masked: np.ndarray,
    targets: Mapping[str, np.ndarray],
    predictions: Mapping[str, np.ndarray],
) -> None:
    if count < 1 or count != len(masked):
        raise ValueError(
            f"{count} pictures and {len(masked)} masks: expected as many, and at least one"
        )
    if targets.keys() != predictions.keys():
        raise ValueError(f"targets of {sorted(targets)} but predictions of {sorted(predictions)}")
    for name, target in targets.items():
        if target.shape != predictions[name].shape or len(target) != count:
            raise ValueError(
                f"{name}: targets {target.shape}, predictions {predictions[name].shape}; expected "
                f"equal shapes [n, patches, d] with n={count}"
            )
