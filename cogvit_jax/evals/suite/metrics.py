"""The figures of the suites, from predictions to one number each."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

Labels = Int[np.ndarray, "n"]
Top = Int[np.ndarray, "n k"]


def topk_accuracy(top: Top, labels: Labels, k: int) -> float:
    """Share of pictures whose class is among the k best."""
    return float(np.mean(_hits(top, labels, k)))


def mean_per_class_recall(top: Top, labels: Labels) -> float:
    """Mean over the classes that occur of the share of their pictures that are found."""
    return _group_means(_hits(top, labels, 1), labels).mean().item()


def macro_f1(top: Top, labels: Labels) -> float:
    """Mean of F1 over the classes that occur, as WILDS has it (arXiv:2012.07421, iWildCam).

    A class that occurs and is never predicted has F1 = 0.
    """
    predicted, present = top[:, 0], np.unique(labels)
    right = np.asarray([np.sum((predicted == c) & (labels == c)) for c in present])
    either = np.asarray([np.sum(predicted == c) + np.sum(labels == c) for c in present])
    return float(np.mean(2 * right / either))


def worst_group_accuracy(top: Top, labels: Labels, groups: Labels, k: int) -> float:
    """Lowest accuracy of a group that occurs, of however few pictures.

    DataComp's FMoW has a region of a handful of pictures that is not left out, by which good
    models score exactly 0 there.
    """
    return _group_means(_hits(top, labels, k), groups).min().item()


def classification(top: Top, labels: Labels, groups: Labels | None) -> dict[str, float]:
    """Every figure of `CLASSIFICATION` that the data allows.

    Args:
        top: classes in order of their scores, at most five.
        labels: the true ones.
        groups: one number per picture; None = no worst-group figures.
    """
    found = {name: metric(top, labels) for name, metric in CLASSIFICATION.items()}
    if groups is not None:
        found |= {
            f"worst_group_acc{k}": worst_group_accuracy(top, labels, groups, k) for k in (1, 5)
        }
    return found


CLASSIFICATION: Mapping[str, Callable[[Top, Labels], float]] = {
    "acc1": lambda top, labels: topk_accuracy(top, labels, 1),
    "acc5": lambda top, labels: topk_accuracy(top, labels, 5),
    "mean_per_class_recall": mean_per_class_recall,
    "macro_f1": macro_f1,
}


def retrieval(
    images: Float[np.ndarray, "i e"],
    texts: Float[np.ndarray, "t e"],
    captions: Sequence[str],
    owners: Sequence[Sequence[int]],
) -> dict[str, float]:
    """Recall at 1, 5, 10 both ways; `mean_recall_1` is the mean of both at 1.

    A query counts as answered if one of its matches is among the k best. Each caption is a query of
    its own, and only its own pictures match it. Among captions, one of the same words as a match is
    no error: the two cannot be told apart.

    Args:
        images, texts: unit rows.
        captions: the words of each text.
        owners: rows of `images` that each text describes; a text without any is no query.
    """
    place = {caption: number for number, caption in enumerate(dict.fromkeys(captions))}
    words = np.asarray([place[caption] for caption in captions])
    described: list[set[int]] = [set() for _ in images]
    for text, rows in enumerate(owners):
        for row in rows:
            described[row].add(int(words[text]))
    t2i = [_rank(images @ texts[t], np.asarray(rows)) for t, rows in enumerate(owners) if rows]
    i2t = [
        _rank(texts @ image, np.flatnonzero(np.isin(words, list(own))))
        for image, own in zip(images, described, strict=True)
        if own
    ]
    ranks = {"t2i": np.asarray(t2i), "i2t": np.asarray(i2t)}
    found = {f"{way}_r{k}": float(np.mean(r < k)) for way, r in ranks.items() for k in (1, 5, 10)}
    found["mean_recall_1"] = (found["t2i_r1"] + found["i2t_r1"]) / 2
    found["t2i_mean_recall"] = sum(found[f"t2i_r{k}"] for k in (1, 5, 10)) / 3
    return found


def jaccard(scores: Float[np.ndarray, "c"], positives: Bool[np.ndarray, "c"]) -> float:
    """Overlap over union of the positives and the as many highest scores (WinoGAViL, 2207.12576).

    Equal scores go to the candidates that are no positives, so that a collapsed model gains
    nothing.
    """
    order = np.lexsort((positives, -scores))
    chosen = np.zeros_like(positives)
    chosen[order[: positives.sum()]] = True
    return float(np.sum(chosen & positives) / np.sum(chosen | positives))


def _hits(top: Top, labels: Labels, k: int) -> np.ndarray:
    return np.any(top[:, :k] == labels[:, None], axis=1)


def _group_means(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Mean of the values of each group that occurs, in order of the groups' numbers."""
    _, index, counts = np.unique(groups, return_inverse=True, return_counts=True)
    return np.bincount(index, weights=values) / counts


def _rank(scores: np.ndarray, matches: np.ndarray) -> int:
    """How many candidates that do not match score at least as high as the best match."""
    ahead = scores >= scores[matches].max()
    return int(ahead.sum() - ahead[matches].sum())
