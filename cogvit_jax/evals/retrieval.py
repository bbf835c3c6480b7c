"""Image-text retrieval: recall at k in both directions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32

from cogvit_jax.data.records import Source
from cogvit_jax.evals.embed import Embedder, usable_records

RANKS = (1, 5, 10)


def retrieval(embedder: Embedder, source: Source, params: Any) -> dict[str, float]:
    """`i2t_r1 … t2i_r10` over all records and all distinct captions of a source.

    A caption is relevant to a picture if it is one of the picture's captions, so captions that
    several pictures share are no errors.
    """
    records = usable_records(source)
    captions = sorted({c for r in records for c in r.captions if c.strip()})
    images, usable = embedder.images(params, records)
    place = {caption: i for i, caption in enumerate(captions)}
    relevant = np.zeros((len(records), len(captions)), bool)
    for row, record in enumerate(records):
        relevant[row, [place[c] for c in record.captions if c.strip()]] = True
    scores = images[usable] @ embedder.texts(params, captions).T
    relevant = relevant[usable]
    result = recall(scores, relevant, "i2t")
    some = relevant.any(0)
    return result | recall(scores.T[some], relevant.T[some], "t2i")


def recall(
    scores: Float32[np.ndarray, "q c"],
    relevant: Bool[np.ndarray, "q c"],
    name: str,
    ranks: Sequence[int] = RANKS,
) -> dict[str, float]:
    """Share of queries with a relevant candidate among the k highest scores.

    Ties count against the query: a candidate's rank is one more than the number of candidates that
    are not relevant and score at least as high, so that a collapsed model scores 0, not 1.
    """
    best = np.max(np.where(relevant, scores, -np.inf), axis=1, keepdims=True)
    ahead = np.sum((scores >= best) & ~relevant, axis=1)
    return {f"{name}_r{k}": float(np.mean(ahead < k)) for k in ranks}
