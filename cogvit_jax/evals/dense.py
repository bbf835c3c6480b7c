"""Patch-wise linear segmentation: do patch features tell objects apart?

A logistic regression on frozen patch features names the class of each patch, as in the linear
segmentation of DINOv2 (arXiv:2304.07193, sec. 7.4), on single patches and without upsampling of
features. It measures objects; `correspondence.py` measures texture and place.
"""

from typing import Any

import numpy as np
from absl import logging
from jaxtyping import Float32, Int, Int64, UInt8

from cogvit_jax.data.records import CorruptRecord
from cogvit_jax.evals.embed import Embedder
from cogvit_jax.evals.logistic import Predict, fit_logistic
from cogvit_jax.evals.masked import MaskedSource, patch_classes, patch_of_pixel

NUM_CLASSES = 256  # values of a mask


def segmentation(
    embedder: Embedder,
    train: MaskedSource,
    heldout: MaskedSource,
    params: Any,
    max_patches: int = 50_000,
    strength: float = 1e-2,
) -> dict[str, float]:
    """Fits on the patches of `train` and scores every labelled pixel of `heldout`.

    Args:
        embedder: with patch features.
        train, heldout: pictures with masks.
        params: of the encoder.
        max_patches: of `train`, as many of each picture, drawn at random with a fixed seed.
        strength: scikit-learn's C of the regression. Not swept: see `logistic.sweep_strength`.

    Returns:
        "miou" and "pixel_accuracy"; "miou_majority" and "pixel_accuracy_majority" of naming every
        pixel with the commonest training class.

    Raises:
        ValueError: no labelled patch, fewer than two classes among them, or no labelled pixel.
    """
    features, labels = labelled_patches(embedder, train, params, max_patches)
    predict = fit_logistic(features, labels, strength)
    majority = int(np.bincount(labels).argmax())
    counts, counts_majority = confusion(embedder, heldout, params, predict, majority)
    if not counts.any():
        raise ValueError(f"{heldout.name} has no labelled pixel in a picture that can be read.")
    return scores(counts) | {f"{k}_majority": v for k, v in scores(counts_majority).items()}


def labelled_patches(
    embedder: Embedder, source: MaskedSource, params: Any, max_patches: int
) -> tuple[Float32[np.ndarray, "n d"], Int[np.ndarray, "n"]]:
    """Features of patches that have a class (see `masked.patch_classes`), and their classes."""
    share, rng = max(1, max_patches // len(source.records)), np.random.default_rng(0)
    features, labels = [], []
    for index, grid in enumerate(embedder.patches(params, source.records)):
        mask = _mask(source, index, grid)
        if mask is None:
            continue
        classes = patch_classes(mask, grid.shape[:2], source.ignored).reshape(-1)
        chosen = rng.permutation(np.flatnonzero(classes >= 0))[:share]
        features.append(grid.reshape(-1, grid.shape[-1])[chosen])
        labels.append(classes[chosen])
        if share * len(labels) >= max_patches:
            break
    if not sum(map(len, labels)):
        raise ValueError(f"{source.name} has no labelled patch in a picture that can be read.")
    return np.concatenate(features), np.concatenate(labels)


def confusion(
    embedder: Embedder, source: MaskedSource, params: Any, predict: Predict, majority: int
) -> tuple[Int64[np.ndarray, "c c"], Int64[np.ndarray, "c c"]]:
    """Pixels by (class, predicted class), for `predict` and for always saying `majority`.

    A patch's class holds for all its pixels. Ignored pixels are left out.
    """
    found = np.zeros((NUM_CLASSES, NUM_CLASSES), np.int64)
    for index, grid in enumerate(embedder.patches(params, source.records)):
        mask = _mask(source, index, grid)
        if mask is None:
            continue
        named = predict(grid.reshape(-1, grid.shape[-1])).reshape(grid.shape[:2])
        row, column = (
            patch_of_pixel(size, n) for size, n in zip(mask.shape, named.shape, strict=True)
        )
        labelled = ~np.isin(mask, source.ignored)
        pairs = mask[labelled].astype(np.int64) * NUM_CLASSES + named[np.ix_(row, column)][labelled]
        found += np.bincount(pairs, minlength=found.size).reshape(found.shape)
    always = np.zeros_like(found)
    always[:, majority] = found.sum(1)
    return found, always


def scores(confusion: Int64[np.ndarray, "c c"]) -> dict[str, float]:
    """Mean IoU (intersection over union) of classes that occur or are named; right pixels."""
    right = np.diag(confusion)
    union = confusion.sum(0) + confusion.sum(1) - right
    return {
        "miou": float(np.mean(right[union > 0] / union[union > 0])),
        "pixel_accuracy": float(right.sum() / confusion.sum()),
    }


def _mask(
    source: MaskedSource, index: int, grid: Float32[np.ndarray, "rows columns d"]
) -> UInt8[np.ndarray, "h w"] | None:
    """A record's mask; None where its picture or the mask cannot be read (logged)."""
    if not grid.size:
        return None
    try:
        return source.records.mask(index)
    except CorruptRecord as error:
        logging.warning("record skipped in evaluation: %s", error)
        return None
