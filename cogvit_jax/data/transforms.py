"""Pictures to patches: decoding, NaFlex sizing, resizing, cropping and patchifying in numpy.

Everything stays uint8: the device normalises, so that a quarter of the bytes travel.
"""

import io
import math
import warnings

import numpy as np
from jaxtyping import Int32, UInt8
from PIL import Image
from PIL.ExifTags import Base as Exif
from PIL.Image import Resampling, Transpose

from cogvit_jax.data.records import CorruptRecord

_UPRIGHT = {  # EXIF orientation -> the operation that undoes it
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
_SCALE_MIN, _SCALE_MAX, _SCALE_STEP = 1e-6, 100.0, 1e-5


def decode_image(image: bytes | np.ndarray, min_side: int = 0) -> UInt8[np.ndarray, "h w 3"]:
    """Decodes a file, or brings an array to 8-bit RGB.

    Upright (EXIF orientation undone), first frame, transparency over white, 16 bits to 8 by
    dropping the low byte. The result may be read-only.

    Args:
        image: an encoded file, or pixels `[h, w]` or `[h, w, 3]`, uint8 or uint16.
        min_side: the smallest side in pixels that is still needed. A JPEG of at least twice that
            is decoded at 1/2, 1/4 or 1/8 of its size, which is several times faster; its sides
            then round up, so its aspect ratio may move by less than one small pixel. 0: full size.

    Raises:
        CorruptRecord: undecodable, truncated, empty, of an unknown pixel type, or larger than
            twice `PIL.Image.MAX_IMAGE_PIXELS` (a decompression bomb).
    """
    if isinstance(image, np.ndarray):
        return _from_array(image)
    if not image:
        raise CorruptRecord("the picture is an empty file (0 bytes)")
    _ignore_pillow_warnings()
    try:
        with Image.open(io.BytesIO(image)) as picture:
            if min_side > 0:
                picture.draft(None, (min_side, min_side))
            picture.load()
            return _from_array(_to_pixels(_upright(picture)))
    except CorruptRecord:
        raise
    # Pillow's plugins raise nearly every built-in exception on malformed input.
    except Exception as error:
        raise CorruptRecord(f"undecodable picture: {type(error).__name__}: {error}") from error


def naflex_size(height: int, width: int, patch_size: int, max_patches: int) -> tuple[int, int]:
    """The largest (height, width) in whole patches, of nearly the same shape, within a budget.

    As in SigLIP 2 NaFlex (arXiv:2502.14786, section 2.4): the largest scale s for which
    ceil(h s / p) ceil(w s / p) <= max_patches, bisected in [1e-6, 100] down to 1e-5. The bisection
    is kept, rather than a closed form, because released models were trained on its rounding.

    Returns:
        Pixels, multiples of `patch_size`, at least one patch each.
    """
    if min(height, width, patch_size, max_patches) < 1:
        raise ValueError(
            "height, width, patch_size and max_patches must be at least 1; got "
            f"{height}, {width}, {patch_size}, {max_patches}"
        )
    ceil = math.ceil
    low, high = _SCALE_MIN, _SCALE_MAX
    while high - low >= _SCALE_STEP:
        scale = (low + high) / 2
        # Multiplied before divided: the reference's order, and the product decides the ceil.
        if ceil(height * scale / patch_size) * ceil(width * scale / patch_size) <= max_patches:
            low = scale
        else:
            high = scale
    rows, columns = ceil(height * low / patch_size), ceil(width * low / patch_size)
    # Only sides of more than a million patches, where even the smallest scale is too large.
    rows = min(rows, max_patches)
    columns = min(columns, max_patches // rows)
    return rows * patch_size, columns * patch_size


def resize(
    image: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]
) -> UInt8[np.ndarray, "h1 w1 3"]:
    """Resizes to `size` = (height, width): bilinear, antialiased when it shrinks."""
    if image.shape[:2] == tuple(size):
        return image
    height, width = size
    return np.asarray(Image.fromarray(image).resize((width, height), Resampling.BILINEAR))


def patchify(
    image: UInt8[np.ndarray, "h w 3"], patch_size: int
) -> tuple[UInt8[np.ndarray, "n d"], Int32[np.ndarray, "n 2"]]:
    """Cuts a picture into square patches, row by row.

    Returns:
        patches: `[n, patch_size * patch_size * 3]`, pixels in (row, column, channel) order.
        positions: `[n, 2]`, the (row, column) of each patch, in patches.

    Raises:
        ValueError: a side is not a multiple of `patch_size`.
    """
    height, width, channels = image.shape
    if height % patch_size or width % patch_size:
        raise ValueError(
            f"picture of {height}x{width} is not a whole number of {patch_size}-pixel patches; "
            "resize it to naflex_size() first"
        )
    rows, columns = height // patch_size, width // patch_size
    grid = image.reshape(rows, patch_size, columns, patch_size, channels)
    patches = grid.transpose(0, 2, 1, 3, 4).reshape(rows * columns, -1)
    positions = np.indices((rows, columns), dtype=np.int32).reshape(2, -1).T
    return patches, np.ascontiguousarray(positions)


def unpatchify(
    patches: UInt8[np.ndarray, "n d"], positions: Int32[np.ndarray, "n 2"], patch_size: int
) -> UInt8[np.ndarray, "h w 3"]:
    """Puts patches back at their positions, in any order; missing ones stay black."""
    rows, columns = positions.max(axis=0) + 1
    grid = np.zeros((rows, columns, patch_size, patch_size, 3), patches.dtype)
    grid[positions[:, 0], positions[:, 1]] = patches.reshape(-1, patch_size, patch_size, 3)
    return grid.transpose(0, 2, 1, 3, 4).reshape(rows * patch_size, columns * patch_size, 3)


def random_crop(
    image: UInt8[np.ndarray, "h w 3"],
    rng: np.random.Generator,
    scale: tuple[float, float],
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> UInt8[np.ndarray, "h1 w1 3"]:
    """Cuts out a random box.

    Args:
        image: the picture.
        rng: three draws are taken.
        scale: range of the box's share of the area, drawn uniformly.
        ratio: range of the box's width/height relative to the picture's, drawn uniformly in log
            among those for which a box of that area fits; if none does, the nearest that fits.
    """
    if not 0 < scale[0] <= scale[1] <= 1:
        raise ValueError(f"scale={scale}: shares of the area must satisfy 0 < low <= high <= 1")
    height, width = image.shape[:2]
    area = rng.uniform(*scale)
    # The box is sqrt(area / r) of the height and sqrt(area * r) of the width: both are at most 1
    # exactly when |log r| <= -log area, so that no draw has to be rejected.
    bound = max(0.0, -math.log(area))
    low, high = np.clip(np.log(ratio), -bound, bound)
    log_ratio = rng.uniform(low, high)
    box_height = max(1, round(height * math.sqrt(area / math.exp(log_ratio))))
    box_width = max(1, round(width * math.sqrt(area * math.exp(log_ratio))))
    top, left = rng.integers((height - box_height + 1, width - box_width + 1))
    return image[top : top + box_height, left : left + box_width]


def augment(
    image: UInt8[np.ndarray, "h w 3"],
    rng: np.random.Generator,
    crop_scale: tuple[float, float],
    flip: bool,
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> UInt8[np.ndarray, "h1 w1 3"]:
    """A random crop of `crop_scale` of the area ((1, 1) = the whole) and, if asked for, a flip.

    `ratio` is that of `random_crop`.
    """
    if tuple(crop_scale) != (1.0, 1.0):
        image = random_crop(image, rng, crop_scale, ratio)
    return random_flip(image, rng) if flip else image


def random_flip(
    image: UInt8[np.ndarray, "h w 3"], rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """Mirrors left to right, half of the time."""
    return image[:, ::-1] if rng.random() < 0.5 else image


def _from_array(pixels: np.ndarray) -> UInt8[np.ndarray, "h w 3"]:
    """Pixels `[h, w]` or `[h, w, 3]`, uint8 or uint16, to 8-bit RGB."""
    if pixels.dtype not in (np.uint8, np.uint16):
        raise CorruptRecord(f"pixels are {pixels.dtype}; expected uint8 or uint16")
    if pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (3,)):
        raise CorruptRecord(f"pixels have shape {pixels.shape}; expected [h, w] or [h, w, 3]")
    if not pixels.size:
        raise CorruptRecord(f"the picture has no pixels (shape {pixels.shape})")
    if pixels.dtype != np.uint8:
        pixels = (pixels >> 8).astype(np.uint8)
    return np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels


def _to_pixels(picture: Image.Image) -> np.ndarray:
    """Any Pillow mode to uint8 or uint16 pixels, transparency over white."""
    mode = picture.mode
    if mode.startswith("I"):  # 16-bit grey; Pillow's own conversion clips it at 255
        return np.clip(np.asarray(picture), 0, 0xFFFF).astype(np.uint16)
    if mode == "F":
        raise CorruptRecord("floating-point pixels have no defined range; convert to 8 or 16 bits")
    if mode.endswith(("A", "a")) or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))


def _upright(picture: Image.Image) -> Image.Image:
    try:
        orientation = picture.getexif().get(Exif.Orientation, 1)
    except Exception:  # broken metadata of a sound picture
        return picture
    return picture.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else picture


def _ignore_pillow_warnings() -> None:
    """Pillow warns of odd metadata and large pictures; neither is a reason to drop a picture.

    A filter rather than `catch_warnings`, which is not safe in reader threads.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")
