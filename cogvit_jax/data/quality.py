"""How good a picture is for training: size, shape, blur, contrast, and copies of another one.

`assess` measures one picture; `reject` judges it by `config.quality`. Copies need the whole
set: `python -m cogvit_jax.data.filter` finds them by their perceptual hash.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int64, UInt8, UInt64
from PIL import Image

from cogvit_jax.settings import ConfigError

# Sharpness and contrast are measured on a grey copy of this many pixels on its longer side, so
# that thresholds mean the same for small and large files.
LONGER_SIDE = 256
_LOWEST = 8  # the hash takes the lowest 8 x 8 frequencies of a 32 x 32 grey copy
_HASH_SIDE = 32


@dataclass(frozen=True)
class QualitySettings:
    """`config.quality`; the defaults reject nothing but pictures without any content.

    Attributes:
        min_side: the shorter side in pixels.
        max_aspect: longer side / shorter side.
        min_sharpness: variance of the 3 x 3 Laplacian (4 neighbours) of the grey copy, whose
            values are 0 ... 255: unit grey level squared. Of the 27 embedded photographs 22 have
            140 to 3,300; blurred by a Gaussian of 3 pixels of the copy, 25 have less than 10.
        min_contrast: standard deviation of the grey copy, in grey levels.
        max_hash_distance: pictures whose 64-bit hashes differ in at most so many bits are copies,
            0 ... 15; -1: copies are kept.
    """

    min_side: int = 1
    max_aspect: float = 100.0
    min_sharpness: float = 0.0
    min_contrast: float = 0.0
    max_hash_distance: int = -1


@dataclass(frozen=True)
class Assessment:
    """What was measured of one picture; units as in QualitySettings."""

    height: int
    width: int
    sharpness: float
    contrast: float
    hash: int

    @property
    def min_side(self) -> int:
        """The shorter side in pixels."""
        return min(self.height, self.width)

    @property
    def aspect(self) -> float:
        """Longer side / shorter side."""
        return max(self.height, self.width) / self.min_side


def check(settings: QualitySettings) -> None:
    """Raises ConfigError where a threshold is out of range."""
    for name in ("min_side", "max_aspect", "min_sharpness", "min_contrast"):
        value, least = getattr(settings, name), 1 if name == "max_aspect" else 0
        if not value >= least:
            raise ConfigError(f"config.quality.{name} = {value} must be at least {least}.")
    if not -1 <= settings.max_hash_distance <= 15:
        raise ConfigError(
            f"config.quality.max_hash_distance = {settings.max_hash_distance} must be "
            "-1 (copies are kept) or 0 ... 15: hashes that differ in more bits are of different "
            "pictures."
        )


def assess(image: UInt8[np.ndarray, "h w 3"]) -> Assessment:
    """Measures a picture of any size, decoded at full size.

    A JPEG decoded at 1/2 or less (`decode_image` with `min_side`) has other sides and sharpness.
    """
    height, width = image.shape[:2]
    grey = Image.fromarray(image).convert("L")
    scale = LONGER_SIDE / max(height, width)
    small = (max(3, round(width * scale)), max(3, round(height * scale)))
    # Never enlarged: that would blur a small picture, which `min_side` is there to judge.
    copy = grey.resize(small, Image.Resampling.BILINEAR) if scale < 1 else grey
    values = np.asarray(copy, np.float32)
    return Assessment(
        height, width, laplacian_variance(values), float(values.std()), perceptual_hash(grey)
    )


def reject(settings: QualitySettings, assessment: Assessment) -> str:
    """Why a picture is not good enough, as "quality: ..."; "" where it is.

    Copies are not judged here: that needs the other pictures.
    """
    if assessment.min_side < settings.min_side:
        return _reason("small", f"side {assessment.min_side} px < {settings.min_side}")
    if assessment.aspect > settings.max_aspect:
        return _reason("narrow", f"aspect {assessment.aspect:.2f} > {settings.max_aspect:g}")
    if assessment.contrast < settings.min_contrast:
        return _reason("flat", f"contrast {assessment.contrast:.2f} < {settings.min_contrast:g}")
    if assessment.sharpness < settings.min_sharpness:
        value, least = assessment.sharpness, settings.min_sharpness
        return _reason("blurred", f"sharpness {value:.2f} < {least:g}")
    return ""


def laplacian_variance(grey: Float[np.ndarray, "h w"]) -> float:
    """Variance of the 4-neighbour Laplacian of the inside; 0 where there is no inside."""
    if min(grey.shape) < 3:
        return 0.0
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float((around - 4 * grey[1:-1, 1:-1]).var())


def perceptual_hash(grey: Image.Image) -> int:
    """64 bits: which of the lowest 8 x 8 cosine coefficients exceed their median.

    Resizing, compression and brightness hardly move low frequencies: of the 27 embedded photographs
    26 change by at most 4 bits (a chessboard, most of whose coefficients are 0, by 16). The mean
    grey level is taken off first; a flat picture has hash 0. Colour is not seen: pictures that
    differ in hue only are copies.
    """
    small = grey.resize((_HASH_SIDE, _HASH_SIDE), Image.Resampling.BILINEAR)
    values = np.asarray(small, np.float64)
    low = _BASIS @ (values - values.mean()) @ _BASIS.T
    bits = low > np.median(low) + 1e-6
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def duplicates(hashes: UInt64[np.ndarray, "n"], max_distance: int) -> Int64[np.ndarray, "n"]:
    """Of which earlier picture each one is a copy.

    In order: a picture is a copy if its hash differs in at most `max_distance` bits from that of
    an earlier picture that is no copy itself. So no chain of small differences removes a picture
    that is far from everything that is kept.

    Args:
        hashes: `[n]`.
        max_distance: in bits; -1: none is a copy.

    Returns:
        `[n]`: the first such picture; -1 where there is none.
    """
    original = np.full(len(hashes), -1)
    if max_distance < 0:
        return original
    # Equal hashes share a fate, so only the first of each is compared with others.
    _, first, group = np.unique(hashes, return_index=True, return_inverse=True)
    by_time = np.sort(first)
    for early, late in by_time[near_pairs(hashes[by_time], max_distance)].tolist():
        # Sorted by (late, early): whether `early` is a copy is known by now.
        if original[early] < 0 and original[late] < 0:
            original[late] = early
    repeats = np.flatnonzero(first[group] != np.arange(len(hashes)))
    source = first[group[repeats]]
    original[repeats] = np.where(original[source] < 0, source, original[source])
    return original


def near_pairs(hashes: UInt64[np.ndarray, "n"], max_distance: int) -> Int64[np.ndarray, "m 2"]:
    """Every pair (i, j), i < j, whose hashes differ in at most `max_distance` bits, by (j, i).

    The 64 bits are cut into max_distance + 1 bands: hashes that differ in so few bits agree in at
    least one whole band. Only pairs that agree in a band are compared (multi-index hashing,
    Norouzi, Punjani and Fleet, CVPR 2012): n^2 / 2 * (d + 1) / 2^(64 / (d + 1)) comparisons.
    """
    edges = np.linspace(0, 64, max_distance + 2).astype(int).tolist()
    found = [np.zeros((0, 2), np.int64)]
    for low, high in pairwise(edges):
        keys = _band(hashes, low, high)
        order = np.argsort(keys, kind="stable")  # equal keys side by side, in order of time
        keys, sorted_hashes = keys[order], hashes[order]
        left, distance = np.arange(len(order) - 1), 1
        while len(left):
            left = left[left + distance < len(order)]
            left = left[keys[left] == keys[left + distance]]
            different = sorted_hashes[left] ^ sorted_hashes[left + distance]
            near = left[np.bitwise_count(different) <= max_distance]
            found.append(np.stack([order[near], order[near + distance]], axis=1))
            distance += 1
    pairs = np.unique(np.concatenate(found), axis=0)  # a pair may agree in several bands
    return pairs[np.lexsort((pairs[:, 0], pairs[:, 1]))]


def _band(hashes: UInt64[np.ndarray, "n"], low: int, high: int) -> UInt64[np.ndarray, "n"]:
    """Bits low ... high - 1."""
    return (hashes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)


def _cosines(rows: int, columns: int) -> Float[np.ndarray, "r c"]:
    """The first `rows` rows of the orthonormal DCT-II of `columns` values."""
    k, n = np.arange(rows)[:, None], np.arange(columns)[None]
    scale = np.where(k == 0, np.sqrt(1 / columns), np.sqrt(2 / columns))
    return scale * np.cos(np.pi * k * (2 * n + 1) / (2 * columns))


def _reason(name: str, detail: str) -> str:
    return f"quality: {name}: {detail}"


_BASIS = _cosines(_LOWEST, _HASH_SIDE)
