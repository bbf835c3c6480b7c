"""Hadamard matrices of all widths that teachers have."""

import numpy as np
import pytest

from cogvit_jax import hadamard
from cogvit_jax.settings import ConfigError

TEACHERS = (108, 128, 192, 384, 768, 1024, 1152, 1280, 1408, 1536, 1664, 4096)


@pytest.mark.parametrize("n", [1, 2, 4, 8, 12, 20, 24, 28, 36, 60, *TEACHERS])
def test_rows_are_orthogonal(n):
    matrix = hadamard.hadamard(n)
    assert matrix.shape == (n, n)
    assert np.all(np.abs(matrix) == 1)
    wide = matrix.astype(np.float32)  # integers below 2^24 are exact in float32
    np.testing.assert_array_equal(wide @ wide.T, n * np.eye(n, dtype=np.float32))


def test_both_constructions_and_doubling_are_used():
    assert hadamard.factor(1)[1] == "one"
    assert hadamard.factor(108) == (0, "paley1", 107)
    assert hadamard.factor(36) == (0, "paley2", 17)
    assert hadamard.factor(768) == (1, "paley1", 383)


@pytest.mark.parametrize(
    ("n", "why"),
    [*((n, "none exists") for n in (0, -4, 6, 81)), (92, "none is constructed")],
)
def test_others_name_the_remedy(n, why):
    with pytest.raises(ConfigError, match=rf"width {n}, and {why}.*choose 'ema_std'"):
        hadamard.factor(n)
    with pytest.raises(ConfigError):
        hadamard.hadamard(n)
