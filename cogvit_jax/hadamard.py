"""Hadamard matrices: entries +1 and -1, rows orthogonal to each other.

A matrix of order n exists only for n = 1, 2 and multiples of 4. Built here are those of orders
2^k m, where m is 1 or comes from a prime q by Paley's constructions (J. Math. Phys. 12, 1933):
m = q + 1 for q = 3 mod 4 (I), m = 2 (q + 1) for q = 1 mod 4 (II). The widths of the usual vision
encoders are among them.
"""

import numpy as np
from jaxtyping import Int8

from cogvit_jax.settings import ConfigError

_PLUS = np.array([[1, 1], [1, -1]], np.int8)
_ZERO = np.array([[1, -1], [-1, -1]], np.int8)


def hadamard(n: int) -> Int8[np.ndarray, "n n"]:
    """A Hadamard matrix H of order n: H H^T = n I.

    Raises:
        ConfigError: as `factor`.
    """
    doublings, construction, q = factor(n)
    builders = {"one": lambda q: np.ones((1, 1), np.int8), "paley1": _paley1, "paley2": _paley2}
    matrix = builders[construction](q)
    for _ in range(doublings):
        matrix = np.kron(_PLUS, matrix)
    return matrix


def factor(n: int) -> tuple[int, str, int]:
    """How the matrix of order n is built, without building it: for a check at the start.

    Returns:
        Number of Sylvester doublings, the construction of what is doubled ("one", "paley1" or
        "paley2") and its prime q (0 for "one").

    Raises:
        ConfigError: no such matrix exists, or none of these constructions gives one.
    """
    order, doublings = n, 0
    while order > 0:
        if order == 1:
            return doublings, "one", 0
        if (order - 1) % 4 == 3 and _is_prime(order - 1):
            return doublings, "paley1", order - 1
        if order % 4 == 0 and (order // 2 - 1) % 4 == 1 and _is_prime(order // 2 - 1):
            return doublings, "paley2", order // 2 - 1
        if order % 2:
            break
        order, doublings = order // 2, doublings + 1
    raise ConfigError(
        f"phi_s needs a Hadamard matrix of the teacher's width {n}, and "
        + ("none exists (1, 2 or a multiple of 4)" if n < 1 or n % 4 else "none is constructed")
        + ": choose 'ema_std' as this teacher's config.teachers.<name>.normalize."
    )


def _paley1(q: int) -> Int8[np.ndarray, "n n"]:
    """I + S with S skew-symmetric and S S^T = q I."""
    matrix = _conference(q)
    matrix[1:, 0] = -1
    return matrix + np.eye(q + 1, dtype=np.int8)


def _paley2(q: int) -> Int8[np.ndarray, "n n"]:
    """S symmetric, S S^T = q I: each entry becomes 2 x 2, with another one for the diagonal's 0."""
    return np.kron(_conference(q), _PLUS) + np.kron(np.eye(q + 1, dtype=np.int8), _ZERO)


def _conference(q: int) -> Int8[np.ndarray, "n n"]:
    """Bordered by ones: the Legendre symbols of all differences modulo q."""
    symbols = np.full(q, -1, np.int8)
    symbols[np.arange(q, dtype=np.int64) ** 2 % q] = 1
    symbols[0] = 0
    indices = np.arange(q)
    matrix = np.ones((q + 1, q + 1), np.int8)
    matrix[0, 0] = 0
    matrix[1:, 1:] = symbols[(indices[:, None] - indices[None, :]) % q]
    return matrix


def _is_prime(q: int) -> bool:
    return q > 1 and all(q % divisor for divisor in range(2, int(q**0.5) + 1))
