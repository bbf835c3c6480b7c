"""Chunked cross-entropy against full logits in float64, on one device and on meshes of eight."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from jax.test_util import check_grads

from cogvit_jax import hlo_cost
from mmtp.losses.cross_entropy import BATCH_AXES, head_losses, token_losses

Z_LOSS = 0.01


def oracle(hidden, matrix, labels, d_nll, z_loss):
    """(nll, penalty, predicted, d_hidden, d_matrix) with full logits, float64, for the sum of
    `d_nll * (nll + penalty)`.
    """
    hidden, matrix = np.asarray(hidden, np.float64), np.asarray(matrix, np.float64)
    logits = hidden @ matrix
    largest = logits.max(axis=1, keepdims=True)
    lse = largest[:, 0] + np.log(np.exp(logits - largest).sum(axis=1))
    rows = np.arange(len(labels))
    softmax = np.exp(logits - lse[:, None])
    d_logits = softmax * (d_nll * (1 + 2 * z_loss * lse))[:, None]
    d_logits[rows, labels] -= d_nll
    nll = lse - logits[rows, labels]
    predicted = logits.argmax(axis=1)
    return nll, z_loss * lse**2, predicted, d_logits @ matrix.T, hidden.T @ d_logits


def example(num_tokens=13, width=8, vocab=1000, seed=0):
    rng = np.random.default_rng(seed)
    hidden = rng.standard_normal((num_tokens, width)).astype(np.float32)
    matrix = rng.standard_normal((width, vocab)).astype(np.float32)
    labels = rng.integers(0, vocab, num_tokens, dtype=np.int32)
    labels[:3] = (hidden @ matrix)[:3].argmax(axis=1)  # so that some are correct
    return hidden, matrix, labels, rng.uniform(0, 1, num_tokens)


def losses_and_grads(hidden, matrix, labels, d_nll, **kwargs):
    """Of the sum of `d_nll * (nll + penalty)`."""

    def total(hidden, matrix):
        found = token_losses(hidden, matrix, jnp.asarray(labels), **kwargs)
        return jnp.sum(jnp.asarray(d_nll, jnp.float32) * (found.nll + found.penalty)), found

    with jax.default_matmul_precision("highest"):
        grad_fn = jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True))
        (_, found), grads = grad_fn(hidden, matrix)
    return found, grads


@pytest.mark.parametrize(
    ("vocab", "block"),
    [(1000, 256), (1000, 250), (1000, 1), (1000, 999), (1000, 4096), (1, 1), (7, 3), (2049, 2048)],
)
def test_equals_full_logits_for_any_vocabulary(vocab, block):
    hidden, matrix, labels, d_nll = example(vocab=vocab)
    found, grads = losses_and_grads(hidden, matrix, labels, d_nll, block=block, z_loss=Z_LOSS)
    nll, penalty, predicted, d_hidden, d_matrix = oracle(hidden, matrix, labels, d_nll, Z_LOSS)
    # f32 sums of up to 1000 terms of size 1: 1e-5 is some hundred roundings.
    np.testing.assert_allclose(found.nll, nll, atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(found.penalty, penalty, atol=1e-5, rtol=1e-5)
    np.testing.assert_array_equal(found.predicted, predicted)
    np.testing.assert_array_equal(found.correct, predicted == labels)
    np.testing.assert_allclose(grads[0], d_hidden, atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(grads[1], d_matrix, atol=1e-5, rtol=1e-5)


def test_gradients_agree_with_finite_differences():
    hidden, matrix, labels, _ = example(num_tokens=4, width=3, vocab=10)

    def outputs(hidden, matrix):
        arrays = map(jnp.asarray, (hidden, matrix, labels))
        found = token_losses(*arrays, block=4, z_loss=Z_LOSS)
        return found.nll, found.penalty

    # With steps of 1e-2, differences of f32 values near 5 are good to about 1e-4, and a third
    # derivative near 1 adds 1e-4.
    arrays = jnp.asarray(hidden), jnp.asarray(matrix)
    with jax.default_matmul_precision("highest"):
        check_grads(outputs, arrays, order=1, modes=["rev"], eps=1e-2, atol=2e-3, rtol=2e-3)


def test_large_logits_do_not_overflow():
    hidden, matrix, labels, d_nll = example()
    found, grads = losses_and_grads(hidden * 100, matrix, labels, d_nll, block=256)
    nll, _, _, d_hidden, d_matrix = oracle(hidden * 100, matrix, labels, d_nll, 0)
    np.testing.assert_allclose(found.nll, nll, rtol=1e-5, atol=1e-3)  # logits reach 1000
    # A softmax of logits near 1000 has their rounding, 6e-5, as its relative error.
    np.testing.assert_allclose(grads[0], d_hidden, atol=2e-3)
    np.testing.assert_allclose(grads[1], d_matrix, atol=5e-2)  # 100 times the hidden states


def test_first_of_equal_logits_is_predicted_across_blocks():
    hidden = np.ones((2, 4), np.float32)
    matrix = np.zeros((4, 12), np.float32)
    matrix[:, [5, 9, 11]] = 1.0
    found = token_losses(*map(jnp.asarray, (hidden, matrix, [5, 9])), block=4)
    np.testing.assert_array_equal(found.predicted, [5, 5])
    np.testing.assert_array_equal(found.correct, [True, False])


def test_label_outside_of_the_vocabulary_stays_finite_and_without_weight_trains_nothing():
    hidden, matrix, labels, d_nll = example()
    bad = labels.copy()
    bad[[4, 7]] = -100, 5000
    d_nll[[4, 7]] = 0
    found, grads = losses_and_grads(hidden, matrix, bad, d_nll, block=256)
    assert np.isfinite(found.nll).all()
    _, _, _, d_hidden, d_matrix = oracle(hidden, matrix, labels, d_nll, 0)
    np.testing.assert_allclose(grads[0], d_hidden, atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(grads[1], d_matrix, atol=1e-5, rtol=1e-5)
    assert not np.any(np.asarray(grads[0])[[4, 7]])


def test_bfloat16_operands_with_float32_sums():
    hidden, matrix, labels, d_nll = example(num_tokens=64, width=32)
    half = jnp.asarray(hidden, jnp.bfloat16)
    found, (d_hidden, d_matrix) = losses_and_grads(half, matrix, labels, d_nll, block=256)
    assert found.nll.dtype == jnp.float32
    assert (d_hidden.dtype, d_matrix.dtype) == (jnp.bfloat16, jnp.float32)
    rounded = jnp.asarray(matrix, jnp.bfloat16)
    nll, _, _, d_hidden_want, d_matrix_want = oracle(half, rounded, labels, d_nll, 0)
    # Products of bf16 numbers are exact in f32: the losses are as good as in f32.
    np.testing.assert_allclose(found.nll, nll, atol=1e-4, rtol=1e-5)
    # d_logits are rounded to bf16 (2^-9), and d_hidden again: two roundings, of the largest term.
    scale = np.abs(d_hidden_want).max(), np.abs(d_matrix_want).max()
    np.testing.assert_allclose(np.float32(d_hidden), d_hidden_want, atol=2**-7 * scale[0])
    np.testing.assert_allclose(d_matrix, d_matrix_want, atol=2**-7 * scale[1])


def test_tokens_that_do_not_train_the_matrix():
    hidden, matrix, labels, d_nll = example()
    trains = np.arange(len(labels)) % 3 != 0
    kwargs = {"block": 256, "trains_matrix": jnp.asarray(trains)}
    found, (d_hidden, d_matrix) = losses_and_grads(hidden, matrix, labels, d_nll, **kwargs)
    nll, _, _, d_hidden_want, _ = oracle(hidden, matrix, labels, d_nll, 0)
    np.testing.assert_allclose(found.nll, nll, atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(d_hidden, d_hidden_want, atol=1e-5, rtol=1e-5)
    want = oracle(hidden, matrix, labels, d_nll * trains, 0)[-1]
    np.testing.assert_allclose(d_matrix, want, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("kwargs", "text"),
    [({"block": 0}, "block is 0"), ({"labels": jnp.zeros(5, jnp.int32)}, "labels")],
)
def test_wrong_arguments_are_named(kwargs, text):
    hidden, matrix, labels, _ = map(jnp.asarray, example())
    with pytest.raises((ValueError, TypeError), match=text):  # shapes: TypeError where annotations
        token_losses(hidden, matrix, **({"labels": labels, "block": 8} | kwargs))  # are checked


# --- meshes ---------------------------------------------------------------------------------------

ROWS, HEADS, TOKENS, WIDTH = 8, 3, 16, 16
MESHES = {
    "tensor": ({"data": 2, "fsdp": 2, "tensor": 2}, (None, "tensor")),
    "fsdp_and_tensor": ({"data": 1, "fsdp": 4, "tensor": 2}, ("fsdp", "tensor")),
    "fsdp_rows": ({"data": 2, "fsdp": 4}, ("fsdp", None)),
    "fsdp_columns": ({"data": 2, "fsdp": 4}, (None, "fsdp")),
    "context": ({"data": 1, "fsdp": 2, "context": 2, "tensor": 2}, ("fsdp", "tensor")),
}


def mesh_step(mesh, matrix_spec, vocab, block=64):
    """Compiled (hidden, matrix, labels, weights) -> (TokenLosses, gradients), and its inputs."""
    rng = np.random.default_rng(1)
    hidden = rng.standard_normal((ROWS, HEADS, TOKENS, WIDTH)).astype(np.float32)
    matrix = rng.standard_normal((WIDTH, vocab)).astype(np.float32)
    labels = rng.integers(0, vocab, (ROWS, HEADS, TOKENS), dtype=np.int32)
    weights = rng.uniform(0, 1, labels.shape).astype(np.float32)

    def total(hidden, matrix, labels, weights):
        found = head_losses(hidden, matrix, labels, block=block, z_loss=Z_LOSS)
        return jnp.sum(weights * (found.nll + found.penalty)), found

    tokens = NamedSharding(mesh, PartitionSpec(BATCH_AXES, None, "context"))
    columns = NamedSharding(mesh, PartitionSpec(*matrix_spec))
    arrays = jax.device_put((hidden, matrix, labels, weights), (tokens, columns, tokens, tokens))
    step = jax.value_and_grad(total, argnums=(0, 1), has_aux=True)
    with (
        jax.sharding.use_abstract_mesh(mesh.abstract_mesh),
        jax.default_matmul_precision("highest"),
    ):
        compiled = jax.jit(step, out_shardings=(None, (tokens, columns))).lower(*arrays).compile()
    return compiled, arrays


@pytest.mark.parametrize("name", MESHES)
def test_equals_full_logits_on_eight_devices(make_mesh, name):
    axes, spec = MESHES[name]
    compiled, arrays = mesh_step(make_mesh(8, **axes), spec, vocab=1000)
    (_, found), (d_hidden, d_matrix) = compiled(*arrays)
    hidden, matrix, labels, weights = map(np.asarray, arrays)
    nll, penalty, predicted, *grads = oracle(
        hidden.reshape(-1, WIDTH), matrix, labels.ravel(), weights.ravel(), Z_LOSS
    )
    np.testing.assert_allclose(np.ravel(found.nll), nll, atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(np.ravel(found.penalty), penalty, atol=1e-5, rtol=1e-5)
    np.testing.assert_array_equal(np.ravel(found.predicted), predicted)
    np.testing.assert_array_equal(np.ravel(found.correct), predicted == labels.ravel())
    np.testing.assert_allclose(np.reshape(d_hidden, (-1, WIDTH)), grads[0], atol=1e-5, rtol=1e-5)
    # Sums over 384 tokens of terms near 1.
    np.testing.assert_allclose(d_matrix, grads[1], atol=5e-5, rtol=1e-5)


def test_vocabulary_that_the_tensor_axis_does_not_divide_stays_whole(make_mesh):
    compiled, arrays = mesh_step(make_mesh(8, data=4, tensor=2), (), 999)
    (_, found), _ = compiled(*arrays)
    hidden, matrix, labels, weights = map(np.asarray, arrays)
    flat = hidden.reshape(-1, WIDTH), matrix, labels.ravel(), weights.ravel()
    np.testing.assert_allclose(np.ravel(found.nll), oracle(*flat, 0)[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["fsdp_and_tensor", "fsdp_rows", "fsdp_columns", "context"])
def test_matrix_is_gathered_once_and_its_gradient_summed_once(make_mesh, name):
    vocab = 2048
    axes, spec = MESHES[name]
    mesh = make_mesh(8, **axes)
    compiled, _ = mesh_step(mesh, spec, vocab, block=64)
    cost = hlo_cost.analyse(compiled.as_text())
    part = WIDTH * vocab // mesh.shape["tensor"] * 4  # bytes of a device's columns
    gathered = [c.count * c.wire_bytes for c in cost.collectives if c.kind == "all-gather"]
    summed = [c.count * c.wire_bytes for c in cost.collectives if c.kind == "all-reduce"]
    # A gather receives at most what it makes, an all-reduce sends it at most twice. Of the tokens
    # only scalars and the hidden states' gradient travel.
    token_bytes = ROWS * HEADS * TOKENS * (WIDTH + 8) * 4
    assert 0 < sum(gathered) <= part
    assert sum(summed) <= 2 * (part + token_bytes)


def temporaries(vocab, block=64):
    num_tokens = 512
    shapes = (
        jax.ShapeDtypeStruct((num_tokens, WIDTH), jnp.float32),
        jax.ShapeDtypeStruct((WIDTH, vocab), jnp.float32),
        jax.ShapeDtypeStruct((num_tokens,), jnp.int32),
    )

    def total(hidden, matrix, labels):
        return jnp.sum(token_losses(hidden, matrix, labels, block=block).nll)

    compiled = jax.jit(jax.value_and_grad(total, argnums=(0, 1))).lower(*shapes).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def test_temporaries_do_not_grow_with_the_vocabulary():
    small, large = temporaries(1024), temporaries(16 * 1024)
    assert large <= small + 4096
    assert large < 512 * 16 * 1024 * 4 / 8  # an eighth of the full logits
