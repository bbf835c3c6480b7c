"""Distillation by sampled tokens has the reverse KL's value and gradient, and reaches the teacher.

Expectations are exact sums over a vocabulary of six.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rl import algorithm
from rl.losses import distill
from rl.losses.loss import policy_loss
from tests.rl.losses.divergences import reverse_kl

VOCAB = 6
CLOSE = {"atol": 2e-6, "rtol": 2e-5}


@pytest.fixture(scope="module")
def policies():
    """Logits of the policy, and log-probabilities of two teachers."""
    logits = 1.5 * jax.random.normal(jax.random.key(3), (3, VOCAB))
    return logits[0], jax.nn.log_softmax(logits[1:])


def batch_of(logprobs, teachers, rewards=None):
    """Every token as a sample of its own, in one row."""
    shape = (1, logprobs.shape[-1])
    return {
        "mask": jnp.ones(shape),
        "sample": jnp.arange(1, shape[1] + 1)[None],
        "advantages": jnp.zeros(shape) if rewards is None else rewards,
        "rollout_logprobs": jax.lax.stop_gradient(logprobs),
        "teacher_logprobs": teachers,
    }


def test_the_expected_term_is_the_divergence(policies):
    logits, teachers = policies
    logprobs = jax.nn.log_softmax(logits)
    terms = distill.advantage_term(logprobs[None], teachers[None], (1.0, 0.25))[0]
    exact = jnp.stack([reverse_kl(logprobs, t) for t in teachers])
    np.testing.assert_allclose(
        jnp.dot(jnp.exp(logprobs), terms), exact[0] + 0.25 * exact[1], **CLOSE
    )


@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.7, 0.2)])
def test_the_expected_gradient_is_that_of_the_divergence(policies, weights):
    """Of the whole loss; rewards add their own policy gradient to it."""
    logits, teachers = policies
    settings = algorithm.read(
        {"preset": "distill", "distill_weights": weights, "aggregation": "seq_mean_token_sum"}
    )
    rewards = jnp.linspace(-1, 1, VOCAB)

    def one(z, token, reward):
        """The loss of a sample of one token."""
        logprobs = jax.nn.log_softmax(z)[token][None, None]
        batch = batch_of(logprobs, teachers[:, token][None, :, None], reward[None, None])
        return policy_loss(settings, logprobs, batch, max_samples=1).total

    @jax.jit
    def expected(rewards):
        gradients = jax.vmap(jax.grad(one), (None, 0, 0))(logits, jnp.arange(VOCAB), rewards)
        return jnp.einsum("v,vz->z", jax.nn.softmax(logits), gradients)

    def divergence(z):
        logprobs = jax.nn.log_softmax(z)
        return sum(w * reverse_kl(logprobs, t) for w, t in zip(weights, teachers, strict=True))

    def gain(z):
        return jnp.dot(jax.nn.softmax(z), rewards)

    right = jax.grad(divergence)(logits)
    np.testing.assert_allclose(expected(0 * rewards), right, **CLOSE)
    mixed = right - jax.grad(gain)(logits)
    np.testing.assert_allclose(expected(rewards), mixed, **CLOSE)
    assert np.abs(right).max() > 0.1


def test_sampling_reaches_the_teacher(policies):
    """Fresh samples of the policy at every step, Adam, and no reward."""
    logits, teachers = policies
    settings = algorithm.read({"preset": "distill"})
    optimizer = optax.adam(optax.linear_schedule(0.05, 0.0, 400))

    def step(state, key):
        z, opt_state = state
        tokens = jax.random.categorical(key, z, shape=(1, 128))

        def mean(z):
            logprobs = jax.nn.log_softmax(z)[tokens]
            batch = batch_of(logprobs, teachers[0][tokens][None])
            found = policy_loss(settings, logprobs, batch, max_samples=128)
            return found.total / found.weight

        updates, opt_state = optimizer.update(jax.grad(mean)(z), opt_state)
        return (optax.apply_updates(z, updates), opt_state), None

    @jax.jit
    def train(z):
        keys = jax.random.split(jax.random.key(0), 400)
        return jax.lax.scan(step, (z, optimizer.init(z)), keys)[0][0]

    before = reverse_kl(jax.nn.log_softmax(logits), teachers[0])
    after = reverse_kl(jax.nn.log_softmax(train(logits)), teachers[0])
    assert before > 0.5
    assert after < 1e-3


def test_top_k_is_a_lower_bound(policies):
    """With more and more tokens named, the likeliest first."""
    logits, (teacher, _) = policies
    logprobs = jax.nn.log_softmax(logits)
    exact = reverse_kl(logprobs, teacher)
    rank = jnp.argsort(jnp.argsort(-teacher))

    @jax.jit
    @jax.vmap
    def named(k):
        return distill.topk_reverse_kl(logprobs, jnp.where(rank < k, teacher, -jnp.inf))

    bounds = named(jnp.arange(VOCAB + 1))
    assert np.all(np.diff(bounds) >= -1e-6)
    assert 0 == bounds[0] < bounds[1] < bounds[3] < exact
    np.testing.assert_allclose(bounds[-2:], [exact, exact], rtol=1e-4)  # a tail of one token


def descend(loss, logits, steps=400):
    def step(z, _):
        return z - 0.5 * jax.grad(loss)(z), None

    return jax.jit(lambda z: jax.lax.scan(step, z, length=steps)[0])(logits)


def test_the_tail_keeps_mass_where_the_teacher_has_it(policies):
    logits, (teacher, _) = policies
    top = jnp.argsort(-teacher)[:3]

    def with_tail(z):
        return distill.topk_reverse_kl(jax.nn.log_softmax(z)[top], teacher[top])

    def without(z):
        return reverse_kl(jax.nn.log_softmax(z)[top], teacher[top])

    reached = jax.nn.softmax(descend(with_tail, logits))
    np.testing.assert_allclose(reached[top], jnp.exp(teacher[top]), atol=1e-3)
    fled = jax.nn.softmax(descend(without, logits))
    assert jnp.sum(fled[top]) < 0.8 * jnp.sum(jnp.exp(teacher[top]))


def test_tokens_that_a_teacher_does_not_name_join_the_tail(policies):
    logits, (teacher, _) = policies
    logprobs = jax.nn.log_softmax(logits)
    divergence = jax.jit(jax.value_and_grad(distill.topk_reverse_kl))
    found, gradient = divergence(logprobs, jnp.where(jnp.arange(VOCAB) < 2, teacher, -jnp.inf))
    expected, expected_gradient = divergence(logprobs[:2], teacher[:2])
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient[:2], expected_gradient, rtol=1e-6)
    assert not np.any(gradient[2:])
    for unknown in (jnp.nan, -jnp.inf):
        found, gradient = divergence(logprobs, jnp.full(VOCAB, unknown))
        assert found == 0
        assert not np.any(gradient)


def test_top_k_has_the_gradient_of_its_differences(policies):
    logits, (teacher, _) = policies
    with jax.enable_x64(True):
        ours, theirs = (jnp.asarray(x[:3], jnp.float64) for x in (logits - 4, teacher))
        divergence = jax.jit(distill.topk_reverse_kl)
        found = jax.jit(jax.grad(divergence))(ours, theirs)
        steps = 1e-5 * jnp.eye(3, dtype=jnp.float64)
        numeric = [
            (divergence(ours + s, theirs) - divergence(ours - s, theirs)) / 2e-5 for s in steps
        ]
        np.testing.assert_allclose(found, jnp.stack(numeric), atol=1e-8)
