"""Pictures with a class per pixel: what dense probes read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image

from cogvit_jax.data.records import CorruptRecord, Record
from cogvit_jax.data.transforms import decode_image

VOID = 255  # unlabelled pixels in Pascal VOC and in Cityscapes' training masks
_PICTURES = (".jpg", ".jpeg", ".png", ".webp")


@runtime_checkable
class MaskedRecords(Protocol):
    """Random access to pictures, and to their masks; both may raise CorruptRecord."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Record: ...

    def mask(self, index: int, /) -> UInt8[np.ndarray, "h w"]:
        """The class of each pixel of record `index`."""
        ...


@dataclass(frozen=True)
class MaskedSource:
    """A set of pictures with masks.

    Attributes:
        name: as the user wrote it.
        records: pictures and masks.
        ignored: mask values that are no class (ADE20K: 0 and 255).
    """

    name: str
    records: MaskedRecords
    ignored: tuple[int, ...] = (VOID,)


@dataclass(frozen=True)
class MaskedFolder:
    """`images/` and `masks/` of a folder, paired by stem; files are read on access."""

    images: tuple[Path, ...]
    masks: tuple[Path, ...]

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.images)

    def __getitem__(self, index: int) -> Record:
        """Reads a picture; CorruptRecord if it cannot be, or its mask has another size."""
        path = self.images[index]
        pixels = decode_image(path.read_bytes())
        mask = self.mask(index)
        if mask.shape != pixels.shape[:2]:
            raise CorruptRecord(
                f"{path} has {pixels.shape[0]}x{pixels.shape[1]} pixels (rows x columns, upright) "
                f"but {self.masks[index]} {mask.shape[0]}x{mask.shape[1]}; expected equal sizes"
            )
        return Record(path.name, pixels, ())

    def mask(self, index: int) -> UInt8[np.ndarray, "h w"]:
        """Reads a mask; CorruptRecord if it is not a PNG of 8-bit classes."""
        path = self.masks[index]
        try:
            with Image.open(path) as picture:
                picture.load()
                mode, mask = picture.mode, np.asarray(picture)
        except (OSError, ValueError, SyntaxError) as error:
            raise CorruptRecord(f"mask {path}: {error}") from error
        if mode not in ("L", "P"):
            raise CorruptRecord(
                f"mask {path} has mode {mode}; expected L or P, one byte per pixel: its class"
            )
        return mask


def open_masked_folder(path: str, ignored: tuple[int, ...] = (VOID,)) -> MaskedSource:
    """Opens a folder with `images/` and `masks/`, whose files have equal stems.

    Args:
        path: the folder; "folder:/ade" will do too.
        ignored: see MaskedSource.

    Raises:
        FileNotFoundError: the folder, `images/` or `masks/` is missing, or without files.
        ValueError: a picture without a mask, a mask without a picture, or a stem twice.
    """
    root = Path(path.removeprefix("folder:")).expanduser()
    for folder in (root, root / "images", root / "masks"):
        if not folder.is_dir():
            raise FileNotFoundError(
                f"{path}: there is no folder {folder}; expected {root}/images/1.jpg and "
                f"{root}/masks/1.png, and so on"
            )
    images = _by_stem(root / "images", _PICTURES)
    masks = _by_stem(root / "masks", (".png",))
    for one, other, missing in ((images, masks, "mask"), (masks, images, "picture")):
        if alone := sorted(one.keys() - other.keys()):
            raise ValueError(
                f"{path}: {len(alone)} file(s) without a {missing}, the first {one[alone[0]]}; "
                "files in images/ and masks/ must have equal stems"
            )
    stems = sorted(images)
    records = MaskedFolder(tuple(images[s] for s in stems), tuple(masks[s] for s in stems))
    return MaskedSource(path, records, ignored)


def patch_classes(
    mask: UInt8[np.ndarray, "h w"], grid: tuple[int, int], ignored: Sequence[int] = (VOID,)
) -> Int64[np.ndarray, "rows columns"]:
    """The most frequent class of each patch's pixels; -1 where that is an ignored one.

    Of equally frequent ones the lowest. A pixel belongs to the patch that its centre lies in; a
    mask smaller than the grid is enlarged first.
    """
    mask = np.repeat(mask, -(-grid[0] // mask.shape[0]), axis=0)
    mask = np.repeat(mask, -(-grid[1] // mask.shape[1]), axis=1)
    row, column = (patch_of_pixel(size, n) for size, n in zip(mask.shape, grid, strict=True))
    counts = np.zeros((*grid, 256), np.int64)
    np.add.at(counts, (row[:, None], column[None], mask), 1)
    found = counts.argmax(-1)
    return np.where(np.isin(found, ignored), -1, found)


def patch_of_pixel(size: int, num_patches: int) -> Int64[np.ndarray, "{size}"]:
    """Along one side: the patch that each pixel's centre lies in."""
    return (2 * np.arange(size) + 1) * num_patches // (2 * size)


def _by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    files = [f for f in sorted(folder.iterdir()) if f.suffix.lower() in suffixes]
    if not files:
        raise FileNotFoundError(f"{folder} has no file ending in {', '.join(suffixes)}")
    found = {}
    for file in files:
        if (first := found.setdefault(file.stem, file)) is not file:
            raise ValueError(f"{first} and {file} have one stem; expected one file per picture")
    return found
