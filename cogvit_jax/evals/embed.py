"""Embeds whole sources and lists of texts, on all devices of all hosts."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from absl import logging
from jax.sharding import Mesh
from jaxtyping import Float32

from cogvit_jax import sharding
from cogvit_jax.data import packing
from cogvit_jax.data.records import CorruptRecord, Record, Source
from cogvit_jax.data.text import Tokenizer, token_ids
from cogvit_jax.data.text_packing import pad_texts
from cogvit_jax.data.transforms import decode_image, naflex_size, patchify, resize

Embeddings = Float32[np.ndarray, "n e"]


@dataclasses.dataclass(frozen=True)
class Embedder:
    """Pictures and texts -> unit vectors on every host.

    Attributes:
        embed_images: jitted, (params, image batch) -> `[b, e]`.
        embed_texts: jitted, (params, tokens `[b, t]`) -> `[b, e]`; with `mask_padding` (params,
            {"tokens", "segments"}) instead.
        mesh: devices; each batch is split over all of them.
        tokenizer, text_length: how texts become tokens.
        patch_size, length: pixels per patch side; token budget per picture.
        batch_size: pictures or texts per call, over all hosts.
        mask_padding: tell the text tower what is padding (`config.text.attend_padding = False`).
    """

    embed_images: Callable[[Any, Any], jax.Array]
    embed_texts: Callable[[Any, Any], jax.Array]
    mesh: Mesh
    tokenizer: Tokenizer
    text_length: int
    patch_size: int
    length: int
    batch_size: int
    mask_padding: bool = False

    def texts(self, params: Any, texts: Sequence[str]) -> Embeddings:
        """One row per text."""
        if not texts:
            raise ValueError("no texts to embed.")
        ids = [token_ids(self.tokenizer, t) for t in texts]
        rows = []
        for start, stop, mine in self._batches(len(texts)):
            # Behind the last text stands an empty one, whose row is dropped.
            batch = self._text_batch([ids[i] if i < stop else ids[0][-1:] for i in mine])
            found = self.embed_texts(params, sharding.put_batch(self.mesh, batch))
            rows.append(self._collect(found, mine)[: stop - start])
        return np.concatenate(rows)

    def images(self, params: Any, records: Sequence[Record]) -> tuple[Embeddings, np.ndarray]:
        """One row per record, and which rows hold a usable picture (`bool [n]`).

        Corrupt records are logged and give a row of zeros.
        """
        if not len(records):
            raise ValueError("no pictures to embed.")
        rows, usable = [], []
        for start, stop, mine in self._batches(len(records)):
            batch, good = self._picture_batch(records, mine, stop)
            found = self.embed_images(params, sharding.put_batch(self.mesh, batch))
            rows.append(self._collect(found, mine)[: stop - start])
            good = self._collect(sharding.put_batch(self.mesh, good), mine)
            usable.append(good[: stop - start])
        ok = np.concatenate(usable) > 0
        return np.where(ok[:, None], np.concatenate(rows), 0), ok

    def sample(self, source: Source) -> tuple[dict[str, Any], jax.Array]:
        """One batch of a source's first pictures and captions, on the devices."""
        records = usable_records(source)[: self.batch_size]
        _, stop, mine = next(self._batches(len(records)))
        batch, _ = self._picture_batch(records, mine, stop)
        captions = [records[i % len(records)].captions[0] for i in mine]
        texts = self._text_batch([token_ids(self.tokenizer, c) for c in captions])
        return sharding.put_batch(self.mesh, batch), sharding.put_batch(self.mesh, texts)

    def _batches(self, count: int) -> Iterator[tuple[int, int, np.ndarray]]:
        """(start, stop, this host's indices) of batches of one static size."""
        processes, devices = jax.process_count(), sharding.num_batch_shards(self.mesh)
        size = -(-self.batch_size // devices) * devices
        share = size // processes
        for start in range(0, count, size):
            first = start + jax.process_index() * share
            yield start, min(start + size, count), np.arange(first, first + share)

    def _collect(self, values: jax.Array, mine: np.ndarray) -> np.ndarray:
        """A batch's rows in order of their indices, on every host, whatever the mesh's order."""
        index = sharding.put_batch(self.mesh, mine.astype(np.int32))
        rows, order = sharding.to_host((values.astype(np.float32), index))
        return rows[np.argsort(order)]

    def _text_batch(self, ids: Sequence[Sequence[int]]) -> Any:
        texts = pad_texts(ids, self.text_length, self.tokenizer.pad_id)
        return texts if self.mask_padding else texts["tokens"]

    def _picture_batch(
        self, records: Sequence[Record], mine: np.ndarray, stop: int
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        patches, positions, good = [], [], np.zeros(len(mine), np.float32)
        for row, index in enumerate(mine):
            image = np.zeros((self.patch_size, self.patch_size, 3), np.uint8)
            if index < stop:
                try:
                    image = load_picture(records[int(index)], self.patch_size, self.length)
                    good[row] = 1
                except CorruptRecord as error:
                    logging.warning("record skipped in evaluation: %s", error)
            patch, position = patchify(image, self.patch_size)
            patches.append(patch)
            positions.append(position)
        return packing.pad(patches, positions, self.length), good


def load_picture(record: Record, patch_size: int, length: int) -> np.ndarray:
    """Decodes and resizes to the patch budget, without augmentation."""
    image = decode_image(record.image, min_side=int(2 * patch_size * length**0.5))
    height, width = image.shape[:2]
    return resize(image, naflex_size(height, width, patch_size, length))


def usable_records(source: Source) -> list[Record]:
    """A source's records, without those that cannot be read (logged)."""
    records = []
    for index in range(len(source.records)):
        try:
            records.append(source.records[index])
        except CorruptRecord as error:
            logging.warning("record skipped in evaluation: %s", error)
    return records
