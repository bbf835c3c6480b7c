"""A picture to look at: held-out images, each with the captions the model ranks highest."""

from pathlib import Path
from typing import Any

import numpy as np

from cogvit_jax import plots
from cogvit_jax.data.records import Source
from cogvit_jax.data.transforms import decode_image
from cogvit_jax.evals.embed import Embedder, usable_records


def gallery(
    embedder: Embedder, source: Source, font: Path, num_images: int, top: int, params: Any
) -> dict[str, np.ndarray]:
    """A `[h, w, 3]` uint8 picture: images evenly spread over the source, with their `top` captions.

    The image's own captions are green.
    """
    records = usable_records(source)
    captions = sorted({c for r in records for c in r.captions if c.strip()})
    texts = embedder.texts(params, captions)
    spread = np.linspace(0, len(records) - 1, min(num_images, len(records))).astype(int)
    chosen = [records[i] for i in spread]
    images, usable = embedder.images(params, chosen)
    pictures, lines = [], []
    for record, row, good in zip(chosen, images, usable, strict=True):
        if not good:
            continue
        scores = texts @ row
        best = np.argsort(-scores)[:top]
        lines.append(
            [(f"{scores[i]:.2f} {captions[i]}", captions[i] in record.captions) for i in best]
        )
        pictures.append(decode_image(record.image))
    return {"captions": plots.caption_grid(pictures, lines, font)}
