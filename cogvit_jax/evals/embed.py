"""Embeds whole sources, their patches and lists of texts, on all devices of all hosts."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jax.sharding import Mesh
from jaxtyping import Array, Float, Float32, Int

from cogvit_jax import sharding
from cogvit_jax.data import packing
from cogvit_jax.data.records import CorruptRecord, Record, Records, Source
from cogvit_jax.data.text import Tokenizer, token_ids
from cogvit_jax.data.text_packing import pad_texts
from cogvit_jax.data.transforms import decode_image, naflex_size, patchify, resize

Embeddings = Float32[np.ndarray, "n e"]
Grid = Float32[np.ndarray, "rows columns d"]
_NO_TEXTS = (
    "this Embedder has no text tower: give it `embed_texts`, `tokenizer` and `text_length`, or use "
    "evaluators that need pictures only."
)


@dataclasses.dataclass(frozen=True)
class Embedder:
    """Pictures, patches and texts -> vectors on every host.

    Two towers give unit vectors; `of_patches` makes an Embedder of an encoder alone.

    Attributes:
        embed_images: jitted, (params, image batch) -> `[b, e]`.
        embed_texts: jitted, (params, tokens `[b, t]`) -> `[b, e]`; with `mask_padding` (params,
            {"tokens", "segments"}) instead; None = no texts.
        mesh: devices; each batch is split over all of them.
        tokenizer, text_length: how texts become tokens; None and 0 = no texts.
        patch_size, length: pixels per patch side; token budget per picture.
        batch_size: pictures or texts per call, over all hosts.
        mask_padding: tell the text tower what is padding (`config.text.attend_padding = False`).
        features: jitted, (params, image batch) -> `[b, t, d]`, one per patch; None = no patches.
    """

    embed_images: Callable[[Any, Any], jax.Array]
    embed_texts: Callable[[Any, Any], jax.Array] | None
    mesh: Mesh
    tokenizer: Tokenizer | None
    text_length: int
    patch_size: int
    length: int
    batch_size: int
    mask_padding: bool = False
    features: Callable[[Any, Any], jax.Array] | None = None

    def texts(self, params: Any, texts: Sequence[str]) -> Embeddings:
        """One row per text; ValueError where there are none, or no text tower."""
        if not texts:
            raise ValueError("no texts to embed.")
        if self.embed_texts is None:
            raise ValueError(_NO_TEXTS)
        ids = self._token_ids(texts)
        rows = []
        for start, stop, mine in self._batches(len(texts)):
            # Behind the last text stands an empty one, whose row is dropped.
            batch = self._text_batch([ids[i] if i < stop else ids[0][-1:] for i in mine])
            found = self.embed_texts(params, sharding.put_batch(self.mesh, batch))
            rows.append(self._collect(found, mine)[: stop - start])
        return np.concatenate(rows)

    def images(
        self, params: Any, records: Sequence[Record] | Records
    ) -> tuple[Embeddings, np.ndarray]:
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

    def patches(self, params: Any, records: Sequence[Record] | Records) -> Iterator[Grid]:
        """One `[rows, columns, d]` per record, in order, a batch at a time.

        Corrupt records are logged and give `[0, 0, d]`. On several hosts every host must take
        all of them: each batch is computed together.

        Raises:
            ValueError: the Embedder has no `features`, or there are no records.
        """
        if self.features is None:
            raise ValueError("this Embedder has no patch features: give it `features`.")
        if not len(records):
            raise ValueError("no pictures to embed.")
        for start, stop, mine in self._batches(len(records)):
            batch, good = self._picture_batch(records, mine, stop)
            found = self.features(params, sharding.put_batch(self.mesh, batch))
            # Padding stands at (0, 0), behind the patches in row-major order.
            sizes = (batch["positions"].max(axis=1) + 1) * good[:, None]
            sizes = self._collect(sharding.put_batch(self.mesh, sizes), mine).astype(int)
            for row, (rows, columns) in zip(
                self._collect(found, mine)[: stop - start], sizes, strict=False
            ):
                yield row[: rows * columns].reshape(rows, columns, row.shape[-1]).copy()

    def sample(self, source: Source) -> tuple[Any, ...]:
        """One batch of a source's first pictures, and captions if there is a text tower."""
        records = usable_records(source)[: self.batch_size]
        _, stop, mine = next(self._batches(len(records)))
        batch, _ = self._picture_batch(records, mine, stop)
        placed = sharding.put_batch(self.mesh, batch)
        if self.embed_texts is None:
            return (placed,)
        captions = [records[i % len(records)].captions[0] for i in mine]
        texts = self._text_batch(self._token_ids(captions))
        return placed, sharding.put_batch(self.mesh, texts)

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

    def _token_ids(self, texts: Sequence[str]) -> list[Sequence[int]]:
        if self.tokenizer is None:
            raise ValueError(_NO_TEXTS)
        return [token_ids(self.tokenizer, t) for t in texts]

    def _text_batch(self, ids: Sequence[Sequence[int]]) -> Any:
        if self.tokenizer is None:
            raise ValueError(_NO_TEXTS)
        texts = pad_texts(ids, self.text_length, self.tokenizer.pad_id)
        return texts if self.mask_padding else texts["tokens"]

    def _picture_batch(
        self, records: Sequence[Record] | Records, mine: np.ndarray, stop: int
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


def of_patches(
    features: Callable[[Any, Any], jax.Array],
    mesh: Mesh,
    patch_size: int,
    length: int,
    batch_size: int,
) -> Embedder:
    """An Embedder of an encoder alone: a picture is the mean of its patch features, in f32.

    Args:
        features: traceable, (params, {"patches", "positions", "segments"}) -> `[b, t, d]`.
        mesh, patch_size, length, batch_size: see Embedder.
    """

    def embed_images(params: Any, image: Any) -> jax.Array:
        return mean_of_patches(features(params, image), image["segments"])

    return Embedder(
        embed_images=jax.jit(embed_images),
        embed_texts=None,
        mesh=mesh,
        tokenizer=None,
        text_length=0,
        patch_size=patch_size,
        length=length,
        batch_size=batch_size,
        features=jax.jit(features),
    )


def mean_of_patches(
    features: Float[Array, "b t d"], segments: Int[Array, "b t"]
) -> Float[Array, "b d"]:
    """The mean over tokens that are not padding, in f32; zero where a row has none."""
    real = (segments > 0).astype(jnp.float32)[..., None]
    total = jnp.sum(features.astype(jnp.float32) * real, axis=1)
    return total / jnp.maximum(jnp.sum(real, axis=1), 1)


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
