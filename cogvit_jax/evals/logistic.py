"""Multinomial logistic regression on frozen features, with the L2 strength chosen on a split."""

import warnings
from collections.abc import Callable

import numpy as np
from jaxtyping import Float32, Int

ITERATIONS = 1000  # CLIP's, arXiv:2103.00020, appendix A.3
Predict = Callable[[Float32[np.ndarray, "m d"]], Int[np.ndarray, "m"]]


def fit_logistic(
    features: Float32[np.ndarray, "n d"],
    labels: Int[np.ndarray, "n"],
    strength: float = 1.0,
    iterations: int = ITERATIONS,
) -> Predict:
    """Fits on standardised features; returns features -> classes.

    Minimises the sum of cross entropies plus half the squared norm of the weights over `strength`
    (scikit-learn's C), by L-BFGS. Dims that do not vary are left as they are.

    Raises:
        ValueError: fewer than two classes.
    """
    # Importing scikit-learn takes a second that runs without probes need not wait.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(labels)) < 2:
        raise ValueError(
            f"a linear probe needs two classes or more; {len(labels)} labels hold "
            f"{np.unique(labels).tolist()}"
        )
    mean, std = features.mean(0), features.std(0)
    std = np.where(std > 1e-6 * np.abs(mean), std, 1)
    # Stopping at the limit is the protocol, not a fault.
    warnings.filterwarnings("ignore", category=ConvergenceWarning)
    model = LogisticRegression(C=strength, max_iter=iterations)
    model.fit((features - mean) / std, labels)
    return lambda x: np.asarray(model.predict((x - mean) / std))


def sweep_strength(
    features: Float32[np.ndarray, "n d"],
    labels: Int[np.ndarray, "n"],
    resolution: float = 0.5,
    seed: int = 0,
) -> float:
    """The strength C with the best accuracy on a held-out fifth of each class.

    As CLIP (arXiv:2103.00020, appendix A.3): C among 1e-6, 1e-4, …, 1e6, then the step in the
    exponent around the best is halved from 1 down to `resolution` (CLIP: 0.125). Unlike CLIP, the
    first pass ends after two values below the best one, since weak regularisation takes most of
    the time. Of equally good ones the smallest, most regularised. Where no class has five
    members there is nothing to choose on: 1.
    """
    chosen = validation_split(labels, seed)
    if not chosen.any() or len(np.unique(labels[~chosen])) < 2:
        return 1.0
    scores: dict[float, float] = {}

    def score(exponent: float) -> float:
        if exponent not in scores:
            predict = fit_logistic(features[~chosen], labels[~chosen], 10.0**exponent)
            scores[exponent] = float(np.mean(predict(features[chosen]) == labels[chosen]))
        return scores[exponent]

    worse = 0
    for exponent in (-6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0):
        worse = worse + 1 if score(exponent) < max(scores.values()) else 0
        if worse == 2:
            break
    best, step = min(scores, key=lambda e: (-scores[e], e)), 1.0
    while step >= resolution:
        near = [e for e in (best - step, best, best + step) if -6 <= e <= 6]
        best, step = min(near, key=lambda e: (-score(e), e)), step / 2
    return 10.0**best


def validation_split(labels: Int[np.ndarray, "n"], seed: int) -> np.ndarray:
    """A random fifth of each class, rounded down, as `bool [n]`."""
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        chosen[members[: len(members) // 5]] = True
    return chosen
