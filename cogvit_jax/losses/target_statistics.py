"""Normalised targets, with statistics of the teacher's features that are part of the state.

Teachers' features differ in scale by orders of magnitude, between teachers and between channels,
so that without normalisation one teacher, or a few channels, would be the whole loss. Kinds:

    none        the features as they are
    layer_norm  each token over its channels, no parameters (MaskDistill arXiv:2210.10615, data2vec
                arXiv:2202.03555)
    ema_std     each channel less its running mean, over its running standard deviation (UNIC
                arXiv:2408.05088)
    phi_s       W (x - mean), W = H U^T / sqrt(mean eigenvalue), with the covariance's eigenvectors
                U and a Hadamard matrix H over sqrt(d) (PHI-S, arXiv:2410.01680)

With C = U diag(l) U^T the features of phi_s have covariance H diag(l) H^T / mean(l), whose diagonal
is 1 since all entries of H are +-1 / sqrt(d): every channel has variance 1, and yet W is a rotation
times one number, so that errors in all directions of the teacher's space count alike. A rotation is
fixed once calibrated: eigenvectors follow the data without continuity (two that change places, or
a sign, turn all targets), and a head would have to chase targets that move though no feature did.
`ema_std` follows the data, since a mean and a scale change little and smoothly.

A run is calibrated from its first batches: `moments` on the devices, then on the host
`target_calibration.calibrate`. After that `observe` and `update` are part of the step. All sums
are plain ones, which add over microbatches, devices and hosts.

Float32 keeps a channel of mean 1000 and deviation 0.1 accurate only if large numbers are subtracted
before anything is summed, and if a mean that moves by less than its own rounding can be kept. So
sums are of differences, and `ema_std` keeps its mean as a fixed `shift` and a small `mean` from it.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cogvit_jax import settings

KINDS = ("none", "layer_norm", "ema_std", "phi_s")
FIELD = "config.teachers.<name>.normalize"
LAYER_NORM_EPS = 1e-5
# Of the mean variance. Where a channel is constant, float32's rounding of numbers of the teacher's
# typical size then stays below 0.01; where a few channels hold nearly all the variance, as those of
# large transformers do, the others still get variance 1.
VARIANCE_FLOOR = 1e-10

Statistics = dict[str, Array]


def init(kind: str, dim: int) -> Statistics:
    """Statistics that leave features as they are; shows their names and shapes.

    Raises:
        ConfigError: an unknown kind.
    """
    check_kind(kind)
    zeros, ones = jnp.zeros((dim,), jnp.float32), jnp.ones((dim,), jnp.float32)
    if kind == "ema_std":
        return {"shift": zeros, "mean": zeros, "variance": ones}
    if kind == "phi_s":
        return {"mean": zeros, "rotation": jnp.eye(dim, dtype=jnp.float32)}
    return {}


def check_kind(kind: str) -> None:
    """Raises ConfigError on an unknown kind."""
    if kind not in KINDS:
        raise settings.ConfigError(settings.unknown(f"{FIELD} = {kind!r}", kind, KINDS))


def moments(features: Float[Array, "b n d"], shift: Float[Array, " d"]) -> dict[str, Array]:
    """Sums over all tokens from which `target_calibration.calibrate` computes statistics.

    Args:
        features: one batch of a teacher's.
        shift: near the mean, the same for all batches whose sums are added: the mean of the first.

    Returns:
        "count" [], "sum" [d] and "outer" [d, d] of x - shift, float32.
    """
    x = features.astype(jnp.float32) - shift[None, None]
    outer = jnp.einsum("bnd,bne->de", x, x, precision=jax.lax.Precision.HIGHEST)
    return {"count": _count(features), "sum": jnp.sum(x, axis=(0, 1)), "outer": outer}


def observe(kind: str, features: Float[Array, "b n d"], statistics: Statistics) -> dict[str, Array]:
    """What `update` needs of a batch, or of a part of it: sums over all tokens, float32.

    {"count" [], "sum" [d], "square" [d]} of x - running mean for ema_std; {} for kinds whose
    statistics do not follow the data.
    """
    check_kind(kind)
    if kind != "ema_std":
        return {}
    x = _centred(features, statistics)
    return {
        "count": _count(features),
        "sum": jnp.sum(x, axis=(0, 1)),
        "square": jnp.sum(jnp.square(x), axis=(0, 1)),
    }


def update(
    kind: str, statistics: Statistics, sums: dict[str, Array], rate: Array | float
) -> Statistics:
    """Mean and variance of the mixture of (1 - rate) of the past and `rate` of the batch.

    With the batch's mean at delta from the running mean, and s its second moment about that mean,

        mean' = mean + rate delta        variance' = (1 - rate) variance + rate s - (rate delta)^2

    which is exact: the last term is what the mean's own move takes from the second moments.

    Args:
        statistics: as they were when `sums` were observed.
        sums: of the whole batch; a count of 0 changes nothing.
        rate: in [0, 1]. UNIC's falls from 1 to 0.001; a calibrated run needs no such start.
    """
    check_kind(kind)
    if kind != "ema_std":
        return statistics
    count = jnp.maximum(sums["count"], 1)
    rate = jnp.where(sums["count"] > 0, jnp.asarray(rate, jnp.float32), 0.0)
    delta, second = sums["sum"] / count, sums["square"] / count
    variance = statistics["variance"] + rate * (
        second - statistics["variance"] - rate * jnp.square(delta)
    )
    return {
        "shift": statistics["shift"],
        "mean": statistics["mean"] + rate * delta,
        "variance": jnp.maximum(variance, 0),
    }


def normalize(
    kind: str, features: Float[Array, "b n d"], statistics: Statistics
) -> Float[Array, "b n d"]:
    """The targets, float32.

    Raises:
        ConfigError: an unknown kind.
    """
    check_kind(kind)
    x = features.astype(jnp.float32)
    if kind == "layer_norm":
        x = x - jnp.mean(x, axis=-1, keepdims=True)
        variance = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
        return x / jnp.sqrt(variance + LAYER_NORM_EPS)
    if kind == "ema_std":
        return _centred(x, statistics) / _deviation(statistics)
    if kind == "phi_s":
        return _rotate(x - statistics["mean"][None, None], statistics["rotation"].T)
    return x


def denormalize(
    kind: str, features: Float[Array, "b n d"], statistics: Statistics
) -> Float[Array, "b n d"]:
    """The inverse of `normalize`: predictions in the teacher's own space, for pictures of them.

    Raises:
        ConfigError: an unknown kind.
        ValueError: layer_norm, which keeps no token's mean and deviation.
    """
    check_kind(kind)
    if kind == "layer_norm":
        raise ValueError(
            "layer_norm has no inverse: it keeps no token's mean and deviation; compare with the "
            "normalised features instead"
        )
    x = features.astype(jnp.float32)
    if kind == "ema_std":
        x = x * _deviation(statistics) + statistics["mean"][None, None]
        return x + statistics["shift"][None, None]
    if kind == "phi_s":
        rotation = statistics["rotation"]
        # All rows have the same norm, 1 / sqrt(mean eigenvalue).
        inverse = rotation / (jnp.sum(jnp.square(rotation)) / len(rotation))
        return _rotate(x, inverse) + statistics["mean"][None, None]
    return x


def _count(features: Float[Array, "b n d"]) -> Float[Array, ""]:
    return jnp.full((), features.shape[0] * features.shape[1], jnp.float32)


def _centred(features: Float[Array, "b n d"], statistics: Statistics) -> Float[Array, "b n d"]:
    """Less `shift` first: near its mean a feature then loses no digit."""
    x = features.astype(jnp.float32) - statistics["shift"][None, None]
    return x - statistics["mean"][None, None]


def _deviation(statistics: Statistics) -> Float[Array, "1 1 d"]:
    variance = statistics["variance"]
    floor = VARIANCE_FLOOR * jnp.mean(variance) + jnp.finfo(jnp.float32).tiny
    return jnp.sqrt(variance + floor)[None, None]


def _rotate(x: Float[Array, "b n d"], matrix: Float[Array, "d d"]) -> Float[Array, "b n d"]:
    return jnp.einsum("bnd,de->bne", x, matrix, precision=jax.lax.Precision.HIGHEST)
