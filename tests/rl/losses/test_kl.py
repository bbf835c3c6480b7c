"""What the estimates do as losses, by exact expectations over a vocabulary of six."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rl.losses import kl
from tests.rl.losses.divergences import reverse_kl

VOCAB = 6
CLOSE = {"atol": 2e-6, "rtol": 2e-5}


@pytest.fixture(scope="module")
def policies():
    """Logits of the policy, and log-probabilities of the reference and of a third policy."""
    logits = jax.random.normal(jax.random.key(0), (3, VOCAB))
    return logits[0], jax.nn.log_softmax(logits[1]), jax.nn.log_softmax(logits[2])


def expected_gradient(loss, logits, drawn_from):
    """Of `loss` of every token's log-probability, over tokens that are held fixed."""
    probabilities = jax.lax.stop_gradient(jnp.exp(drawn_from))
    return jax.grad(lambda z: jnp.dot(probabilities, loss(jax.nn.log_softmax(z)[None])[0]))(logits)


def gradient_of(divergence, logits):
    return jax.grad(lambda z: divergence(jax.nn.log_softmax(z)))(logits)


@pytest.mark.parametrize(
    ("name", "direction"),
    [
        ("k1", "none"),
        ("k2", "reverse"),
        ("k3", "forward"),
        ("k1_straight", "reverse"),
        ("k3_straight", "reverse"),
    ],
)
def test_expected_gradients(policies, name, direction):
    logits, ref, _ = policies
    right = {
        "none": jnp.zeros(VOCAB),
        "reverse": gradient_of(lambda x: reverse_kl(x, ref), logits),
        "forward": gradient_of(lambda x: reverse_kl(ref, x), logits),
    }
    found = expected_gradient(
        lambda x: kl.ESTIMATORS[name](x, ref[None]), logits, jax.nn.log_softmax(logits)
    )
    np.testing.assert_allclose(found, right.pop(direction), **CLOSE)
    for other in right.values():
        assert np.abs(found - other).max() > 0.05


@pytest.mark.parametrize("name", kl.ESTIMATORS)
def test_expected_values(policies, name):
    logits, ref, _ = policies
    logprobs = jax.nn.log_softmax(logits)
    mean = jnp.dot(jnp.exp(logprobs), kl.ESTIMATORS[name](logprobs[None], ref[None])[0])
    exact = reverse_kl(logprobs, ref)
    if name == "k2":
        assert abs(mean - exact) > 0.05
    else:
        np.testing.assert_allclose(mean, exact, **CLOSE)


@pytest.mark.parametrize("name", ["k1", "k3"])
def test_the_ratio_makes_samples_of_another_policy_right(policies, name):
    logits, ref, other = policies

    def weighted(logprobs):
        estimate = kl.ESTIMATORS[name](logprobs, ref[None])
        return kl.ratio_weighted(estimate, logprobs, other[None])

    right = gradient_of(lambda x: reverse_kl(x, ref), logits)
    np.testing.assert_allclose(expected_gradient(weighted, logits, other), right, **CLOSE)
    value = jnp.dot(jnp.exp(other), weighted(jax.nn.log_softmax(logits)[None])[0])
    np.testing.assert_allclose(value, reverse_kl(jax.nn.log_softmax(logits), ref), **CLOSE)
    plain = expected_gradient(lambda x: kl.ESTIMATORS[name](x, ref[None]), logits, other)
    assert np.abs(plain - right).max() > 0.05


def test_k3_of_nearly_equal_policies_is_not_lost():
    """As e^-d - 1 + d in float32 it would be rounding noise."""
    gap = jnp.array([[1e-3, -1e-3]])
    np.testing.assert_allclose(kl.k3(gap, jnp.zeros((1, 2))), [[4.998e-7, 5.002e-7]], atol=3e-10)
