"""Muon: momentum whose matrices are orthogonalised (Keller Jordan et al., 2024).

Newton-Schulz iterations on a matrix that is split over chips would exchange data in every product,
and on replicated matrices every chip would repeat all of the work. `matrices.map_matrices` gives
each chip whole matrices, its share of all, and nothing is exchanged during the iterations.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding
from jaxtyping import Array, Float

from cogvit_jax import tree
from cogvit_jax.matrices import MatrixDims, map_matrices


class MuonState(NamedTuple):
    """Updates so far (int32 scalar), and the momentum of each parameter."""

    count: Any
    mu: Any


@dataclasses.dataclass(frozen=True)
class Iterations:
    """Newton-Schulz iterations `x <- a x + (b (x x') + c (x x')²) x`.

    Attributes:
        coefficients: (a, b, c) of each iteration.
        headroom: the matrix is first divided by `headroom` times its Frobenius norm.
    """

    coefficients: tuple[tuple[float, float, float], ...]
    headroom: float = 1.0


NEWTON_SCHULZ = {
    # Keller Jordan, https://kellerjordan.github.io/posts/muon; repeated as often as wanted. Five
    # bring singular values from 0.003 of the norm into 0.68 to 1.21.
    "quintic": Iterations(((3.4445, -4.7750, 2.0315),)),
    # Polar Express, arXiv:2505.16932: of all compositions the nearest to 1 in the worst case. The
    # five belong together and are for bfloat16, from https://github.com/microsoft/dion: from 0.001
    # of the norm into 0.84 to 1.15.
    "polar_express": Iterations(
        (
            (8.1566, -22.4833, 15.8788),
            (4.0429, -2.8089, 0.5000),
            (3.8917, -2.7725, 0.5061),
            (3.2858, -2.3681, 0.4645),
            (2.3465, -1.7098, 0.4232),
        ),
        headroom=1.02,
    ),
    # Dion, arXiv:2504.05295, as in optax.contrib.muon: from 0.003 of the norm into 0.97 to 1.15.
    "dion": Iterations(
        (
            (4.0848, -6.8946, 2.9270),
            (3.9505, -6.3029, 2.6377),
            (3.7418, -5.5913, 2.3037),
            (2.8769, -3.1427, 1.2046),
            (2.8366, -3.0525, 1.2012),
        )
    ),
}


def newton_schulz(
    x: Float[Array, "n r c"], iterations: Iterations, dtype: Any = jnp.float32, eps: float = 1e-8
) -> Float[Array, "n r c"]:
    """Moves the singular values of n matrices, r <= c, towards 1; a zero matrix stays zero.

    Operands have `dtype`; products accumulate in f32, and f32 operands are multiplied as such.
    """
    matmul = functools.partial(
        jnp.matmul,
        precision=jax.lax.Precision.HIGHEST if dtype == jnp.float32 else None,
        preferred_element_type=jnp.float32,
    )
    x = x.astype(jnp.float32)
    norm = jnp.sqrt(jnp.sum(jnp.square(x), axis=(1, 2), keepdims=True))
    x = (x / (iterations.headroom * norm + eps)).astype(dtype)
    for a, b, c in iterations.coefficients:
        gram = matmul(x, x.mT)
        rounded = gram.astype(dtype)
        polynomial = b * gram + c * matmul(rounded, rounded)
        x = (a * x.astype(jnp.float32) + matmul(polynomial.astype(dtype), x)).astype(dtype)
    return x


def scale_by_muon(
    iterations: Iterations,
    matrix_dims: Callable[[str, Any], MatrixDims],
    *,
    beta: float = 0.95,
    bias_correction: bool = True,
    dtype: Any = jnp.float32,
    shardings: Mapping[str, NamedSharding] | None = None,
) -> optax.GradientTransformation:
    """Nesterov momentum, orthogonalised and scaled by sqrt(max(rows, columns)).

    With that scale an update's root mean square is 1 where all singular values are 1
    (arXiv:2502.16982, equation 4 without its 0.2).

    Args:
        iterations: see NEWTON_SCHULZ.
        matrix_dims: (name, array) -> which dims of a parameter are its matrices'.
        beta: of the momentum, an average of gradients.
        bias_correction: of momentum and gradient as in NAdam and optax.contrib.muon; without it
            early updates weigh the newest gradient more, as in Keller Jordan's.
        dtype: of the iterations' operands and of what chips exchange; the momentum has the
            parameters'.
        shardings: name -> where a parameter and its gradient live; None = on one device.
    """

    def orthogonalize(x: Array) -> Array:
        with jax.named_scope("newton_schulz"):
            return newton_schulz(x, iterations, dtype)

    def init(params: Any) -> MuonState:
        return MuonState(jnp.zeros((), jnp.int32), optax.tree.zeros_like(params))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, MuonState]:
        count = optax.safe_increment(state.count)
        mu = jax.tree.map(lambda m, g: beta * m + (1 - beta) * g, state.mu, updates)
        old, new = beta, 1 - beta
        if bias_correction:
            old, new = old / (1 - beta ** (count + 1)), new / (1 - beta**count)
        ahead = jax.tree.map(lambda m, g: old * m + new * g, mu, updates)
        arrays = {name: x.astype(dtype) for name, x in tree.named_leaves(ahead)}
        dims = {name: matrix_dims(name, x) for name, x in arrays.items()}
        done = map_matrices(orthogonalize, arrays, dims, shardings)

        def scale(name: str, x: Array) -> Array:
            return _longer_side(x, dims[name]) ** 0.5 * done[name].astype(x.dtype)

        return tree.map_named(scale, ahead), MuonState(count, mu)

    return optax.GradientTransformation(init, update)


def _longer_side(x: Array, dims: MatrixDims) -> int:
    return max(math.prod(x.shape[d] for d in side) for side in dims)
