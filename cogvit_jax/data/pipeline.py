"""Training batches: a weighted mixture of sources -> NaFlex image batches with tokenized captions.

Every batch is a pure function of (seed, batch number): which records, crops, captions and sequence
lengths. So the place in the data is one number, the same for any number of hosts, reader threads
or worker processes, and a resumed run sees exactly what an uninterrupted one would have seen. A
corrupt record is replaced by another one, drawn by the same rule, and counted.
"""

import dataclasses
import sys
import zlib
from collections import deque
from collections.abc import Sequence
from typing import Any

import grain
import numpy as np
from absl import logging
from jax.sharding import Mesh

from cogvit_jax import settings, sharding
from cogvit_jax.data.layout import Layout
from cogvit_jax.data.mixture import open_mixture, shuffled_mixture
from cogvit_jax.data.records import CorruptRecord, Record, Source
from cogvit_jax.data.text import Tokenizer, load_tokenizer, tokenize
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
class DataSettings:
    """`config.data`.

    Attributes:
        train: sources with weights, `spec@weight,spec@weight`; see `data.sources.open_source`.
        heldout: sources to evaluate on, `spec,spec`.
        tokenizer: a SentencePiece `.model` or `tokenizers` `.json`; "" = the embedded one.
        text_length: tokens per caption.
        global_batch: image-text pairs per step, over all hosts.
        lengths: token budgets per image. Padded: one is drawn for each batch. Packed: every batch
            holds all of them in equal shares.
        layout: "padded" (one image per row) or "packed" (many).
        row_length: tokens per packed row; 0 = the largest of `lengths`.
        eval_length: token budget in evaluation; 0 = the largest of `lengths`.
        crop_scale: range of the share of a picture's area that a training crop keeps.
        flip: mirror half of the pictures, where their source allows it.
        num_workers, read_threads: worker processes (0 = none), and threads in each.
        prefetch: batches placed on the device ahead of the step.
        max_corrupt: different unusable records on this host after which the run stops.
    """

    train: str
    global_batch: int
    heldout: str = ""
    tokenizer: str = ""
    text_length: int = 64
    lengths: tuple[int, ...] = (256,)
    layout: str = "padded"
    row_length: int = 0
    eval_length: int = 0
    crop_scale: tuple[float, float] = (1.0, 1.0)
    flip: bool = False
    num_workers: int = 0
    read_threads: int = 4
    prefetch: int = 2
    max_corrupt: int = 1000


@dataclasses.dataclass(frozen=True)
class Examples:
    """Random access to this host's training examples, in order of use; picklable.

    Attributes:
        records: endless shuffled mixture of (source number, record number).
        sources: what the first of the two indexes.
        layout: budgets and places of every batch.
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
                return {**example, "budget": budget, "corrupt": corrupt}
            except CorruptRecord as error:
                corrupt.append((f"{source.name} [{record_index}]", str(error)))
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
        return {
            "patches": patches,
            "positions": positions,
            "tokens": tokenize(self.tokenizer, caption, self.config.text_length),
            "pair_id": pair_id(record.concept or caption),
            "id": record.id,
        }


def pair_id(concept: str) -> int:
    """A number that equal concepts share (31 bits of CRC-32)."""
    return zlib.crc32(concept.encode()) & 0x7FFFFFFF


@dataclasses.dataclass(frozen=True)
class Collate:
    """Examples of one batch -> host arrays; picklable."""

    layout: Layout

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Arrays under "arrays"; record ids and the corrupt ones beside them."""
        image = self.layout.arrange(
            [e["patches"] for e in examples],
            [e["positions"] for e in examples],
            examples[0]["budget"],
        )
        arrays = {
            "image": image,
            "tokens": np.stack([e["tokens"] for e in examples]),
            "pair_ids": np.asarray([e["pair_id"] for e in examples], np.int32),
        }
        corrupt = [c for e in examples for c in e["corrupt"]]
        return {"arrays": arrays, "ids": [e["id"] for e in examples], "corrupt": corrupt}


class TrainBatches:
    """Batches of a mixture, from a saved place on; implements `program.Batches`."""

    def __init__(
        self, config: DataSettings, mesh: Mesh, patch_size: int, seed: int, state: dict | None
    ):
        self._config, self._mesh = config, mesh
        sources, weights = open_mixture(config.train, "config.data.train")
        self._fingerprint = {
            "train": config.train,
            "sizes": [len(s.records) for s in sources],
            "global_batch": config.global_batch,
            "seed": seed,
        }
        self._next = 0
        self._corrupt: dict[str, str] = {}  # where -> reason, in the order they were met
        if state is not None:
            self._resume(state)
        layout = Layout.make(config, mesh, seed)
        examples = Examples(
            records=shuffled_mixture(sources, weights, seed),
            sources=sources,
            tokenizer=load_tokenizer(config.tokenizer),
            layout=layout,
            config=config,
            patch_size=patch_size,
            seed=seed,
            first=self._next,
        )
        self._iterator = _read(examples, Collate(layout), config, layout.host_batch)
        self._ready: deque[tuple[dict[str, Any], dict[str, Any]]] = deque()
        self._ids: Sequence[str] = ()

    def __iter__(self) -> "TrainBatches":
        return self

    def __next__(self) -> dict[str, Any]:
        """The next batch on the devices; raises TooManyCorruptRecords past the limit."""
        while len(self._ready) <= self._config.prefetch:
            host = next(self._iterator)
            self._ready.append((sharding.put_batch(self._mesh, host["arrays"]), host))
        arrays, host = self._ready.popleft()
        self._next += 1
        self._ids = host["ids"]
        self._count(host["corrupt"])
        return arrays

    @property
    def ids(self) -> Sequence[str]:
        """Record ids of the batch handed out last."""
        return self._ids

    def stats(self) -> dict[str, float]:
        """How many different records could not be used so far."""
        return {"data/corrupt_records": float(len(self._corrupt))}

    def get_state(self) -> dict[str, Any]:
        """The next batch's number, and what must be the same for it to mean anything."""
        return {
            "next_batch": self._next,
            "corrupt": self._corrupt.copy(),
            "data": self._fingerprint,
        }

    def close(self) -> None:
        """Ends reader threads and worker processes."""
        self._ready.clear()
        self._iterator.close()

    def _resume(self, state: dict[str, Any]) -> None:
        if state["data"] != self._fingerprint:
            changed = [k for k, v in self._fingerprint.items() if state["data"].get(k) != v]
            details = (
                f"{k} was {state['data'].get(k)}, is {self._fingerprint[k]}" for k in changed
            )
            raise settings.ConfigError(
                f"the checkpoint was trained on other data: {'; '.join(details)}. Restore "
                "config.data and config.seed, or start a new --workdir."
            )
        self._next, self._corrupt = state["next_batch"], dict(state["corrupt"])

    def _count(self, corrupt: Sequence[tuple[str, str]]) -> None:
        for where, reason in corrupt:
            if where not in self._corrupt:
                logging.warning("record skipped: %s: %s", where, reason)
                self._corrupt[where] = reason
        if len(self._corrupt) > self._config.max_corrupt:
            where, reason = list(self._corrupt.items())[-1]
            raise TooManyCorruptRecords(
                f"{len(self._corrupt)} records could not be used, more than "
                f"config.data.max_corrupt = {self._config.max_corrupt}. The last: "
                f"{where}: {reason}. Repair the data, or "
                "raise the limit."
            )


def _read(examples: Examples, collate: Collate, config: DataSettings, size: int) -> Any:
    """Batches in order, decoded by threads or worker processes ahead of time."""
    options = grain.ReadOptions(
        num_threads=config.read_threads, prefetch_buffer_size=max(2 * size, 64)
    )
    dataset = grain.MapDataset.source(examples).to_iter_dataset(options)
    if config.num_workers:
        dataset = dataset.mp_prefetch(grain.MultiprocessingOptions(config.num_workers))
    return iter(dataset.batch(size, drop_remainder=True, batch_fn=collate))
