"""Scenes with exact masks, made of the embedded pictures: digits and faces on textures.

Strokes of a digit in any brightness, faces in ellipses; ellipses of other grey photo patches, which
are background, so that an ellipse alone says nothing. Everything in a held-out scene, background
textures too, comes from held-out pictures.
"""

import dataclasses
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from cogvit_jax.data.embedded import open_embedded
from cogvit_jax.data.records import Record
from cogvit_jax.data.transforms import decode_image, resize
from cogvit_jax.evals.masked import MaskedSource

CLASSES = ("background", "digit", "face")  # index = value in the mask
SIZES = (0.35, 0.6)  # of an object, as a share of the scene's side
_COVERED = 0.5  # pixels covered by more than this belong to the object
_FACE, _NOT_FACE = 0, 1  # labels of embedded:photos


class Material(NamedTuple):
    """What scenes of one split are cut from: `[h, w, 3]` uint8 pictures."""

    textures: list[np.ndarray]
    digits: list[np.ndarray]
    faces: list[np.ndarray]
    others: list[np.ndarray]


@dataclasses.dataclass(frozen=True)
class Scenes:
    """Scenes as records; `[i]` depends on the seed, the split and i only."""

    images: tuple[UInt8[np.ndarray, "side side 3"], ...]
    masks: tuple[UInt8[np.ndarray, "side side"], ...]
    split: str

    def __len__(self) -> int:
        """Number of scenes."""
        return len(self.images)

    def __getitem__(self, index: int) -> Record:
        """One scene."""
        return Record(f"scenes/{self.split}/{index:04d}", self.images[index], ())

    def mask(self, index: int) -> UInt8[np.ndarray, "side side"]:
        """The class of each pixel of one scene."""
        return self.masks[index]


def make_scenes(split: str, count: int, side: int, seed: int = 0) -> MaskedSource:
    """Draws scenes.

    Args:
        split: "train" or "heldout".
        count: scenes, each with two to four objects.
        side: pixels.
        seed: scenes of two seeds or splits are drawn independently.
    """
    material = _material(split)
    rngs = [np.random.default_rng([seed, split == "train", i]) for i in range(count)]
    drawn = [draw_scene(material, side, rng) for rng in rngs]
    images, masks = (tuple(part) for part in zip(*drawn, strict=True))
    return MaskedSource(f"scenes/{split}", Scenes(images, masks, split), ())


def draw_scene(
    material: Material, side: int, rng: np.random.Generator
) -> tuple[UInt8[np.ndarray, "side side 3"], UInt8[np.ndarray, "side side"]]:
    """(picture, class of each pixel): later objects cover earlier ones."""
    texture = _choice(material.textures, rng)
    scene = resize(_square_crop(texture, rng), (side, side)).astype(np.float32)
    mask = np.zeros((side, side), np.uint8)
    for _ in range(rng.integers(2, 5)):
        size = round(side * rng.uniform(*SIZES))
        kind = rng.choice(["digit", "face", "other"])
        pieces = {"digit": material.digits, "face": material.faces, "other": material.others}
        piece = resize(_choice(pieces[kind], rng), (size, size)).astype(np.float32)
        draw = {"digit": partial(_stroke, rng=rng), "face": _ellipse, "other": _ellipse}
        colour, cover = draw[kind](piece)
        top, left = rng.integers(side - size + 1, size=2)
        place = np.s_[top : top + size, left : left + size]
        scene[place] += cover[..., None] * (colour - scene[place])
        value = CLASSES.index(kind) if kind in CLASSES else 0
        mask[place] = np.where(cover > _COVERED, value, mask[place])
    return scene.round().astype(np.uint8), mask


Painted = tuple[Float[np.ndarray, "s s 3"], Float[np.ndarray, "s s"]]  # colours, cover 0 to 1


def _stroke(piece: Float[np.ndarray, "s s 3"], rng: np.random.Generator) -> Painted:
    """A digit's ink in one colour; what is not ink lets the texture through."""
    return np.broadcast_to(rng.uniform(0, 255, 3), piece.shape), piece[..., 0] / 255


def _ellipse(piece: Float[np.ndarray, "s s 3"]) -> Painted:
    """A photo within an upright ellipse, 0.8 as wide as high."""
    y, x = np.indices(piece.shape[:2]) / (len(piece) - 1) * 2 - 1
    return piece, (y**2 + (x / 0.8) ** 2 <= 1).astype(np.float32)


def _square_crop(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random square, half to all of the shorter side."""
    shorter = min(image.shape[:2])
    size = int(rng.integers(shorter // 2, shorter + 1))
    top, left = rng.integers((image.shape[0] - size + 1, image.shape[1] - size + 1))
    return image[top : top + size, left : left + size]


def _choice(items: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    return items[rng.integers(len(items))]


def _material(split: str) -> Material:
    photos = open_embedded(f"photos/{split}").records
    photos = [photos[i] for i in range(len(photos))]
    digits = open_embedded(f"digits/{split}").records
    of_label: dict[int, list[np.ndarray]] = {-1: [], _FACE: [], _NOT_FACE: []}
    for record in photos:
        of_label[record.label].append(decode_image(record.image))
    numbers = [decode_image(digits[i].image) for i in range(len(digits))]
    return Material(of_label[-1], numbers, of_label[_FACE], of_label[_NOT_FACE])
