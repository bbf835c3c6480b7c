"""Classification with frozen features: k nearest neighbours, and a linear probe.

Both say how well classes lie apart in the features of an encoder that was never told of them.
Figures to compare with: the same on pixels, and on the same encoder with random weights.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jaxtyping import Array, Float, Float32, Int

from cogvit_jax.data.records import CorruptRecord, Record, Records, Source
from cogvit_jax.data.transforms import decode_image, resize
from cogvit_jax.evals.embed import Embedder, usable_records
from cogvit_jax.evals.logistic import fit_logistic, sweep_strength

SIMILARITIES = 2**26  # cosines held at a time: 256 MiB in f32


class Labelled(NamedTuple):
    """Features `[n, d]` with their classes `[n]`."""

    features: Float32[np.ndarray, "n d"]
    labels: Int[np.ndarray, "n"]


Accuracy = Callable[[Labelled, Labelled], float]


def knn(
    train: Float32[np.ndarray, "n d"],
    labels: Int[np.ndarray, "n"],
    test: Float32[np.ndarray, "m d"],
    k: int = 20,
    temperature: float = 0.07,
) -> Int[np.ndarray, "m"]:
    """Predicts classes by votes of the nearest features, weighted `exp(cosine / temperature)`.

    As in DINO (arXiv:2104.14294, appendix F), after Wu et al. (arXiv:1805.01978, sec. 3.4). Of
    equally near neighbours the first count, of equally voted classes the lowest: a collapsed
    encoder scores as chance. `k` above n means all.

    Raises:
        ValueError: no training features, labels below 0, or k below 1.
    """
    if not len(train) or k < 1 or labels.min() < 0:
        raise ValueError(
            f"kNN needs k >= 1, training features and their labels >= 0; got k={k}, {len(train)} "
            f"features, lowest label {labels.min() if len(labels) else 'none'}"
        )
    bank, k = jnp.asarray(_unit(train)), min(k, len(train))
    chunk = min(len(test), max(1, SIMILARITIES // len(train)))
    votes = partial(
        _votes,
        bank,
        jnp.asarray(labels),
        k=k,
        temperature=temperature,
        classes=int(labels.max()) + 1,
    )
    found = [votes(_unit(test[i : i + chunk])) for i in range(0, len(test), chunk)]
    return np.concatenate([np.argmax(v, axis=1) for v in found] or [np.zeros(0, int)])


@partial(jax.jit, static_argnames=("k", "classes"))
def _votes(
    train: Float[Array, "n d"],
    labels: Int[Array, "n"],
    test: Float[Array, "m d"],
    k: int,
    temperature: float | Float[Array, ""],
    classes: int,
) -> Float[Array, "m c"]:
    # TPUs multiply f32 in bf16 unless told otherwise, which reorders near neighbours.
    cosines = jnp.einsum("md,nd->mn", test, train, precision=jax.lax.Precision.HIGHEST)
    nearest, index = jax.lax.top_k(cosines, k)
    weights = jnp.exp((nearest - 1) / temperature)  # less than 1, so that none overflows
    rows = jnp.arange(len(test))[:, None]
    return jnp.zeros((len(test), classes)).at[rows, labels[index]].add(weights)


def _unit(x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float32)
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def knn_accuracy(
    train: Labelled, heldout: Labelled, k: int = 20, temperature: float = 0.07
) -> float:
    """Share of held-out features whose class `knn` finds."""
    predicted = knn(train.features, train.labels, heldout.features, k, temperature)
    return float(np.mean(predicted == heldout.labels))


def linear_accuracy(train: Labelled, heldout: Labelled) -> float:
    """Share of held-out features that a logistic regression on standardised features gets right.

    As CLIP's linear probe (arXiv:2103.00020, appendix A.3): L-BFGS, the L2 strength chosen on a
    fifth of the training set, then fitted on all of it. Unlike there, features are standardised,
    so that one range of strengths suits features of any scale.
    """
    strength = sweep_strength(train.features, train.labels)
    predict = fit_logistic(train.features, train.labels, strength)
    return float(np.mean(predict(heldout.features) == heldout.labels))


def knn_probe(embedder: Embedder, train: Source, heldout: Source, params: Any) -> dict[str, float]:
    """{"knn": accuracy on the labelled pictures of `heldout`, neighbours from `train`}."""
    embed = partial(embedder.images, params)
    return {"knn": knn_accuracy(labelled(train, embed), labelled(heldout, embed))}


def linear_probe(
    embedder: Embedder, train: Source, heldout: Source, params: Any
) -> dict[str, float]:
    """{"linear_probe": accuracy on `heldout` of a classifier fitted on `train`}."""
    embed = partial(embedder.images, params)
    return {"linear_probe": linear_accuracy(labelled(train, embed), labelled(heldout, embed))}


def with_baselines(
    accuracy: Accuracy,
    embedder: Embedder,
    sets: Mapping[str, tuple[Source, Source]],
    random_params: Callable[[], Any] | None = None,
    pixel_sides: Sequence[int] = (),
) -> Callable[[Any], dict[str, float]]:
    """An evaluator of several (train, heldout) sets, with what a trained encoder must beat.

    Example:
        evaluators["knn"] = with_baselines(knn_accuracy, embedder, {"digits": (train, heldout)},
                                           partial(init, key), pixel_sides=(8, 32))
        logs knn/digits, knn/digits_random_encoder, knn/digits_pixels_8 and knn/digits_pixels_32.

    Args:
        accuracy: `knn_accuracy` or `linear_accuracy`.
        embedder: of the encoder.
        sets: name -> (train, heldout).
        random_params: makes parameters of the same encoder, untrained; None = not shown.
        pixel_sides: pictures become this many pixels per side for baselines on pixels. Baselines
            are computed once, on the first call.
    """
    constant: dict[str, float] = {}

    def score(name: str, embed: Callable[[Any], Any]) -> float:
        train, heldout = sets[name]
        return accuracy(labelled(train, embed), labelled(heldout, embed))

    def baselines() -> dict[str, float]:
        found = {}
        for side in pixel_sides:
            pixels = partial(pixel_features, side=side)
            found |= {f"{name}_pixels_{side}": score(name, pixels) for name in sets}
        if random_params is not None:
            images = partial(embedder.images, random_params())
            found |= {f"{name}_random_encoder": score(name, images) for name in sets}
        return found

    def evaluate(params: Any) -> dict[str, float]:
        if not constant:
            constant.update(baselines())
        return {name: score(name, partial(embedder.images, params)) for name in sets} | constant

    return evaluate


def labelled(source: Source, embed: Callable[[Any], Any]) -> Labelled:
    """Features of a source's readable pictures that have a class.

    Args:
        source: labels of -1 are left out.
        embed: records -> (features `[n, d]`, which are usable `[n]`).

    Raises:
        ValueError: none has a class, or none can be decoded.
    """
    records = [r for r in usable_records(source) if r.label >= 0]
    if not records:
        raise ValueError(f"{source.name} has no labelled records: probes need classes.")
    features, usable = embed(records)
    if not usable.any():
        raise ValueError(f"{source.name}: none of {len(records)} labelled pictures can be decoded.")
    labels = np.asarray([r.label for r in records])
    return Labelled(features[usable], labels[usable])


def pixel_features(
    records: Sequence[Record] | Records, side: int
) -> tuple[Float32[np.ndarray, "n d"], np.ndarray]:
    """Pixels as features: resized to `side` x `side`, flattened, 0 to 1.

    Returns:
        features `[n, side * side * 3]`, and which rows hold a usable picture (`bool [n]`).
    """
    rows = np.zeros((len(records), side * side * 3), np.float32)
    usable = np.zeros(len(records), bool)
    for i in range(len(records)):
        try:
            image = decode_image(records[i].image, min_side=side)
        except CorruptRecord as error:
            logging.warning("record skipped in evaluation: %s", error)
            continue
        rows[i], usable[i] = resize(image, (side, side)).reshape(-1) / np.float32(255), True
    return rows, usable
