"""Training batches: a weighted mixture of sources -> NaFlex image batches with tokenized captions.

Every batch is a pure function of (seed, batch number): which records, crops, captions and sequence
lengths. So the place in the data is one number, the same for any number of hosts, reader threads
or worker processes, and a resumed run sees exactly what an uninterrupted one would have seen. A
corrupt record is replaced by another one, drawn by the same rule, and counted.

Packed batches also depend on how many batch shards and microbatches there are, which share out
token budgets and caption rows: on another mesh a record may get another budget, and another
caption may be the one that is cut.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any

import grain
import jax
from absl import logging
from jax.sharding import Mesh

from cogvit_jax import settings, sharding
from cogvit_jax.data.examples import Collate, Examples, TooManyCorruptRecords
from cogvit_jax.data.layout import DataSettings, Layout
from cogvit_jax.data.mixture import open_mixture, shuffled_mixture
from cogvit_jax.data.text import load_tokenizer

__all__ = ["DataSettings", "TooManyCorruptRecords", "TrainBatches"]


class TrainBatches:
    """Batches of a mixture, from a saved place on; implements `program.Batches`.

    A batch is `{"image": …, "text": …, "image_ids": …, "text_ids": …}`, see `examples.Collate`.
    """

    def __init__(
        self,
        config: DataSettings,
        mesh: Mesh,
        patch_size: int,
        seed: int,
        state: dict | None,
        positives: str = "concept",
        microbatches: int = 1,
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
        layout = Layout.make(
            config,
            sharding.num_batch_shards(mesh),
            seed,
            microbatches,
            num_hosts=jax.process_count(),
            host=jax.process_index(),
        )
        tokenizer = load_tokenizer(config.tokenizer)
        examples = Examples(
            records=shuffled_mixture(sources, weights, seed),
            sources=sources,
            tokenizer=tokenizer,
            layout=layout,
            config=config,
            patch_size=patch_size,
            seed=seed,
            first=self._next,
            by_concept=settings.choose(
                {"concept": True, "pair": False}, positives, "config.loss.positives"
            ),
        )
        collate = Collate(layout, tokenizer.pad_id)
        self._iterator = _read(examples, collate, config, layout.host_batch)
        self._stats: dict[str, float] = {}
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
        self._ids, self._stats = host["ids"], host["stats"]
        self._count(host["corrupt"])
        return arrays

    @property
    def ids(self) -> Sequence[str]:
        """Record ids of the batch handed out last."""
        return self._ids

    def stats(self) -> dict[str, float]:
        """Different records that could not be used so far; of the last batch on this host, the
        shares of tokens that were padding and of caption tokens that were cut.
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


def _read(examples: Examples, collate: Collate, config: DataSettings, size: int) -> Any:
    """Batches in order, decoded by threads or worker processes ahead of time."""
    options = grain.ReadOptions(
        num_threads=config.read_threads, prefetch_buffer_size=max(2 * size, 64)
    )
    dataset = grain.MapDataset.source(examples).to_iter_dataset(options)
    if config.num_workers:
        dataset = dataset.mp_prefetch(grain.MultiprocessingOptions(config.num_workers))
    return iter(dataset.batch(size, drop_remainder=True, batch_fn=collate))
