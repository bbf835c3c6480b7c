"""Who sees whom, and the cache's slots."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmtp.models import attend
from tests.mmtp.models.attend_cases import make_inputs, random_qkv


def test_visible_is_the_rule_word_for_word():
    rng = np.random.default_rng(0)
    segments = rng.integers(0, 3, (4, 7))
    order = np.stack([rng.permutation(7) for _ in range(4)])
    usable = rng.random((4, 7)) < 0.5
    inputs = make_inputs(segments, order, usable)
    found = np.asarray(attend.visible(inputs, inputs))[:, 0]
    for b, i, j in np.ndindex(4, 7, 7):
        earlier = order[b, j] < order[b, i] and usable[b, j]
        expected = segments[b, i] == segments[b, j] and (i == j or earlier)
        assert found[b, i, j] == expected
    everything = make_inputs(segments, order)
    seen = np.asarray(attend.visible(everything, everything))[:, 0]
    expected = (segments[:, :, None] == segments[:, None]) & (order[:, None] <= order[:, :, None])
    np.testing.assert_array_equal(seen, expected)


def test_grouped_queries_are_repeated_keys():
    q, k, v = random_qkv(0, 2, 9, 6, 2, 8)
    inputs = make_inputs([[1] * 5 + [2] * 3 + [0], [1] * 9])
    mask = np.asarray(attend.visible(inputs, inputs))
    with jax.default_matmul_precision("highest"):
        found = attend.xla(q, k, v, inputs)
    k, v = (np.repeat(x, 3, axis=2) for x in (k, v))
    logits = np.where(mask, np.einsum("bthk,bshk->bhts", q, k) / np.sqrt(8), -np.inf)
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(found, np.einsum("bhts,bshk->bthk", weights, v), atol=5e-6)


def test_tokens_are_written_where_their_row_has_come_to():
    cached = jnp.zeros((3, 6, 2))
    new = jnp.arange(1, 13, dtype=jnp.float32).reshape(3, 2, 2)
    order = jnp.asarray([[0, 1], [3, 4], [5, 6]], jnp.int32)
    found = np.asarray(attend.write(cached, new, order))
    np.testing.assert_array_equal(found[0, :2], new[0])
    np.testing.assert_array_equal(found[1, 3:5], new[1])
    np.testing.assert_array_equal(found[2, 5], new[2, 0])  # the second has no slot
    assert np.count_nonzero(found) == 2 * 2 + 2 * 2 + 2


@pytest.mark.parametrize("chunk", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_a_cache_gives_the_same_as_the_row(chunk):
    q, k, v = random_qkv(1, 2, 9, 4, 2, 8)
    usable = np.asarray([[1, 0, 1, 1, 0, 0, 1, 1, 0], [1] * 9], bool)
    whole = attend.xla(q, k, v, make_inputs(np.ones((2, 9)), usable=usable))
    keys, values, seen = (
        jnp.zeros((2, 12, 2, 8)),
        jnp.zeros((2, 12, 2, 8)),
        jnp.zeros((2, 12), bool),
    )
    for start in range(0, 9, chunk):
        part = slice(start, start + chunk)
        order = jnp.broadcast_to(
            jnp.arange(start, start + chunk, dtype=jnp.int32)[None], (2, chunk)
        )
        keys = attend.write(keys, k[:, part], order)
        values = attend.write(values, v[:, part], order)
        seen = attend.write(seen, jnp.asarray(usable[:, part]), order)
        found = attend.cached(q[:, part], keys, values, order, seen)
        np.testing.assert_allclose(found, whole[:, part], atol=2e-6)
