"""Square pictures for stage 1: the student's patches with a mask, the teachers' own views of the
same crop, or features of theirs that were computed before.

Every batch is a pure function of (seed, batch number): records, crops, flips and masks. Nothing
here imports JAX: loader workers unpickle it.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cogvit_jax import settings
from cogvit_jax.data import masking, quality
from cogvit_jax.data.examples import Draw
from cogvit_jax.data.feature_cache import FeatureCache
from cogvit_jax.data.records import CorruptRecord
from cogvit_jax.data.transforms import augment, decode_image, patchify, resize

# A crop's width / height before it is made square, as torchvision's and DINO's random crops.
CROP_ASPECT = (3 / 4, 4 / 3)


@dataclasses.dataclass(frozen=True)
class PictureSettings:
    """`config.data` of stage 1.

    Attributes:
        train: sources with weights, `spec@weight,spec@weight`; see `data.sources.open_source`.
        heldout: sources to evaluate on, `spec,spec`.
        image_size: side of the student's picture, in pixels.
        global_batch: pictures per step, over all hosts.
        crop_scale: range of the share of a picture's area that a training crop keeps; (1, 1) is
            the whole picture, made square.
        flip: mirror half of the pictures, where their source allows it.
        num_workers, read_threads: worker processes (0 = none), and threads in each.
        prefetch: batches placed on the device ahead of the step.
        max_corrupt: different unusable records on this host after which the run stops.
    """

    train: str
    global_batch: int
    heldout: str = ""
    image_size: int = 224
    crop_scale: tuple[float, float] = (1.0, 1.0)
    flip: bool = False
    num_workers: int = 0
    read_threads: int = 4
    prefetch: int = 2
    max_corrupt: int = 1000


@dataclasses.dataclass(frozen=True)
class View:
    """A square picture as one model reads it: sides in pixels."""

    image_size: int
    patch_size: int

    @property
    def name(self) -> str:
        """Teachers with equal views share one array of the batch."""
        return f"{self.image_size}x{self.patch_size}"

    @property
    def side(self) -> int:
        """Patches per side; ConfigError where it is not a whole number."""
        if self.image_size % self.patch_size or self.image_size < self.patch_size:
            raise settings.ConfigError(
                f"an image_size of {self.image_size} is not a whole number of patches of "
                f"{self.patch_size} pixels: change config.data.image_size or the patch_size."
            )
        return self.image_size // self.patch_size


@dataclasses.dataclass(frozen=True)
class PictureExample:
    """Draw -> example; picklable.

    Attributes:
        config: of the pictures.
        mask: of the student's patches.
        quality: what a picture must have to be used.
        student: the student's view.
        teachers: the views of teachers that run in the step.
        caches: teacher -> features computed before.
    """

    config: PictureSettings
    mask: masking.MaskSettings
    quality: quality.QualitySettings
    student: View
    teachers: tuple[View, ...]
    caches: Mapping[str, FeatureCache] = dataclasses.field(default_factory=dict)

    def __call__(self, draw: Draw) -> dict[str, Any]:
        """Patches, mask, source number and the teachers' inputs; CorruptRecord."""
        largest = max(v.image_size for v in (self.student, *self.teachers))
        whole = tuple(self.config.crop_scale) == (1.0, 1.0)
        judged = self.quality != quality.QualitySettings()
        # Decoded at full size where it is judged: a smaller copy has another sharpness.
        needed = 0 if judged else largest if whole else 2 * largest
        image = decode_image(draw.record.image, min_side=needed)
        if judged and (reason := quality.reject(self.quality, quality.assess(image))):
            raise CorruptRecord(f"{draw.record.id}: {reason}")
        flip = self.config.flip and draw.source.flippable
        shape = image.shape[0] / image.shape[1]  # the crop's aspect is relative to the picture's
        aspect = (CROP_ASPECT[0] * shape, CROP_ASPECT[1] * shape)
        image = augment(image, draw.rng, self.config.crop_scale, flip, aspect)
        side = self.student.side
        views = {v.name: look(image, v) for v in self.teachers}
        stored = {name: cache.read(draw.number, draw.index) for name, cache in self.caches.items()}
        return {
            "patches": look(image, self.student),
            "masked": masking.draw(self.mask, draw.rng, side, side),
            "source": np.int32(draw.number),
            "teachers": views | stored,
        }


def look(image: np.ndarray, view: View) -> np.ndarray:
    """A picture `[h, w, 3]`, made square, as uint8 patches `[n, 3 p p]`."""
    size = (view.image_size, view.image_size)
    return patchify(resize(image, size), view.patch_size)[0]


def stack(examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Examples of one batch -> host arrays under "arrays"."""
    arrays: dict[str, Any] = {
        name: np.stack([e[name] for e in examples]) for name in ("patches", "masked", "source")
    }
    views = [e["teachers"] for e in examples]
    arrays["teachers"] = {name: np.stack([v[name] for v in views]) for name in views[0]}
    return {"arrays": arrays, "stats": {}}
