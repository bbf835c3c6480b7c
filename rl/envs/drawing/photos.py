"""The photographs that come inside scikit-image and scikit-learn, small."""

import functools
import io

import numpy as np
from PIL import Image as Pillow

from cogvit_jax.data.embedded import open_embedded
from mmtp.data.tasks.example import Pixels

SIDE = 168  # pixels of the shorter side


@functools.cache
def photographs() -> dict[str, tuple[Pixels, ...]]:
    """What is shown -> photographs; those held out for evaluation are not among them."""
    found: dict[str, tuple[Pixels, ...]] = {}
    for record in open_embedded("photos/train").records:
        if isinstance(record.image, bytes):
            picture = Pillow.open(io.BytesIO(record.image)).convert("RGB")
            scale = SIDE / min(picture.size)
            size = (round(picture.width * scale), round(picture.height * scale))
            pixels = np.array(picture.resize(size, Pillow.Resampling.LANCZOS))
            found[record.concept] = (*found.get(record.concept, ()), pixels)
    return {concept: found[concept] for concept in sorted(found)}
