"""Figures of a model on one local copy."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from cogvit_jax.data.records import Records
from cogvit_jax.evals.embed import Embedder
from cogvit_jax.evals.suite import metrics
from cogvit_jax.evals.suite.copies import Classification, Matching, Retrieval
from cogvit_jax.evals.suite.local import Copy
from cogvit_jax.evals.zero_shot import class_embeddings

_CALLS = 8  # batches between two moves of the progress bar
_TOP = 5  # classes kept per picture
_MANY = 10  # candidates of WinoGAViL's larger instances, which DataComp reports

Advance = Callable[[int, int], None]


def measure(
    embedder: Embedder, params: Any, copy: Copy, advance: Advance
) -> tuple[dict[str, float], int]:
    """(figures by name, number of unreadable pictures, which are left out).

    Args:
        embedder: of pictures and texts.
        params: of the model.
        copy: a task's data.
        advance: called with (pictures done, pictures in all).

    Raises:
        ValueError: no picture can be read.
    """
    if isinstance(copy, Classification):
        return _classify(embedder, params, copy, advance)
    rows, usable = _embed_all(embedder, params, copy.pictures, advance)
    if isinstance(copy, Retrieval):
        return _retrieve(embedder, params, copy, rows, usable)
    return _match(embedder, params, copy, rows, usable)


def _classify(
    embedder: Embedder, params: Any, copy: Classification, advance: Advance
) -> tuple[dict[str, float], int]:
    weights = class_embeddings(embedder, params, copy.classes, copy.templates).T
    tops, usable = [], []
    for rows, good in _embed(embedder, params, copy.pictures, advance):
        # Only the best classes are kept: scores of all would be gigabytes for the larger sets.
        tops.append(np.argsort(-(rows @ weights), axis=-1, kind="stable")[:, :_TOP])
        usable.append(good)
    ok = np.concatenate(usable)
    groups = None if copy.groups is None else copy.groups[ok]
    found = metrics.classification(np.concatenate(tops)[ok], copy.labels[ok], groups)
    return found, int(np.sum(~ok))


def _retrieve(
    embedder: Embedder, params: Any, copy: Retrieval, rows: np.ndarray, usable: np.ndarray
) -> tuple[dict[str, float], int]:
    texts = embedder.texts(params, copy.captions)
    place = np.cumsum(usable) - 1
    owners = [tuple(int(place[i]) for i in own if usable[i]) for own in copy.owners]
    return metrics.retrieval(rows[usable], texts, copy.captions, owners), int(np.sum(~usable))


def _match(
    embedder: Embedder, params: Any, copy: Matching, rows: np.ndarray, usable: np.ndarray
) -> tuple[dict[str, float], int]:
    texts = embedder.texts(params, copy.cues)
    scored = [
        (len(shown), metrics.jaccard(rows[shown] @ text, fits))
        for text, shown, fits in zip(texts, copy.candidates, copy.fits, strict=True)
        if usable[shown].all()
    ]
    few = [score for count, score in scored if count < _MANY]
    many = [score for count, score in scored if count >= _MANY]
    found = {"jaccard_5_6": few, "jaccard": many}
    return {k: float(np.mean(v)) for k, v in found.items() if v}, int(np.sum(~usable))


def _embed_all(
    embedder: Embedder, params: Any, pictures: Records, advance: Advance
) -> tuple[np.ndarray, np.ndarray]:
    rows, usable = zip(*_embed(embedder, params, pictures, advance), strict=True)
    return np.concatenate(rows), np.concatenate(usable)


def _embed(
    embedder: Embedder, params: Any, pictures: Records, advance: Advance
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(unit rows, which are usable) of a few batches at a time: a set need not fit in memory."""
    size, count, readable = _CALLS * embedder.batch_size, len(pictures), False
    for start in range(0, count, size):
        stop = min(start + size, count)
        rows, usable = embedder.images(params, [pictures[i] for i in range(start, stop)])
        readable |= bool(usable.any())
        advance(stop, count)
        yield rows, usable
    if not readable:
        raise ValueError(f"none of the {count} pictures can be read")
