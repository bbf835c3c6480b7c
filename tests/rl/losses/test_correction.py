"""Weights make samples of another policy unbiased; by exact expectations over all samples."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rl import algorithm
from rl.losses import correction
from rl.losses.aggregate import Layout
from rl.losses.loss import policy_loss

VOCAB, TOKENS = 3, 2
SAMPLES = np.array(list(itertools.product(range(VOCAB), repeat=TOKENS)))  # all there are
CLOSE = {"atol": 2e-6, "rtol": 2e-5}


@pytest.fixture(scope="module")
def policies():
    """Logits of the policy, one per place; what drew the tokens; a reward for every sample."""
    keys = jax.random.split(jax.random.key(1), 3)
    logits = jax.random.normal(keys[0], (TOKENS, VOCAB))
    engine = jax.nn.log_softmax(0.7 * jax.random.normal(keys[1], (TOKENS, VOCAB)))
    return logits, engine, jax.random.normal(keys[2], (len(SAMPLES),))


def of(logprobs):
    """Log-probability of each token of every sample."""
    return logprobs[np.arange(TOKENS), SAMPLES]


def expected_gradient(policies, **changes):
    """Of the loss, over the samples of the engine."""
    logits, engine, rewards = policies
    chances = jnp.exp(jnp.sum(of(engine), axis=1))
    settings = algorithm.read(
        {"preset": "rloo", "correction_high": 1e6, "correction_low": 0.0} | changes
    )
    shape = SAMPLES.shape
    batch = {
        "mask": jnp.ones(shape),
        "sample": jnp.broadcast_to(jnp.arange(1, shape[0] + 1)[:, None], shape),
        # Linear in the advantage, which so carries the chance of the sample.
        "advantages": jnp.broadcast_to((chances * rewards)[:, None], shape),
        "rollout_logprobs": of(engine),
        "old_logprobs": of(jax.nn.log_softmax(logits)),
    }

    def total(z):
        logprobs = of(jax.nn.log_softmax(z))
        return policy_loss(settings, logprobs, batch, max_samples=len(SAMPLES)).total

    return jax.jit(jax.grad(total))(logits)


def right(policies):
    logits, _, rewards = policies

    def gain(z):
        return jnp.dot(jnp.exp(jnp.sum(of(jax.nn.log_softmax(z)), axis=1)), rewards)

    return -jax.jit(jax.grad(gain))(logits)


@pytest.mark.parametrize("objective", ["reinforce", "ppo"])
def test_the_samples_ratio_is_unbiased(policies, objective):
    found = expected_gradient(policies, correction="sequence", objective=objective)
    np.testing.assert_allclose(found, right(policies), **CLOSE)


def test_the_tokens_ratio_and_none_are_not(policies):
    exact = right(policies)
    errors = {
        name: np.abs(expected_gradient(policies, correction=name) - exact).max()
        for name in ("none", "full", "tis", "icepop")
    }
    assert min(errors.values()) > 0.01
    assert errors["full"] == errors["tis"] == errors["icepop"]  # the bounds are wide


def test_the_tokens_ratio_is_unbiased_for_one_token(policies):
    """Rewards that only the first token decides, whose gradient is exact there."""
    logits, engine, rewards = policies
    first = logits, engine, rewards[3 * SAMPLES[:, 0]]
    found = expected_gradient(first, correction="full")
    np.testing.assert_allclose(found[0], right(first)[0], **CLOSE)
    assert np.abs(expected_gradient(first, correction="none")[0] - right(first)[0]).max() > 0.01


def test_bounds():
    log_rho = jnp.log(jnp.array([[0.1, 0.5, 1.0, 2.0, 4.0]]))
    layout = Layout(jnp.ones((1, 5)), jnp.array([[1, 1, 2, 2, 2]]), 2)
    found = {
        name: function(log_rho, layout, 0.5, 2.0)[0]
        for name, function in correction.CORRECTIONS.items()
    }
    np.testing.assert_allclose(found["full"], [0.1, 0.5, 1, 2, 4], rtol=1e-6)
    np.testing.assert_allclose(found["tis"], [0.1, 0.5, 1, 2, 2], rtol=1e-6)
    np.testing.assert_allclose(found["icepop"], [0, 0.5, 1, 2, 0], rtol=1e-6)
    np.testing.assert_allclose(found["sequence"], [0.05, 0.05, 2, 2, 2], rtol=1e-6)
    for name, low, high, expected in (
        ("sequence", 0.04, 8.1, [1, 1, 1, 1, 1]),
        ("sequence", 0.06, 7.9, [0, 0, 0, 0, 0]),
        ("geometric", 0.22, 2.1, [1, 1, 1, 1, 1]),  # sqrt(0.05) = 0.2236, cbrt(8) = 2
        ("geometric", 0.23, 2.1, [0, 0, 1, 1, 1]),
        ("geometric", 0.22, 1.9, [1, 1, 0, 0, 0]),
    ):
        kept = correction.REJECTIONS[name](log_rho, layout, low, high)[0]
        np.testing.assert_array_equal(kept, expected)


def test_no_gradient_passes():
    layout = Layout(jnp.ones((1, 3)), jnp.ones((1, 3), jnp.int32), 1)

    @jax.jit
    @jax.grad
    def gradient(x):
        rejection = "geometric", 0.1, 9.0
        return sum(
            jnp.sum(correction.weights(x, 0 * x, layout, (name, 0.5, 2.0), rejection))
            for name in correction.CORRECTIONS
        )

    assert not np.any(gradient(jnp.full((1, 3), 0.2)))


def test_decoupled_leaves_out_what_is_above_its_cap():
    settings = algorithm.read({"preset": "decoupled"})
    ratios = np.float32([[0.01, 1, 4.9, 5.1, 100]])
    layout = Layout(jnp.ones((1, 5)), jnp.ones((1, 5), jnp.int32), 1)
    chosen = settings.correction, settings.correction_low, settings.correction_high
    found = correction.weights(jnp.log(ratios), jnp.zeros((1, 5)), layout, chosen, ("none", 0, 0))
    np.testing.assert_allclose(found, [[0.01, 1, 4.9, 0, 0]], rtol=1e-5)
