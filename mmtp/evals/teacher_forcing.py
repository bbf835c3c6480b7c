"""Acceptance of drafts foretold from held-out documents, without generating."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from mmtp.data.encoded import Encoded
from mmtp.evals import acceptance
from mmtp.evals.acceptance import Steps

NEEDED = ("weights", "mtp_sources", "visual", "segments", "order", "category")


def make_teacher_forced(
    predict: Callable[[Any, dict[str, Any]], Any],
    collate: Callable[[Sequence[Any]], dict[str, Any]],
    place: Callable[[Any], Any],
    documents: Sequence[Encoded],
    batch_size: int,
) -> Callable[[Any], dict[str, Any]]:
    """An evaluator: parameters -> `acceptance.figures` of the documents.

    Args:
        predict: (params, batch) -> most probable tokens `[b, h, t]` of the main head and of each
            depth, and of the batch what is `NEEDED`, groups joined; both whole on every host.
        collate: examples of one batch -> {"arrays": …}.
        place: host arrays -> global arrays.
        documents: to evaluate on.
        batch_size: documents per batch.
    """

    def evaluate(params: Any) -> dict[str, Any]:
        parts = []
        for first in range(0, len(documents), batch_size):
            examples = [{"document": d} for d in documents[first : first + batch_size]]
            predicted, rows = predict(params, place(collate(examples)["arrays"]))
            parts.append(acceptance.foreseen(*jax.device_get((predicted, rows))))
        steps = Steps(*(np.concatenate(column) for column in zip(*parts, strict=True)))
        return acceptance.figures(steps)

    return evaluate
