"""Log-probabilities, entropies and likeliest tokens against full logits in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from mmtp.losses.cross_entropy import BATCH_AXES
from mmtp.losses.likelihood import likeliest, likelihood, token_likelihood

WIDTH = 8


def example(num=13, vocab=1000, k=3, seed=0):
    """(hidden, matrix, ids) and what the total weighs logprobs and entropies with."""
    rng = np.random.default_rng(seed)
    hidden = rng.standard_normal((num, WIDTH)).astype(np.float32)
    matrix = rng.standard_normal((WIDTH, vocab)).astype(np.float32)
    ids = rng.integers(0, vocab, (num, k), dtype=np.int32)
    ids[0] = ids[0, 0]  # the same one several times
    return (hidden, matrix, ids), (rng.standard_normal((num, k)), rng.standard_normal(num))


def log_softmax(hidden, matrix):
    logits = np.asarray(hidden, np.float64) @ np.asarray(matrix, np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def oracle(arrays, weights):
    """(logprobs, entropy, d_hidden, d_matrix) of the sum of both times their weights."""
    hidden, matrix, ids = arrays
    logprobs = log_softmax(hidden, matrix)
    p, rows = np.exp(logprobs), np.arange(len(ids))
    entropy = -np.sum(p * logprobs, axis=1)
    d_logits = -p * weights[0].sum(axis=1)[:, None]
    np.add.at(d_logits, (rows[:, None], ids), weights[0])
    d_logits -= weights[1][:, None] * p * (logprobs + entropy[:, None])
    hidden, matrix = np.asarray(hidden, np.float64), np.asarray(matrix, np.float64)
    return logprobs[rows[:, None], ids], entropy, d_logits @ matrix.T, hidden.T @ d_logits


def total(hidden, matrix, ids, weights, find=token_likelihood, **kwargs):
    found = find(hidden, matrix, ids, **kwargs)
    total = jnp.sum(found.logprobs * weights[0].astype(np.float32))
    return total + jnp.sum(found.entropy * weights[1].astype(np.float32)), found


def found_of(arrays, weights, **kwargs):
    with jax.default_matmul_precision("highest"):
        step = jax.jit(
            jax.value_and_grad(
                lambda hidden, matrix: total(
                    hidden, matrix, jnp.asarray(arrays[2]), weights, **kwargs
                ),
                argnums=(0, 1),
                has_aux=True,
            )
        )
        (_, found), grads = step(*arrays[:2])
    return (*found, *grads)


@pytest.mark.parametrize(
    ("vocab", "block", "k"),
    [(1000, 256, 3), (1000, 250, 1), (1000, 1, 2), (1000, 4096, 5), (1, 1, 1), (7, 3, 4)],
)
def test_equals_full_logits_for_any_vocabulary(vocab, block, k):
    arrays, weights = example(vocab=vocab, k=k)
    found = found_of(arrays, weights, block=block)
    # f32 sums of up to 1000 terms of size 1: 1e-5 is some hundred roundings.
    for ours, theirs in zip(found, oracle(arrays, weights), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=1e-5)


def test_certain_and_undecided_places():
    """Logits of 1000 and more, where the entropy is 0, and equal ones, where it is log v."""
    (hidden, matrix, ids), weights = example()
    for factor in (1000.0, 0.0):
        arrays = hidden * factor, matrix, ids
        logprobs, entropy, *grads = found_of(arrays, weights, block=256)
        # Logits near 3000 have roundings of 2e-4.
        expected = oracle(arrays, weights)
        np.testing.assert_allclose(logprobs, expected[0], rtol=1e-5, atol=1e-3)
        np.testing.assert_allclose(entropy, expected[1], rtol=1e-5, atol=1e-3)
        assert np.all(entropy >= 0)
        assert all(np.isfinite(x).all() for x in grads)
    assert entropy == pytest.approx(np.log(1000), rel=1e-6)


def test_bfloat16_operands_with_float32_sums():
    (hidden, matrix, ids), weights = example(num=64)
    half = jnp.asarray(hidden, jnp.bfloat16)
    logprobs, entropy, d_hidden, d_matrix = found_of((half, matrix, ids), weights, block=256)
    assert (logprobs.dtype, d_hidden.dtype, d_matrix.dtype) == (jnp.float32, half.dtype, "float32")
    expected = oracle((half, jnp.asarray(matrix, jnp.bfloat16), ids), weights)
    # Products of bf16 numbers are exact in f32.
    np.testing.assert_allclose(logprobs, expected[0], atol=1e-4, rtol=1e-5)
    np.testing.assert_allclose(entropy, expected[1], atol=1e-4, rtol=1e-5)
    # Two roundings to bf16 (2^-9), of the largest term.
    np.testing.assert_allclose(
        np.float32(d_hidden), expected[2], atol=2**-7 * np.abs(expected[2]).max()
    )


def test_ids_outside_of_the_vocabulary_stay_finite():
    (hidden, matrix, ids), weights = example()
    ids[1], weights[0][1] = [-100, 5000, 3], 0
    found = found_of((hidden, matrix, ids), weights, block=256)
    assert all(np.isfinite(x).all() for x in found)


@pytest.mark.parametrize(
    ("changes", "text"), [({"block": 0}, "block is 0"), ({"ids": np.zeros((5, 1), int)}, "ids")]
)
def test_wrong_arguments_are_named(changes, text):
    (hidden, matrix, ids), _ = example()
    arguments = {"ids": ids, "block": 8} | changes
    arguments["ids"] = jnp.asarray(arguments["ids"])
    with pytest.raises((ValueError, TypeError), match=text):  # shapes: TypeError where annotations
        token_likelihood(jnp.asarray(hidden), jnp.asarray(matrix), **arguments)  # are checked


def test_temporaries_do_not_grow_with_the_vocabulary():
    def temporaries(vocab, num=512):
        def mean(hidden, matrix, ids):
            return total(hidden, matrix, ids, (np.ones((num, 4)), np.ones(num)), block=64)[0]

        shapes = [((num, WIDTH), "float32"), ((WIDTH, vocab), "float32"), ((num, 4), "int32")]
        arrays = [jax.ShapeDtypeStruct(*x) for x in shapes]
        compiled = jax.jit(jax.grad(mean, argnums=(0, 1))).lower(*arrays).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    large = temporaries(16 * 1024)
    assert large <= temporaries(1024) + 4096
    assert large < 512 * 16 * 1024 * 4 / 8  # an eighth of the full logits


# --- the likeliest --------------------------------------------------------------------------------


def assert_likeliest(found, logprobs):
    """Those of `[n, v]` log-probabilities, in order."""
    k = found.ids.shape[-1]
    ids = np.argsort(-logprobs, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(np.reshape(found.ids, (-1, k)), ids)
    expected = np.take_along_axis(logprobs, ids, axis=1)
    np.testing.assert_allclose(np.reshape(found.logprobs, (-1, k)), expected, atol=1e-5)


@pytest.mark.parametrize(("vocab", "block"), [(1000, 256), (1000, 4), (23, 7), (5, 4096)])
def test_the_likeliest_of_all_blocks(vocab, block):
    (hidden, matrix, _), _ = example(num=12, vocab=vocab)
    with jax.default_matmul_precision("highest"):
        found = likeliest(
            jnp.asarray(hidden).reshape(3, 4, WIDTH), jnp.asarray(matrix), 5, block=block
        )
    assert found.ids.shape == (3, 4, 5)
    assert_likeliest(found, log_softmax(hidden, matrix))


def test_the_first_of_equals_comes_first():
    matrix = np.zeros((WIDTH, 12), np.float32)
    matrix[:, [5, 9, 11]] = 1.0
    found = likeliest(jnp.ones((1, 1, WIDTH)), jnp.asarray(matrix), 4, block=4)
    np.testing.assert_array_equal(found.ids[0, 0], [5, 9, 11, 0])


# --- meshes ---------------------------------------------------------------------------------------

MESHES = {
    "tensor": ({"data": 2, "fsdp": 2, "tensor": 2}, (None, "tensor")),
    "rows": ({"data": 2, "fsdp": 4}, ("fsdp", None)),
    "context": ({"data": 1, "fsdp": 2, "context": 2, "tensor": 2}, ("fsdp", "tensor")),
}


@pytest.mark.parametrize(
    ("name", "vocab"), [("tensor", 200), ("tensor", 201), ("rows", 200), ("context", 200)]
)
def test_eight_devices_change_nothing(make_mesh, name, vocab):
    axes, spec = MESHES[name]
    mesh = make_mesh(8, **axes)
    flat, weights = example(num=8 * 6, vocab=vocab)
    expected = oracle(flat, weights)
    rows = [np.reshape(x, (8, 6, *x.shape[1:])) for x in (flat[0], flat[2], *weights)]
    tokens = NamedSharding(mesh, PartitionSpec(BATCH_AXES, "context"))
    whole = vocab % 2 or spec
    columns = NamedSharding(mesh, PartitionSpec() if whole == 1 else PartitionSpec(*spec))
    hidden, ids, *parts = (jax.device_put(x, tokens) for x in rows)
    matrix = jax.device_put(flat[1], columns)

    @jax.jit
    def step(hidden, matrix):
        def one(hidden, matrix):
            return total(hidden, matrix, ids, parts, find=likelihood, block=64)

        return jax.value_and_grad(one, argnums=(0, 1), has_aux=True)(hidden, matrix)

    @jax.jit
    def best(hidden, matrix):
        return likeliest(hidden, matrix, 4, block=64)

    with (
        jax.sharding.use_abstract_mesh(mesh.abstract_mesh),
        jax.default_matmul_precision("highest"),
    ):
        (_, found), grads = step(hidden, matrix)
        top = best(hidden, matrix)
    for ours, theirs in zip((*found, *grads), expected, strict=True):
        np.testing.assert_allclose(np.reshape(ours, theirs.shape), theirs, atol=3e-5, rtol=1e-5)
    assert_likeliest(top, log_softmax(*flat[:2]))
