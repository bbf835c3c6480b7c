"""The first statistics of a run's targets, from the moments of its first batches, on the host.

The other half is `losses.target_statistics`, which describes the kinds.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from cogvit_jax.hadamard import hadamard
from cogvit_jax.losses import target_statistics


def calibrate(
    kind: str, shift: Float[np.ndarray, " d"], moments: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Statistics of the kind, computed in float64, returned in float32.

    Where several hosts take part, one must compute and the others receive: eigenvectors are fixed
    but for their signs (and, where eigenvalues are equal, their mixture), which two hosts may
    choose differently.

    Args:
        kind: one of `target_statistics.KINDS`.
        shift: what `target_statistics.moments` subtracted.
        moments: its sums, added up over batches.

    Returns:
        A tree of the names and shapes of `target_statistics.init`.

    Raises:
        ConfigError: an unknown kind, or phi_s at a width without a Hadamard matrix.
        ValueError: moments of nothing, not finite, or of features that do not vary.
    """
    target_statistics.check_kind(kind)
    if kind not in ("ema_std", "phi_s"):
        return {}
    mean, covariance = mean_and_covariance(shift, moments)
    if kind == "ema_std":
        rounded = mean.astype(np.float32)
        rest = (mean - rounded).astype(np.float32)
        variance = np.maximum(np.diagonal(covariance), 0).astype(np.float32)
        return {"shift": rounded, "mean": rest, "variance": variance}
    return {"mean": mean.astype(np.float32), "rotation": phi_s(covariance).astype(np.float32)}


def phi_s(covariance: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "d d"]:
    """H U^T / sqrt(mean eigenvalue) (PHI-S, arXiv:2410.01680), in float64.

    Raises:
        ConfigError: no Hadamard matrix of this order is constructed.
    """
    d = len(covariance)
    mixing = hadamard(d) / np.sqrt(d)
    _, vectors = np.linalg.eigh(covariance)
    return mixing @ vectors.T / np.sqrt(np.trace(covariance) / d)


def mean_and_covariance(
    shift: Float[np.ndarray, " d"], moments: Mapping[str, Any]
) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, "d d"]]:
    """Mean and covariance (over count, not count - 1), in float64.

    Raises:
        ValueError: moments of nothing, not finite, or of features that do not vary.
    """
    count, total, outer = (np.asarray(moments[k], np.float64) for k in ("count", "sum", "outer"))
    if count < 1:
        raise ValueError("the moments are of 0 tokens: calibrate from at least one batch")
    if not (np.all(np.isfinite(total)) and np.all(np.isfinite(outer))):
        raise ValueError(
            f"the moments of {count:.0f} tokens are not finite: the teacher's features hold inf or "
            "nan, as with a wrong checkpoint or a dtype too narrow for it"
        )
    offset = total / count
    covariance = outer / count - offset[:, None] * offset[None, :]
    if not np.trace(covariance) > 0:
        raise ValueError(
            f"the features of {count:.0f} tokens do not vary: is the teacher's checkpoint loaded, "
            "and are its pictures not all alike?"
        )
    return np.asarray(shift, np.float64) + offset, covariance
