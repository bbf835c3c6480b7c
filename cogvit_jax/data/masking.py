"""Which patches of a picture the student does not see: random blocks, or patches at random.

Blocks as in BEiT (arXiv:2106.08254, algorithm 1), with the bounds that DINOv3's `masking.py` uses:
at least 4 patches, height / width in 0.3 ... 1 / 0.3. Every masked picture has the same number of
masked patches.

A block lies inside the picture, so blocks mask the middle more often than the border (for 90 of
16 x 16 patches: 0.04 in a corner, 0.64 in the middle, measured over 4,000 draws). "uniform" masks
every patch equally often.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from cogvit_jax import settings as config_settings
from cogvit_jax.settings import ConfigError

_ATTEMPTS = 10  # draws of one block before the rest is filled with single patches


@dataclass(frozen=True)
class MaskSettings:
    """`config.mask`.

    Attributes:
        ratio: share of the patches that is masked, more than 0 and less than 1.
        kind: "block" or "uniform".
        min_patches: the smallest area of a block, in patches.
        probability: share of the pictures that are masked at all (DINOv2 masks half of them).
        min_aspect: a block's height / width lies in `min_aspect ... 1 / min_aspect`, uniform in
            log.
    """

    ratio: float = 0.35
    kind: str = "block"
    min_patches: int = 4
    min_aspect: float = 0.3
    probability: float = 1.0


def num_masked(settings: MaskSettings, num_patches: int) -> int:
    """How many of a picture's patches are masked: `round(ratio * num_patches)`.

    Raises:
        ConfigError: a field out of range, or a ratio that masks nothing or everything.
    """
    if not 0 < settings.ratio < 1:
        raise ConfigError(f"config.mask.ratio = {settings.ratio} must lie between 0 and 1.")
    if settings.min_patches < 1:
        raise ConfigError(f"config.mask.min_patches = {settings.min_patches} must be at least 1.")
    if not 0 < settings.min_aspect <= 1:
        raise ConfigError(
            f"config.mask.min_aspect = {settings.min_aspect} must be more than 0, at most 1."
        )
    if not 0 < settings.probability <= 1:
        raise ConfigError(
            f"config.mask.probability = {settings.probability} must be more than 0, at most 1."
        )
    count = round(settings.ratio * num_patches)
    if not 0 < count < num_patches:
        raise ConfigError(
            f"config.mask.ratio = {settings.ratio} masks {count} of {num_patches} patches; at "
            "least one must be masked and one seen. Change the ratio or the picture's size."
        )
    return count


def draw(
    settings: MaskSettings, rng: np.random.Generator, rows: int, columns: int
) -> Bool[np.ndarray, "n"]:
    """Masks exactly `num_masked(settings, rows * columns)` patches of a grid, or none.

    Args:
        settings: see MaskSettings.
        rng: the only source of randomness.
        rows: height of the grid, in patches.
        columns: width of the grid, in patches.

    Returns:
        `[rows * columns]` row by row, True where masked.

    Raises:
        ConfigError: as `num_masked`, and for an unknown kind.
    """
    count = num_masked(settings, rows * columns)
    if rng.random() >= settings.probability:
        return np.zeros(rows * columns, bool)
    start = config_settings.choose(
        {"block": _blocks, "uniform": _nothing}, settings.kind, "config.mask.kind"
    )
    mask = start(settings, rng, (rows, columns), count).reshape(-1)
    seen = np.flatnonzero(~mask)
    mask[rng.choice(seen, count - np.count_nonzero(mask), replace=False)] = True
    return mask


def _nothing(
    settings: MaskSettings, rng: np.random.Generator, grid: tuple[int, int], count: int
) -> Bool[np.ndarray, "h w"]:
    del settings, rng, count
    return np.zeros(grid, bool)


def _blocks(
    settings: MaskSettings, rng: np.random.Generator, grid: tuple[int, int], count: int
) -> Bool[np.ndarray, "h w"]:
    """Adds blocks until fewer than `min_patches` are left or none fits; never more than `count`."""
    mask = np.zeros(grid, bool)
    left = count
    while left >= settings.min_patches:
        block = _new_block(settings, rng, mask, left)
        if block is None:
            break
        mask[block] = True
        left = count - int(np.count_nonzero(mask))
    return mask


def _new_block(
    settings: MaskSettings, rng: np.random.Generator, mask: Bool[np.ndarray, "h w"], left: int
) -> tuple[slice, slice] | None:
    """A block that lies on the grid and masks 1 ... `left` more patches; None if none was found."""
    bound = abs(math.log(settings.min_aspect))
    for _ in range(_ATTEMPTS):
        area = rng.uniform(settings.min_patches, left)
        aspect = math.exp(rng.uniform(-bound, bound))
        height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if not (1 <= height <= mask.shape[0] and 1 <= width <= mask.shape[1]):
            continue
        top = rng.integers(mask.shape[0] - height + 1)
        start = rng.integers(mask.shape[1] - width + 1)
        block = slice(top, top + height), slice(start, start + width)
        if 0 < np.count_nonzero(~mask[block]) <= left:
            return block
    return None
