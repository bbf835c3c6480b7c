"""Distance between a student's predictions and a teacher's features, patch by patch.

Everything is a sum over tokens with their number beside it, never a mean, so that microbatches and
devices add up to the whole batch exactly, however many tokens are masked in each.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from cogvit_jax import settings

# Below this norm a vector counts as one of this norm, which bounds the cosine's gradient (it grows
# as 1 / norm). Features have norms near the square root of their width.
MIN_NORM = 1e-6

Terms = Sequence[tuple[str, float]]


class Distillation(NamedTuple):
    """A loss as sums; the first two are float32 scalars.

    Attributes:
        total: sum over the chosen tokens.
        weight: their number, 0 where nothing is masked; `total` is then 0 too.
        example_total, example_weight: both for each example, for a mean per source.
    """

    total: Float[Array, ""]
    weight: Float[Array, ""]
    example_total: Float[Array, " b"]
    example_weight: Float[Array, " b"]


def distillation(
    prediction: Float[Array, "b n d"],
    target: Float[Array, "b n d"],
    masked: Bool[Array, "b n"],
    *,
    terms: Terms = (("cosine", 0.5), ("smooth_l1", 0.5)),
    tokens: str = "masked",
) -> Distillation:
    """Sum of a mix of distances over the masked tokens, or over all.

    Args:
        prediction: the student's, after its head, in any float type.
        target: the teacher's normalised features.
        masked: the tokens that the student did not see.
        terms: (distance, weight) pairs, see `mix`. The default is UNIC's (arXiv:2408.05088).
        tokens: "masked" (EVA-02, MaskDistill) or "all" (UNIC, where nothing is masked).

    Raises:
        ConfigError: unknown `tokens`, or terms that `mix` refuses.
        ValueError: shapes that differ.
    """
    if target.shape != prediction.shape or masked.shape != prediction.shape[:2]:
        raise ValueError(
            f"prediction is {prediction.shape}, target {target.shape}, masked {masked.shape}; "
            "expected [b, n, d], [b, n, d] and [b, n]: student and teacher must have equally many "
            "patches, and the head must be as wide as the teacher"
        )
    whole = {"masked": masked, "all": jnp.ones_like(masked)}
    chosen = settings.choose(whole, tokens, "config.loss.tokens")
    distances = jnp.where(chosen, mix(terms, prediction, target), 0.0)
    example_total = jnp.sum(distances, axis=1)
    example_weight = jnp.sum(chosen, axis=1, dtype=jnp.float32)
    return Distillation(
        jnp.sum(example_total), jnp.sum(example_weight), example_total, example_weight
    )


def mix(
    terms: Terms, prediction: Float[Array, "b n d"], target: Float[Array, "b n d"]
) -> Float[Array, "b n"]:
    """Weighted sum of distances of each token, from (distance, weight) pairs.

    Raises:
        ConfigError: no terms, an unknown distance or a negative weight.
    """
    if not terms:
        raise settings.ConfigError(
            "config.loss.terms is empty: give at least one (distance, weight), such as "
            f"('cosine', 1.0). Distances: {', '.join(DISTANCES)}."
        )
    for kind, weight in terms:
        if weight < 0:
            raise settings.ConfigError(
                f"config.loss.terms gives {kind!r} the weight {weight}; expected 0 or more."
            )
    return sum(
        (weight * distance(kind, prediction, target) for kind, weight in terms),
        start=jnp.zeros(prediction.shape[:2], jnp.float32),
    )


def distance(
    kind: str, prediction: Float[Array, "b n d"], target: Float[Array, "b n d"]
) -> Float[Array, "b n"]:
    """Distance of each token, a key of `DISTANCES`, in float32 whatever the inputs' types.

    Raises:
        ConfigError: an unknown distance.
    """
    measure = settings.choose(DISTANCES, kind, "config.loss.terms")
    return measure(prediction.astype(jnp.float32), target.astype(jnp.float32))


def cosine(prediction: Float[Array, "b n d"], target: Float[Array, "b n d"]) -> Float[Array, "b n"]:
    """1 - cos of the angle between them, from 0 to 2 (EVA-02, arXiv:2303.11331, less its 1).

    1 where either is a zero vector; the gradient there is that of a vector of norm `MIN_NORM`.
    """
    return 1 - jnp.sum(_unit(prediction) * _unit(target), axis=-1)


def smooth_l1(
    prediction: Float[Array, "b n d"], target: Float[Array, "b n d"]
) -> Float[Array, "b n"]:
    """Mean over channels of e^2 / 2 where |e| < 1, else |e| - 1/2 (arXiv:1504.08083, eq. 3)."""
    size = jnp.abs(prediction - target)
    return jnp.mean(jnp.where(size < 1, 0.5 * jnp.square(size), size - 0.5), axis=-1)


def mse(prediction: Float[Array, "b n d"], target: Float[Array, "b n d"]) -> Float[Array, "b n"]:
    """Mean over channels of the squared error."""
    return jnp.mean(jnp.square(prediction - target), axis=-1)


DISTANCES: Mapping[str, Callable[[Array, Array], Array]] = {
    "cosine": cosine,
    "smooth_l1": smooth_l1,
    "mse": mse,
}


def _unit(x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
    """`x` over its norm. The maximum is taken before the root, whose slope at 0 is infinite."""
    square = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    return x / jnp.sqrt(jnp.maximum(square, MIN_NORM**2))
