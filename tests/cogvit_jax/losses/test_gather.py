"""Texts gathered once and compared with microbatches of images equal the one-shot loss."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from cogvit_jax.losses.gather import all_gather, gather_texts, reduce_scatter
from cogvit_jax.losses.siglip import sigmoid_loss

B, D = 8, 5
FAST_COMPILE = {"compiler_options": {"xla_backend_optimization_level": 0}}
LOG_SCALE, BIAS = jnp.float32(1.2), jnp.float32(-1.5)


def batch(n):
    rng = np.random.default_rng(n)
    pair = rng.standard_normal((2, n, D))
    image, text = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in pair)
    ids = rng.integers(0, n // 2 + 1, (2, n))
    return [jnp.asarray(x, jnp.float32) for x in (image, text)], jnp.asarray(ids, jnp.int32)


def oracle(image, text, log_scale, bias, ids):
    """Mean loss and its four gradients in float64."""
    image, text, log_scale, bias = (
        np.asarray(x, np.float64) for x in (image, text, log_scale, bias)
    )
    ids = np.asarray(ids)
    z = np.where(ids[0][:, None] == ids[1][None, :], 1.0, -1.0)
    cosines = image @ text.T
    logits = np.exp(log_scale) * cosines + bias
    error = -z * np.exp(-np.logaddexp(0, z * logits)) / len(image)
    scaled = np.exp(log_scale) * error
    grads = (scaled @ text, scaled.T @ image, np.sum(scaled * cosines), np.sum(error))
    return np.logaddexp(0, -z * logits).sum() / len(image), grads


def in_microbatches(mesh, axes, num, image, text, log_scale, bias, ids):
    """Mean loss with texts shared by all parts, each part a slice of every device's images."""
    rows = P(axes)
    gather = jax.shard_map(
        partial(gather_texts, axis_name=axes), mesh=mesh, in_specs=(rows, rows), out_specs=rows
    )
    texts, text_ids = gather(text, ids[1])
    assert texts.shape == (mesh.size * len(text), D)

    def compare(image, image_ids, texts, text_ids, log_scale, bias):
        total, weight, _ = sigmoid_loss(
            image, texts, log_scale, bias, image_ids=image_ids, text_ids=text_ids, chunk_size=3
        )
        return jax.lax.psum((total, weight), axes)

    compare = jax.shard_map(
        compare, mesh=mesh, in_specs=(rows, rows, rows, rows, P(), P()), out_specs=P()
    )

    def split(x):  # every device's rows into `num` parts, without moving any between devices
        return jnp.moveaxis(x.reshape(mesh.size, num, -1, *x.shape[1:]), 1, 0)

    def step(carry, part):
        image, image_ids = (x.reshape(-1, *x.shape[2:]) for x in part)
        new = compare(image, image_ids, texts, text_ids, log_scale, bias)
        return jax.tree.map(jnp.add, carry, new), None

    zero = jnp.zeros(()), jnp.zeros(())
    (total, weight), _ = jax.lax.scan(step, zero, (split(image), split(ids[0])))
    return total / weight


@pytest.mark.parametrize(
    ("num", "shape"),
    [(1, (1,)), (4, (1,)), (2, (2,)), (4, (3,)), (2, (5,)), (1, (8,)), (4, (8,)), (2, (2, 3))],
)
def test_microbatches_of_images_equal_the_whole_batch(num, shape):
    axes = ("data", "fsdp")[: len(shape)]
    size = int(np.prod(shape))
    mesh = jax.make_mesh(
        shape, axes, axis_types=(AxisType.Auto,) * len(shape), devices=jax.devices()[:size]
    )
    (image, text), ids = batch(size * B)
    args = (image, text, LOG_SCALE, BIAS)
    function = jax.value_and_grad(partial(in_microbatches, mesh, axes, num), argnums=(0, 1, 2, 3))
    loss, grads = jax.jit(function, **FAST_COMPILE)(*args, ids)
    expected, expected_grads = oracle(*args, ids)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    for actual, wanted in zip(grads, expected_grads, strict=True):
        error = np.linalg.norm(np.asarray(actual, np.float64) - wanted)
        assert error <= 1e-6 * np.linalg.norm(wanted)


def on_eight(function, mesh, axes, *args):
    rows = P(axes)
    mapped = jax.shard_map(function, mesh=mesh, in_specs=rows, out_specs=rows)
    return jax.jit(mapped)(*args)


@pytest.fixture
def grid():
    return jax.make_mesh((4, 2), ("data", "fsdp"), axis_types=(AxisType.Auto,) * 2)


def test_gathering_keeps_the_order_and_its_transpose_sums(grid):
    axes = ("data", "fsdp")
    x = jnp.arange(16 * 3, dtype=jnp.float32).reshape(16, 3)
    every = on_eight(partial(all_gather, axes=axes), grid, axes, x).reshape(8, 16, 3)
    np.testing.assert_array_equal(every, np.broadcast_to(x, (8, 16, 3)))
    y = jnp.asarray(np.random.default_rng(0).standard_normal((8 * 16, 3)), jnp.float32)
    summed = on_eight(partial(reduce_scatter, axes=axes), grid, axes, y)
    np.testing.assert_allclose(summed, y.reshape(8, 16, 3).sum(0), rtol=1e-5, atol=1e-6)


def test_bfloat16_texts_travel_as_such_and_their_gradients_in_float32(grid):
    axes = ("data", "fsdp")
    text = jnp.ones((16, 3), jnp.bfloat16)
    ids = jnp.arange(16)

    def loss(text, weights):
        gathered, _ = gather_texts(text, ids[: len(text)], axes)
        assert gathered.dtype == jnp.float32
        return jax.lax.psum(jnp.sum(gathered * weights), axes)

    rows = P(axes)
    mapped = jax.shard_map(loss, mesh=grid, in_specs=(rows, rows), out_specs=P())
    # bfloat16 has no 1 + 1/256; float32 sums keep it when -1 cancels the 1.
    weights = jnp.repeat(jnp.where(jnp.arange(8) < 4, 1 + 1 / 256, -1.0), 16)[:, None]
    weights = jnp.broadcast_to(weights, (8 * 16, 3))
    gradient = jax.jit(jax.grad(mapped))(text, weights)
    assert gradient.dtype == jnp.bfloat16
    np.testing.assert_array_equal(gradient.astype(jnp.float32), 4 / 256)
    moved = str(jax.make_jaxpr(jax.grad(mapped))(text, weights))
    assert [line for line in moved.splitlines() if ":bf16" in line and "all_gather" in line]
    assert [line for line in moved.splitlines() if ":f32" in line and "reduce_scatter" in line]
