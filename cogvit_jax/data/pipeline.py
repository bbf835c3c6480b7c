"""Training batches of a weighted mixture of sources, decoded ahead of the step, placed on devices.

Every batch is a pure function of (seed, batch number). So the place in the data is one number, the
same for any number of hosts, reader threads or worker processes, and a resumed run sees exactly
what an uninterrupted one would have seen. A corrupt record is replaced by another one, drawn by the
same rule, and counted. What an example is, and how a batch is laid out, is for `pairs` (stage 2)
and `pictures` (stage 1).
"""

import dataclasses
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import grain
import jax
from absl import logging
from jax.sharding import Mesh

from cogvit_jax import settings, sharding
from cogvit_jax.data.examples import Draw, Examples, TooManyCorruptRecords
from cogvit_jax.data.layout import DataSettings, Layout, check_batch
from cogvit_jax.data.mixture import open_mixture, shuffled_mixture
from cogvit_jax.data.pairs import Collate, PairExample
from cogvit_jax.data.pictures import PictureExample, stack
from cogvit_jax.data.records import Source
from cogvit_jax.data.text import load_tokenizer


class LoaderSettings(Protocol):
    """The fields of `config.data` that are read here, whatever else a program has there."""

    @property
    def train(self) -> str: ...
    @property
    def global_batch(self) -> int: ...
    @property
    def num_workers(self) -> int: ...
    @property
    def read_threads(self) -> int: ...
    @property
    def prefetch(self) -> int: ...
    @property
    def max_corrupt(self) -> int: ...


@dataclasses.dataclass(frozen=True)
class _Batch:
    """Examples -> arrays and figures, with ids and corrupt records beside them; picklable."""

    collate: Callable[[Sequence[dict[str, Any]]], dict[str, Any]]

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        ids = [e["id"] for e in examples]
        corrupt = [c for e in examples for c in e["corrupt"]]
        return {**self.collate(examples), "ids": ids, "corrupt": corrupt}


class TrainBatches:
    """Batches of a mixture, from a saved place on; implements `program.Batches`."""

    def __init__(
        self,
        config: LoaderSettings,
        mesh: Mesh,
        seed: int,
        state: dict | None,
        *,
        make: Callable[[Draw], dict[str, Any]],
        collate: Callable[[Sequence[dict[str, Any]]], dict[str, Any]],
        host_batch: int,
        host_offset: int,
        opener: Callable[[str], Source] | None = None,
        place: Callable[[Mesh, Any], Any] = sharding.put_batch,
    ):
        """Opens the sources of `config.train`.

        Args:
            config: `config.data`.
            mesh: where batches go.
            seed: of the order and of everything random.
            state: from `get_state`, or None for the beginning.
            make: draw -> example; picklable.
            collate: examples -> {"arrays": host arrays, "stats": figures}; picklable.
            host_batch, host_offset: how many examples are this host's, and the first one's place.
            opener: opens one source of the mixture; None = `data.sources.open_source`.
            place: (mesh, this host's arrays) -> global arrays.
        """
        self._config, self._mesh, self._place = config, mesh, place
        sources, weights = open_mixture(config.train, "config.data.train", opener)
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
        examples = Examples(
            records=shuffled_mixture(sources, weights, seed),
            sources=sources,
            make=make,
            global_batch=config.global_batch,
            host_batch=host_batch,
            host_offset=host_offset,
            seed=seed,
            first=self._next,
        )
        self._iterator = _read(examples, _Batch(collate), config, host_batch)
        self._stats: dict[str, float] = {}
        self._ready: deque[tuple[dict[str, Any], dict[str, Any]]] = deque()
        self._ids: Sequence[str] = ()

    def __iter__(self) -> "TrainBatches":
        return self

    def __next__(self) -> dict[str, Any]:
        """The next batch on the devices; raises TooManyCorruptRecords past the limit."""
        while len(self._ready) <= self._config.prefetch:
            host = next(self._iterator)
            self._ready.append((self._place(self._mesh, host["arrays"]), host))
        arrays, host = self._ready.popleft()
        self._next += 1
        self._ids, self._stats = host["ids"], host["stats"]
        self._count(host["corrupt"])
        return arrays

    @property
    def ids(self) -> Sequence[str]:
        """Record ids of the batch handed out last."""
        return self._ids

    def stats(self) -> dict[str, float]:
        """Different records that could not be used so far, and figures of the last batch, both of
        this host.
        """
        return {"data/corrupt_records": float(len(self._corrupt))} | self._stats

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


def pair_batches(
    config: DataSettings,
    mesh: Mesh,
    patch_size: int,
    seed: int,
    state: dict | None,
    positives: str = "concept",
    microbatches: int = 1,
) -> TrainBatches:
    """Batches `{"image": …, "text": …, "image_ids": …, "text_ids": …}`, see `pairs.Collate`.

    Raises:
        ConfigError: a field is wrong, or `state` belongs to other data.
    """
    layout = Layout.make(
        config,
        sharding.num_batch_shards(mesh),
        seed,
        microbatches,
        num_hosts=jax.process_count(),
        host=jax.process_index(),
    )
    tokenizer = load_tokenizer(config.tokenizer)
    by_concept = settings.choose(
        {"concept": True, "pair": False}, positives, "config.loss.positives"
    )
    return TrainBatches(
        config,
        mesh,
        seed,
        state,
        make=PairExample(tokenizer, layout, config, patch_size, by_concept),
        collate=Collate(layout, tokenizer.pad_id),
        host_batch=layout.host_batch,
        host_offset=layout.host_offset,
    )


def picture_batches(
    example: PictureExample, mesh: Mesh, seed: int, state: dict | None
) -> TrainBatches:
    """Batches `{"patches" [B, n, 3pp], "masked" [B, n], "source" [B], "teachers": {name: …}}`.

    Raises:
        ConfigError: a field is wrong, or `state` belongs to other data.
    """
    check_batch(example.config.global_batch, sharding.num_batch_shards(mesh))
    host_batch = example.config.global_batch // jax.process_count()
    return TrainBatches(
        example.config,
        mesh,
        seed,
        state,
        make=example,
        collate=stack,
        host_batch=host_batch,
        host_offset=jax.process_index() * host_batch,
    )


def _read(examples: Examples, batch: _Batch, config: LoaderSettings, size: int) -> Any:
    """Batches in order, decoded by threads or worker processes ahead of time."""
    options = grain.ReadOptions(
        num_threads=config.read_threads, prefetch_buffer_size=max(2 * size, 64)
    )
    dataset = grain.MapDataset.source(examples).to_iter_dataset(options)
    if config.num_workers:
        dataset = dataset.mp_prefetch(grain.MultiprocessingOptions(config.num_workers))
    return iter(dataset.batch(size, drop_remainder=True, batch_fn=batch))
