"""One training example by its number: which record it is, and another one where that is unusable.

Pure functions of (seed, number), without JAX: what loader workers run.
"""

import dataclasses
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from cogvit_jax.data.records import CorruptRecord, Record, Source

# A corrupt record's replacement stands this far ahead in the mixture; prime, so that all are hit.
REPLACEMENT_STRIDE = 1_000_003
MAX_REPLACEMENTS = 16


class TooManyCorruptRecords(RuntimeError):
    """More records were unusable than `config.data.max_corrupt` allows."""


@dataclasses.dataclass(frozen=True)
class Draw:
    """What a place of a batch has drawn.

    Attributes:
        source, number: the source and its number in the mixture.
        record, index: the record and its number in the source.
        batch, place: of the global batches.
        rng: for everything random about the example.
    """

    source: Source
    number: int
    record: Record
    index: int
    batch: int
    place: int
    rng: np.random.Generator


@dataclasses.dataclass(frozen=True)
class Examples:
    """Random access to this host's training examples, in order of use; picklable.

    Attributes:
        records: endless shuffled mixture of (source number, record number).
        sources: what the first of the two indexes.
        make: draw -> example; raises CorruptRecord where the record cannot be used.
        global_batch: examples per batch, over all hosts.
        host_batch, host_offset: how many are this host's, and the first one's place.
        seed: of the draws' random numbers.
        first: the batch that element 0 begins.
    """

    records: Any
    sources: tuple[Source, ...]
    make: Callable[[Draw], dict[str, Any]]
    global_batch: int
    host_batch: int
    host_offset: int
    seed: int
    first: int

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, index: int) -> dict[str, Any]:
        """What `make` makes, with the id of the record, and the corrupt ones passed over."""
        batch, place = divmod(index, self.host_batch)
        batch += self.first
        place += self.host_offset
        position = batch * self.global_batch + place
        corrupt = []
        for attempt in range(MAX_REPLACEMENTS):
            number, record_index = self.records[position + attempt * REPLACEMENT_STRIDE]
            source = self.sources[number]
            rng = np.random.default_rng((self.seed, position, attempt))
            try:
                record = source.records[record_index]
                draw = Draw(source, number, record, record_index, batch, place, rng)
                return {**self.make(draw), "id": record.id, "corrupt": corrupt}
            except CorruptRecord as error:
                corrupt.append((f"{source.name} [{record_index}]", str(error)))
        raise TooManyCorruptRecords(
            f"config.data.train: {MAX_REPLACEMENTS} records in a row cannot be used; repair the "
            "data: " + "; ".join(map(": ".join, corrupt[:4]))
        )
