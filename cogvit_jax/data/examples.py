"""One training example by its number, and how the examples of a batch come together.

Pure functions of (seed, number), without JAX: what loader workers run.
"""

import dataclasses
import sys
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from cogvit_jax.data import packing
from cogvit_jax.data.layout import DataSettings, Layout
from cogvit_jax.data.records import CorruptRecord, Record, Source
from cogvit_jax.data.text import Tokenizer, token_ids
from cogvit_jax.data.text_packing import cut
from cogvit_jax.data.transforms import (
    decode_image,
    naflex_size,
    patchify,
    random_crop,
    random_flip,
    resize,
)

# A corrupt record's replacement stands this far ahead in the mixture; prime, so that all are hit.
REPLACEMENT_STRIDE = 1_000_003
MAX_REPLACEMENTS = 16


class TooManyCorruptRecords(RuntimeError):
    """More records were unusable than `config.data.max_corrupt` allows."""


@dataclasses.dataclass(frozen=True)
class Examples:
    """Random access to this host's training examples, in order of use; picklable.

    Attributes:
        records: endless shuffled mixture of (source number, record number).
        sources: what the first of the two indexes.
        layout: budgets and places of every batch.
        by_concept: pairs that share a concept or caption share their id; else every pair of a
            batch has an id of its own, its place in the global batch.
        first: the batch that element 0 begins.
    """

    records: Any
    sources: tuple[Source, ...]
    tokenizer: Tokenizer
    layout: Layout
    config: DataSettings
    patch_size: int
    seed: int
    first: int
    by_concept: bool = True

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One example: patches, positions, tokens, pair_id, id, and the corrupt ids passed over."""
        batch, place = divmod(index, self.layout.host_batch)
        batch += self.first
        place += self.layout.host_offset
        position = batch * self.config.global_batch + place
        budget = self.layout.budget(batch, place)
        corrupt = []
        for attempt in range(MAX_REPLACEMENTS):
            number, record_index = self.records[position + attempt * REPLACEMENT_STRIDE]
            source = self.sources[number]
            rng = np.random.default_rng((self.seed, position, attempt))
            try:
                example = self._example(source, source.records[record_index], budget, rng)
            except CorruptRecord as error:
                corrupt.append((f"{source.name} [{record_index}]", str(error)))
                continue
            concept = example.pop("concept")
            pair = pair_id(concept) if self.by_concept else place
            return {**example, "pair_id": pair, "budget": budget, "corrupt": corrupt}
        raise TooManyCorruptRecords(
            f"config.data.train: {MAX_REPLACEMENTS} records in a row cannot be used; repair the "
            "data: " + "; ".join(map(": ".join, corrupt[:4]))
        )

    def _example(
        self, source: Source, record: Record, budget: int, rng: np.random.Generator
    ) -> dict[str, Any]:
        captions = [c for c in record.captions if c.strip()]
        if not captions:
            raise CorruptRecord(f"{record.id} has no caption")
        caption = captions[rng.integers(len(captions))]
        image = decode_image(record.image, min_side=int(2 * self.patch_size * budget**0.5))
        if tuple(self.config.crop_scale) != (1.0, 1.0):
            image = random_crop(image, rng, self.config.crop_scale)
        if self.config.flip and source.flippable:
            image = random_flip(image, rng)
        height, width = image.shape[:2]
        size = naflex_size(height, width, self.patch_size, budget)
        patches, positions = patchify(resize(image, size), self.patch_size)
        ids = token_ids(self.tokenizer, caption)
        return {
            "patches": patches,
            "positions": positions,
            "tokens": cut(ids, self.config.text_length),
            "num_tokens": len(ids),
            "concept": record.concept or caption,
            "id": record.id,
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
        """Arrays under "arrays"; record ids, the corrupt ones and figures beside them.

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
            "ids": [e["id"] for e in examples],
            "corrupt": [c for e in examples for c in e["corrupt"]],
            "stats": {
                "data/image_waste": packing.waste(image["segments"]),
                "data/text_waste": packing.waste(text["segments"]),
                "data/text_cut": 1 - kept / sum(e["num_tokens"] for e in examples),
            },
        }
