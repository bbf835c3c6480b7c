"""Filters against a definition by loops; random numbers as functions of their counters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmtp.generation import sampling
from mmtp.generation.sampling import Options


def options(temperature, top_k=0, top_p=1.0, rows=1):
    return Options(
        jnp.full(rows, temperature, jnp.float32),
        jnp.full(rows, top_k, jnp.int32),
        jnp.full(rows, top_p, jnp.float32),
    )


def by_loops(logits, temperature, top_k, top_p):
    """Probabilities by the words of the docstring, in f64."""
    order = sorted(range(len(logits)), key=lambda i: (-logits[i], i))
    kept = order[: top_k or None]
    mass = np.exp([(logits[i] - logits[order[0]]) / temperature for i in kept])
    mass /= mass.sum()
    total, num = 0.0, 0
    while num < len(kept) and (num == 0 or total < top_p):
        total, num = total + mass[num], num + 1
    probs = np.zeros(len(logits))
    probs[kept[:num]] = mass[:num] / mass[:num].sum()
    return probs


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"),
    [(1.0, 0, 1.0), (0.7, 5, 1.0), (1.3, 0, 0.8), (0.5, 7, 0.6), (1.0, 1, 1.0), (1.0, 0, 1e-6)],
)
def test_filters_are_what_their_definition_says(temperature, top_k, top_p):
    rng = np.random.default_rng(0)
    for _ in range(5):
        logits = rng.normal(size=17).astype(np.float32) * 2
        found = sampling.distribution(jnp.asarray(logits)[None], options(temperature, top_k, top_p))
        expected = by_loops(logits.astype(np.float64), temperature, top_k, top_p)
        np.testing.assert_allclose(np.exp(found[0]), expected, atol=1e-6)  # f32 of sums of 17


def test_ties_keep_exactly_k_and_the_lower_ids():
    found = sampling.distribution(jnp.zeros((1, 6)), options(1.0, top_k=2))
    np.testing.assert_allclose(np.exp(found[0]), [0.5, 0.5, 0, 0, 0, 0], atol=1e-7)


def test_temperature_zero_is_the_argmax_beside_rows_that_sample():
    logits = jnp.array([[0.0, 3.0, 1.0], [0.0, 3.0, 1.0]])
    mixed = Options(jnp.array([0.0, 1.0]), jnp.array([2, 0]), jnp.array([0.5, 1.0]))
    greedy, sampled = np.exp(sampling.distribution(logits, mixed))
    np.testing.assert_array_equal(greedy, [0, 1, 0])
    np.testing.assert_allclose(sampled, jax.nn.softmax(logits[1]), atol=1e-6)


def test_draws_follow_the_distribution():
    probs = np.array([0.5, 0.3, 0.15, 0.05, 0.0])
    keys = sampling.base_keys(jnp.zeros((100_000, 2), jnp.uint32), jnp.arange(100_000).astype("u4"))
    keys = sampling.token_keys(keys, jnp.zeros(100_000, jnp.int32), sampling.SAMPLE)
    drawn = sampling.draw(keys, jnp.log(jnp.broadcast_to(jnp.asarray(probs), (100_000, 5))))
    counts = np.bincount(drawn, minlength=5)
    # E[TV] of 1e5 draws of 5 outcomes is below sqrt(5 / (2 pi 1e5)) = 0.0028.
    assert np.abs(counts / 1e5 - probs).sum() / 2 < 0.006
    assert counts[4] == 0


def test_a_key_depends_on_every_counter_and_not_on_its_row():
    def data(seed, request, index, purpose):
        words = jnp.asarray(np.stack([sampling.seed_words(s) for s in seed]))
        keys = sampling.base_keys(words, jnp.asarray(request, jnp.uint32))
        keys = sampling.token_keys(keys, jnp.asarray(index, jnp.int32), purpose)
        return [tuple(row) for row in np.asarray(jax.random.key_data(keys))]

    rows = data([3, 3, 4, 3, 2**40 + 3, -3], [0, 1, 0, 0, 0, 0], [5, 5, 5, 6, 5, 5], 0)
    assert len(set(rows)) == 6
    assert data([3], [1], [5], 0) == rows[1:2]
    assert data([3], [1], [5], 1) != rows[1:2]


def test_seeds_of_64_bits_are_those_of_jax():
    for seed in (0, 7, 2**31, 2**63 - 1, -1):
        words = jnp.asarray(sampling.seed_words(seed))
        with jax.enable_x64(True):
            expected = jax.random.key_data(jax.random.key(np.int64(seed), impl="threefry2x32"))
        np.testing.assert_array_equal(words, expected)
