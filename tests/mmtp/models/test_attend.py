"""Who sees whom, the cache's slots, and the TPU kernel against plain attention."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cogvit_jax.settings import ConfigError
from mmtp.models import attend, rope


def make_inputs(segments, order=None, usable=None):
    segments = jnp.asarray(segments, jnp.int32)
    if order is None:
        order = np.broadcast_to(np.arange(segments.shape[1]), segments.shape)
    angles = rope.angles(rope.text_positions(*segments.shape), 4, (2,), 1e4)
    usable = None if usable is None else jnp.asarray(usable)
    return attend.Inputs(angles, segments, jnp.asarray(order, jnp.int32), usable)


def random_qkv(seed, rows, tokens, heads, kv_heads, dim):
    keys = jax.random.split(jax.random.key(seed), 3)
    shapes = [(rows, tokens, n, dim) for n in (heads, kv_heads, kv_heads)]
    return tuple(jax.random.normal(k, s) for k, s in zip(keys, shapes, strict=True))


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


@pytest.mark.parametrize("chunk", [1, 3])
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


@pytest.mark.slow
@pytest.mark.parametrize(("tokens", "dim"), [(128, 64), (1024, 128)])
def test_the_tpu_kernel(tokens, dim):
    arrays = random_qkv(2, 2, tokens, 4, 2, dim)
    cuts = np.sort(np.random.default_rng(0).integers(1, 4, (2, tokens)), axis=1)
    cuts[:, -9:] = 0
    inputs = make_inputs(cuts)

    def loss(attention, arrays):
        out = attention(*arrays, inputs)
        return jnp.sum(jnp.sin(out)), out

    with jax.default_matmul_precision("highest"):
        kernel = functools.partial(attend.splash, interpret=True)
        (_, expected), expected_grads = jax.value_and_grad(loss, 1, True)(attend.xla, arrays)
        (_, found), grads = jax.value_and_grad(loss, 1, True)(kernel, arrays)
    np.testing.assert_allclose(found, expected, atol=5e-6)
    for mine, theirs in zip(grads, expected_grads, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=5e-5, rtol=1e-5)


def test_the_kernel_leaves_dropped_keys_to_plain_attention():
    arrays = random_qkv(3, 1, 6, 2, 2, 8)
    inputs = make_inputs(np.ones((1, 6)), usable=np.asarray([[True, False] * 3]))
    np.testing.assert_array_equal(attend.splash(*arrays, inputs), attend.xla(*arrays, inputs))


def test_choice_of_implementation():
    assert attend.choose("auto", "tpu", 4096, 128) is attend.splash
    assert attend.choose("auto", "tpu", 100, 128) is attend.xla
    assert attend.choose("auto", "gpu", 4096, 128) is attend.xla
    assert attend.choose("xla", "tpu", 4096, 128) is attend.xla
    with pytest.raises(ConfigError, match="on cpu"):
        attend.choose("splash", "cpu", 4096, 128)
    with pytest.raises(ConfigError, match="'flash' is unknown"):
        attend.choose("flash", "tpu", 4096, 128)
