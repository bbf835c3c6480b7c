"""Image-text pairs for stage 2: a record -> NaFlex patches and a tokenized caption; their batches.

Every batch is a pure function of (seed, batch number): which records, crops, captions and sequence
lengths. Packed batches also depend on how many batch shards and microbatches there are, which share
out token budgets and caption rows: on another mesh a record may get another budget, and another
caption may be the one that is cut. Nothing here imports JAX: loader workers unpickle it.
"""

import dataclasses
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from cogvit_jax.data import packing
from cogvit_jax.data.examples import Draw
from cogvit_jax.data.layout import DataSettings, Layout
from cogvit_jax.data.records import CorruptRecord
from cogvit_jax.data.text import Tokenizer, token_ids
from cogvit_jax.data.text_packing import cut
from cogvit_jax.data.transforms import augment, decode_image, naflex_size, patchify, resize


@dataclasses.dataclass(frozen=True)
class PairExample:
    """Draw -> example; picklable.

    Attributes:
        layout: budgets and places of every batch.
        by_concept: pairs that share a concept or caption share their id; else every pair of a
            batch has an id of its own, its place in the global batch.
    """

    tokenizer: Tokenizer
    layout: Layout
    config: DataSettings
    patch_size: int
    by_concept: bool = True

    def __call__(self, draw: Draw) -> dict[str, Any]:
        """Patches, positions, tokens, pair_id and budget; CorruptRecord."""
        record, rng = draw.record, draw.rng
        budget = self.layout.budget(draw.batch, draw.place)
        captions = [c for c in record.captions if c.strip()]
        if not captions:
            raise CorruptRecord(f"{record.id} has no caption")
        caption = captions[rng.integers(len(captions))]
        image = decode_image(record.image, min_side=int(2 * self.patch_size * budget**0.5))
        flip = self.config.flip and draw.source.flippable
        image = augment(image, rng, self.config.crop_scale, flip)
        height, width = image.shape[:2]
        size = naflex_size(height, width, self.patch_size, budget)
        patches, positions = patchify(resize(image, size), self.patch_size)
        ids = token_ids(self.tokenizer, caption)
        return {
            "patches": patches,
            "positions": positions,
            "tokens": cut(ids, self.config.text_length),
            "num_tokens": len(ids),
            "pair_id": pair_id(record.concept or caption) if self.by_concept else draw.place,
            "budget": budget,
        }


def pair_id(concept: str) -> int:
    """A number that equal concepts share (31 bits of CRC-32)."""
    return zlib.crc32(concept.encode()) & 0x7FFFFFFF


@dataclasses.dataclass(frozen=True)
class Collate:
    """Examples of one batch -> host arrays; picklable."""

    layout: Layout
    pad_id: int

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Arrays under "arrays", and figures beside them.

        Every array's first axis can be split over batch shards; those of images over microbatches
        too (`sharding.split_microbatches`). Equal numbers in image_ids and text_ids are pairs.
        """
        image = self.layout.arrange(
            [e["patches"] for e in examples],
            [e["positions"] for e in examples],
            examples[0]["budget"],
        )
        text, order = self.layout.text.arrange([e["tokens"] for e in examples], self.pad_id)
        ids = np.asarray([e["pair_id"] for e in examples], np.int32)
        kept = np.count_nonzero(text["segments"])
        return {
            "arrays": {
                "image": image,
                "text": text,
                "image_ids": self.layout.by_image(ids),
                "text_ids": ids[order],
            },
            "stats": {
                "data/image_waste": packing.waste(image["segments"]),
                "data/text_waste": packing.waste(text["segments"]),
                "data/text_cut": 1 - kept / sum(e["num_tokens"] for e in examples),
            },
        }
