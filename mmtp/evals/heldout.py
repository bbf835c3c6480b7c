"""Losses on held-out documents, by head and by category, with teacher-forced acceptance."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from cogvit_jax.data.records import CorruptRecord, Source
from mmtp.data.encoded import Encoded

LossFn = Callable[[Any, Any, dict[str, Any], jax.Array], Any]


def encode_some(
    source: Source, encode: Callable[[Any], Encoded], num: int
) -> tuple[list[Encoded], int]:
    """Documents evenly spread over a source, and how many could not be used."""
    found, corrupt = [], 0
    for index in spread(len(source.records), num):
        try:
            found.append(encode(source.records[index]))
        except CorruptRecord:
            corrupt += 1
    return found, corrupt


def spread(total: int, num: int) -> list[int]:
    """At most `num` places evenly over 0 … total - 1."""
    return np.linspace(0, total - 1, min(num, total)).astype(int).tolist() if total else []


def make_heldout(
    loss: LossFn,
    collate: Callable[[Sequence[Any]], dict[str, Any]],
    place: Callable[[Any], Any],
    documents: Sequence[Encoded],
    batch_size: int,
) -> Callable[[Any], dict[str, float]]:
    """An evaluator: parameters -> every metric of the loss over the documents.

    Args:
        loss: of the program; its metrics are (sum, count) pairs.
        collate: examples of one batch -> {"arrays": …}.
        place: host arrays -> global arrays.
        documents: to evaluate on, whole ones only: what does not fit in a batch is left out.
        batch_size: documents per batch; the last may have fewer.
    """

    @jax.jit
    def measure(params: Any, batch: dict[str, Any]) -> dict[str, Any]:
        statistics = params.get("statistics", {"step": 0})
        weights = {k: v for k, v in params.items() if k != "statistics"}
        return loss(weights, None, {**batch, "statistics": statistics}, jax.random.key(0)).metrics

    def evaluate(params: Any) -> dict[str, float]:
        sums: dict[str, np.ndarray] = {}
        for first in range(0, len(documents), batch_size):
            examples = [{"document": d} for d in documents[first : first + batch_size]]
            batch = place(collate(examples)["arrays"])
            for name, pair in jax.device_get(measure(params, batch)).items():
                sums[name] = sums.get(name, np.zeros(2)) + np.asarray(pair, np.float64)
        return {name: float(s / n) for name, (s, n) in sums.items() if n > 0}

    return evaluate
