"""Distances equal torch's, and their sums add up over any parts of a batch."""

import inspect
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from cogvit_jax.losses import distill
from cogvit_jax.settings import ConfigError

GOLDEN = Path(__file__).parents[2] / "golden" / "distill.npz"
MIX = (("cosine", 0.5), ("smooth_l1", 0.5))
# Sums of a dozen float32 numbers near 1.
CLOSE = {"atol": 2e-6, "rtol": 2e-6}


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return {
            name: jnp.asarray(x, jnp.float32 if x.dtype == np.float64 else x.dtype)
            for name, x in file.items()
        }


def batch(b=8, n=6, d=16, dtype=jnp.float32, ratio=0.4):
    rng = np.random.default_rng(0)
    prediction, target = (jnp.asarray(rng.standard_normal((b, n, d)), dtype) for _ in range(2))
    return prediction, target, jnp.asarray(rng.random((b, n)) < ratio)


@pytest.mark.parametrize("kind", distill.DISTANCES)
def test_equals_torch(golden, kind):
    inputs = golden["prediction"], golden["target"]
    np.testing.assert_allclose(distill.distance(kind, *inputs), golden[kind], **CLOSE)

    def total(prediction):
        terms = ((kind, 1.0),)
        return distill.distillation(prediction, inputs[1], golden["masked"], terms=terms).total

    value, gradient = jax.value_and_grad(total)(inputs[0])
    np.testing.assert_allclose(value, golden[kind][golden["masked"]].sum(), **CLOSE)
    np.testing.assert_allclose(gradient, golden[f"d_{kind}"], **CLOSE)
    assert np.all(gradient[~golden["masked"]] == 0)


def test_mix_is_the_weighted_sum():
    prediction, target, _ = batch()
    parts = [
        w * distill.distance(k, prediction, target) for k, w in (("mse", 2.0), ("cosine", 3.0))
    ]
    mixed = distill.mix((("mse", 2.0), ("cosine", 3.0)), prediction, target)
    np.testing.assert_allclose(mixed, parts[0] + parts[1], rtol=1e-6)


@pytest.mark.parametrize("tokens", ["masked", "all"])
def test_parts_of_a_batch_add_up(tokens):
    loss = jax.jit(partial(distill.distillation, terms=MIX, tokens=tokens))
    inputs = batch()
    whole = loss(*inputs)
    parts = [loss(*(x[i:j] for x in inputs)) for i, j in ((0, 1), (1, 3), (3, 8))]
    np.testing.assert_allclose(sum(p.total for p in parts), whole.total, rtol=1e-6)
    assert sum(p.weight for p in parts) == whole.weight
    distances = distill.mix(MIX, *inputs[:2])
    chosen = distances if tokens == "all" else distances[inputs[2]]
    np.testing.assert_allclose(whole.total, np.sum(chosen), rtol=1e-6)
    assert whole.weight == (np.sum(inputs[2]) if tokens == "masked" else inputs[2].size)
    by_example = np.concatenate([p.example_total for p in parts])
    np.testing.assert_allclose(by_example, whole.example_total, rtol=1e-6)
    np.testing.assert_allclose(np.sum(whole.example_total), whole.total, rtol=1e-6)
    np.testing.assert_array_equal(np.sum(whole.example_weight), whole.weight)


def test_eight_devices_equal_one(make_mesh):
    inputs = batch()
    split = jax.device_put(inputs, NamedSharding(make_mesh(8), P("data")))
    loss = jax.jit(partial(distill.distillation, terms=MIX))
    for ours, single in zip(loss(*split), loss(*inputs), strict=True):
        np.testing.assert_allclose(ours, single, rtol=1e-6)


@pytest.mark.parametrize("kind", distill.DISTANCES)
def test_nothing_masked(kind):
    prediction, target, masked = batch(ratio=0.0)

    def total(prediction):
        found = distill.distillation(prediction, target, masked, terms=((kind, 1.0),))
        return found.total, found.weight

    (value, weight), gradient = jax.value_and_grad(total, has_aux=True)(prediction)
    assert (value, weight) == (0, 0)
    assert np.all(gradient == 0)


@pytest.mark.parametrize("kind", distill.DISTANCES)
def test_zero_vectors_have_finite_gradients(kind):
    prediction, target, _ = batch(b=2, n=2)
    zeros = jnp.zeros_like(prediction)
    for x, y in ((zeros, target), (prediction, zeros), (zeros, zeros)):
        value, gradient = jax.value_and_grad(
            lambda x, y: jnp.sum(distill.distance(kind, x, y)), argnums=(0, 1)
        )(x, y)
        assert np.isfinite(value)
        assert all(np.all(np.isfinite(g)) for g in gradient)
    np.testing.assert_array_equal(distill.cosine(zeros, target), np.ones((2, 2)))


def test_cosine_knows_directions_only():
    prediction, target, _ = batch()
    cosine = distill.cosine(prediction, target)
    np.testing.assert_allclose(distill.cosine(1e4 * prediction, 1e-3 * target), cosine, atol=1e-6)
    np.testing.assert_allclose(distill.cosine(target, target), 0, atol=1e-6)
    np.testing.assert_allclose(distill.cosine(-target, target), 2, atol=1e-6)


@pytest.mark.parametrize("kind", distill.DISTANCES)
def test_computes_in_float32_whatever_comes_in(kind):
    prediction, target, _ = batch(d=512, dtype=jnp.bfloat16)
    found = distill.distance(kind, prediction, target)
    assert found.dtype == jnp.float32
    wide = distill.distance(kind, *(x.astype(jnp.float32) for x in (prediction, target)))
    np.testing.assert_array_equal(found, wide)


def test_errors_name_the_field():
    prediction, target, masked = batch(b=1)
    loss = partial(distill.distillation, prediction, target, masked)
    with pytest.raises(ConfigError, match=r"config.loss.terms = 'cosin'.*'cosine'"):
        loss(terms=(("cosin", 1.0),))
    with pytest.raises(ConfigError, match=r"config.loss.terms is empty"):
        loss(terms=())
    with pytest.raises(ConfigError, match=r"'mse' the weight -1"):
        loss(terms=(("mse", -1.0),))
    with pytest.raises(ConfigError, match=r"config.loss.tokens = 'mask'.*'masked'"):
        loss(tokens="mask")
    with pytest.raises(ValueError, match=r"\(1, 6, 16\).*\(1, 3, 16\).*equally many"):
        inspect.unwrap(distill.distillation)(prediction, target[:, :3], masked)
