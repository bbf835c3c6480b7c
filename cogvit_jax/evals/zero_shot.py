"""Zero-shot classification: the class whose prompts lie nearest (arXiv:2103.00020, sec. 3.1)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32

from cogvit_jax.data.records import Source
from cogvit_jax.evals.embed import Embedder, usable_records


def class_embeddings(
    embedder: Embedder, params: Any, classes: Sequence[str], templates: Sequence[str]
) -> Float32[np.ndarray, "c e"]:
    """Mean of each class's prompt embeddings, unit length."""
    prompts = [template.format(name) for name in classes for template in templates]
    found = embedder.texts(params, prompts).reshape(len(classes), len(templates), -1)
    mean = found.mean(1)
    return mean / np.maximum(np.linalg.norm(mean, axis=-1, keepdims=True), 1e-12)


def zero_shot(embedder: Embedder, source: Source, params: Any) -> dict[str, float]:
    """Top-1 accuracy over the source's labelled records, one figure per language.

    Raises:
        ValueError: the source has no classes or no labelled record.
    """
    records = [r for r in usable_records(source) if r.label >= 0]
    if not records or not source.classes:
        raise ValueError(f"{source.name} has no labelled records: zero-shot needs classes.")
    images, usable = embedder.images(params, records)
    labels = np.asarray([r.label for r in records])[usable]
    accuracy = {}
    for language, classes in source.classes.items():
        weights = class_embeddings(embedder, params, classes, source.templates[language])
        predicted = np.argmax(images[usable] @ weights.T, axis=-1)
        accuracy[language] = float(np.mean(predicted == labels))
    return accuracy
