"""Histograms of oriented gradients of a picture's patches, MaskFeat's targets (arXiv:2112.09133).

Conventions are scikit-image's (`skimage.feature.hog`, which it takes from Dalal and Triggs, CVPR
2005), each colour channel by itself: central differences, 0 across the picture's first and last
row and column; 9 unsigned orientations of 20 degrees from 0, each pixel in exactly one bin with its
magnitude; mean over the pixels of a cell; a cell's 9 numbers over the root of (sum of squares +
1e-10).

MaskFeat's own layer differs where it hardly matters for a target: Sobel filters with a reflecting
border in place of central differences, optionally a Gaussian window over the magnitudes, and the
orientation measured from the other axis, which renames the bins. Its sum over a cell in place of
the mean only changes the weight of the 1e-10.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8

from cogvit_jax.settings import ConfigError

ORIENTATIONS = 9
CELLS = 2  # along each side of a patch
DIM = CELLS * CELLS * 3 * ORIENTATIONS
EPS = 1e-5  # in grey levels, of which there are 256


def features(patches: UInt8[Array, "b n p"], patch_size: int) -> Float[Array, "b n 108"]:
    """One feature per patch, in (cell row, cell column, channel, orientation) order, float32.

    Neighbouring pixels count across patches, so the patches must be those of a whole square
    picture. Each cell's 9 numbers have norm 1, or 0 where the cell is flat.

    Args:
        patches: row-major patches, pixels in (row, column, channel) order.
        patch_size: pixels per patch side.

    Raises:
        ConfigError: an odd `patch_size`, which 2 x 2 cells do not divide.
        ValueError: patches of another size, or that do not make up a square.
    """
    if patch_size % CELLS or patch_size < CELLS:
        raise ConfigError(
            f"patch_size = {patch_size} of a HOG teacher must be even: a patch is {CELLS} x "
            f"{CELLS} cells."
        )
    magnitude, bins = _orientations(*_gradients(_pictures(patches, patch_size)))
    b, n, _ = patches.shape
    side, cell = math.isqrt(n), patch_size // CELLS
    cells = (b, 3, side, CELLS, cell, side, CELLS, cell)
    votes = [
        jnp.mean(jnp.where(bins == k, magnitude, 0.0).reshape(cells), axis=(4, 7))
        for k in range(ORIENTATIONS)
    ]
    histograms = jnp.stack(votes, axis=-1)  # [b, channel, row, cell, column, cell, orientation]
    square = jnp.sum(jnp.square(histograms), axis=-1, keepdims=True)
    unit = histograms / jnp.sqrt(square + EPS**2)
    return unit.transpose(0, 2, 4, 3, 5, 1, 6).reshape(b, n, DIM)


def _pictures(patches: UInt8[Array, "b n p"], patch_size: int) -> Float[Array, "b 3 side side"]:
    """Whole pictures; channels come first, since a TPU pads the last dim to 128."""
    b, n, size = patches.shape
    side = math.isqrt(n)
    if side * side != n or size != 3 * patch_size**2:
        raise ValueError(
            f"patches are {patches.shape}; HOG features need the n = side x side patches of a "
            f"square picture, each of 3 x {patch_size} x {patch_size} = {3 * patch_size**2} numbers"
        )
    grid = patches.reshape(b, side, side, patch_size, patch_size, 3)
    pictures = grid.transpose(0, 5, 1, 3, 2, 4).reshape(b, 3, side * patch_size, -1)
    return pictures.astype(jnp.float32)


def _gradients(x: Float[Array, "b c h w"]) -> tuple[Array, Array]:
    """Differences of the neighbours along rows and along columns."""
    down = jnp.pad(x[:, :, 2:] - x[:, :, :-2], ((0, 0), (0, 0), (1, 1), (0, 0)))
    right = jnp.pad(x[..., 2:] - x[..., :-2], ((0, 0), (0, 0), (0, 0), (1, 1)))
    return down, right


def _orientations(
    down: Float[Array, "b c h w"], right: Float[Array, "b c h w"]
) -> tuple[Float[Array, "b c h w"], Int[Array, "b c h w"]]:
    """Magnitude and bin of each gradient.

    A bin is the number of limits that the direction has passed, each told by the sign of a cross
    product. Of whole-numbered gradients only those at 0 degrees lie on a limit, and up to 255 the
    others keep a distance far above float32's rounding, so that no pixel is put into a wrong bin,
    as rounding an arc tangent might.
    """
    magnitude = jnp.sqrt(jnp.square(down) + jnp.square(right))
    lower_half = (down < 0) | ((down == 0) & (right < 0))
    down, right = (jnp.where(lower_half, -x, x) for x in (down, right))
    limits = [math.pi * k / ORIENTATIONS for k in range(1, ORIENTATIONS)]
    passed = [math.cos(a) * down - math.sin(a) * right >= 0 for a in limits]
    return magnitude, jnp.sum(jnp.stack(passed), axis=0, dtype=jnp.int32)
