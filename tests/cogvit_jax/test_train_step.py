"""The training step: exact sums over microbatches, bad batches left out, honest statistics."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cogvit_jax import sharding, train_step
from cogvit_jax.program import Loss
from cogvit_jax.settings import ConfigError


@pytest.fixture(scope="module")
def step_and_init(toy, eight):
    step, state, _ = toy.step(toy.program(eight))
    host = jax.device_get((state.params, state.opt_state))
    shardings = jax.tree.map(lambda x: x.sharding, state)

    def fresh(number=0):
        """The step donates its state, so every call gets one of its own."""
        params, opt_state = host
        step_number, skipped = jnp.full((), number, jnp.int32), jnp.zeros((), jnp.int32)
        key = jax.random.key(5)
        state = train_step.TrainState(step_number, params, opt_state, key, skipped)
        return jax.device_put(state, shardings)

    return step, fresh


def test_gradient_of_masked_mean_is_the_numpy_one(toy, eight):
    batch = toy.make_batch(3)
    program = toy.program(eight)
    params = program.init(jax.random.key(1))
    key = jax.random.key(0)
    _, grads = train_step.gradients(program, params, None, batch, key, 1)
    kernel = np.asarray(params["linear"]["kernel"], np.float64)
    error = (batch["x"] @ kernel - batch["y"]) * batch["mask"][:, None]
    weight = batch["mask"].sum()
    np.testing.assert_allclose(
        grads["linear"]["kernel"], 2 * batch["x"].T @ error / weight, rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        grads["linear"]["bias"], 2 * error.sum(0) / weight, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("num", [2, 4])
def test_microbatches_equal_one_batch_under_ragged_masks(toy, eight, num):
    program = toy.program(eight)
    params = program.init(jax.random.key(1))
    batch = toy.make_batch(0)
    batch["mask"][::num] = 0  # the first microbatch is all masked
    assert batch["mask"].sum() > 0
    batch = sharding.put_batch(eight, batch)

    def gradients(params, batch, num):
        return train_step.gradients(program, params, None, batch, jax.random.key(0), num)

    jitted = jax.jit(gradients, static_argnums=2)
    (loss, grads), (parts, part_grads) = jitted(params, batch, 1), jitted(params, batch, num)
    assert float(parts.weight) == float(loss.weight)
    np.testing.assert_allclose(parts.total, loss.total, rtol=1e-6)
    np.testing.assert_allclose(parts.metrics["large"], loss.metrics["large"], rtol=1e-6)
    for name in ("kernel", "bias"):
        whole = np.asarray(grads["linear"][name])
        np.testing.assert_allclose(
            part_grads["linear"][name], whole, rtol=1e-6, atol=1e-6 * np.abs(whole).max()
        )


def test_step_with_microbatches_equals_step_without(toy, eight):
    batch = sharding.put_batch(eight, toy.make_batch(0))
    found = []
    for num in (1, 4):
        step, state, _ = toy.step(toy.program(eight), num)
        state, metrics = step(state, None, batch)
        found.append(jax.device_get((state.params, metrics)))
    (params, metrics), (part_params, part_metrics) = found
    assert part_metrics.pop("draw") != metrics.pop("draw")  # a key per microbatch
    for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(part_params), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-6)
    assert metrics.keys() == part_metrics.keys()
    for name in metrics:
        np.testing.assert_allclose(part_metrics[name], metrics[name], rtol=1e-6, err_msg=name)


def test_a_batch_without_weight_is_finite(step_and_init, toy, eight):
    step, fresh = step_and_init
    batch = toy.make_batch(0)
    batch["mask"][:] = 0
    state, metrics = step(fresh(), None, sharding.put_batch(eight, batch))
    assert float(metrics["loss"]) == 0.0
    assert np.isnan(metrics["large"])  # nothing to average over; the log leaves it out
    assert float(metrics["finite"]) == 1.0
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(jax.device_get(state.params)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_bad_batch_changes_nothing_but_the_counters(step_and_init, toy, eight, value):
    step, fresh = step_and_init
    batch = toy.make_batch(0)
    batch["mask"][5], batch["x"][5, 1] = 1, value
    before = jax.device_get((fresh().params, fresh().opt_state))
    state, metrics = step(fresh(), None, sharding.put_batch(eight, batch))
    after = jax.device_get((state.params, state.opt_state))
    for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        np.testing.assert_array_equal(new, old)
    assert (float(metrics["finite"]), int(state.skipped), int(state.step)) == (0.0, 1, 1)
    state, metrics = step(state, None, sharding.put_batch(eight, toy.make_batch(1)))
    assert (float(metrics["finite"]), int(state.skipped), int(state.step)) == (1.0, 1, 2)
    assert not np.array_equal(state.params["linear"]["kernel"], before[0]["linear"]["kernel"])


def test_an_infinite_gradient_of_a_finite_loss_is_skipped(toy, eight):
    program = toy.program(eight)

    def rooted(params, frozen, batch, key):
        loss = program.loss(params, frozen, batch, key)
        at_zero = jnp.sqrt(jnp.sum(params["linear"]["bias"] ** 2))  # slope 0/0 at zero
        return loss._replace(total=loss.total + at_zero)

    step, state, _ = toy.step(dataclasses.replace(program, loss=rooted))
    state, metrics = step(state, None, sharding.put_batch(eight, toy.make_batch(0)))
    assert np.isfinite(float(metrics["loss"]))
    assert (float(metrics["finite"]), int(state.skipped)) == (0.0, 1)


def test_group_statistics_equal_numpy(step_and_init, toy, eight):
    step, fresh = step_and_init
    batch = sharding.put_batch(eight, toy.make_batch(2))
    before = jax.device_get(fresh().params["linear"])
    state, metrics = step(fresh(), None, batch)
    after = jax.device_get(state.params["linear"])
    program = toy.program(eight)
    _, grads = train_step.gradients(
        program, {"linear": before}, None, toy.make_batch(2), jax.random.key(0), 1
    )
    for name, leaf in (("weights", "kernel"), ("biases", "bias")):
        grad, old = np.asarray(grads["linear"][leaf]), before[leaf]
        norm = np.linalg.norm(old)
        expected = {
            "grad_norm": np.linalg.norm(grad),
            "param_norm": norm,
            "update_ratio": np.linalg.norm(after[leaf] - old) / max(norm, 1e-12),
        }
        for kind, value in expected.items():
            np.testing.assert_allclose(
                metrics[f"{kind}/{name}"], value, rtol=1e-5, err_msg=f"{kind}/{name}"
            )
    overall = np.hypot(metrics["grad_norm/weights"], metrics["grad_norm/biases"])
    np.testing.assert_allclose(metrics["grad_norm"], overall, rtol=1e-6)


def test_groups_of_several_arrays_add_their_squares():
    groups = {"a": "one", "b": "two", "c": "one"}
    values = {"a": jnp.full((2, 2), 3.0), "b": jnp.ones(4), "c": jnp.full((), 8.0)}
    stats = train_step.group_statistics(groups, values, values, values)
    assert float(stats["grad_norm/one"]) == 10.0
    assert float(stats["param_norm/two"]) == 2.0
    assert float(stats["update_ratio/one"]) == 1.0


def test_every_step_has_its_own_key_and_repeats(step_and_init, toy, eight):
    step, fresh = step_and_init
    batch = sharding.put_batch(eight, toy.make_batch(0))
    draws = [float(step(fresh(number), None, batch)[1]["draw"]) for number in (0, 1, 2, 0)]
    assert len(set(draws[:3])) == 3
    assert draws[0] == draws[3]


@pytest.mark.parametrize("num", [0, -2])
def test_fewer_than_one_microbatch_is_an_error(toy, eight, num):
    with pytest.raises(ConfigError, match=f"config.train.microbatches = {num}: .*at least 1"):
        toy.step(toy.program(eight), num)


def pairwise(toy, mesh):
    """Every row's x meets every row's y: the sum of squared products with all of them."""

    def share(params, frozen, batch, key):
        return batch["y"] @ params["other"], {"x": batch["x"], "mask": batch["mask"]}

    def loss(params, frozen, batch, key):
        products = (batch["x"] @ params["linear"]["kernel"]) @ batch["shared"].T
        total = jnp.sum(jnp.square(products) * batch["mask"][:, None])
        return Loss(total, jnp.sum(batch["mask"]), {})

    plain = toy.program(mesh)
    return dataclasses.replace(plain, loss=loss, shared=share)


@pytest.mark.parametrize("num", [1, 2, 4])
def test_what_microbatches_share_is_differentiated_through_all_of_them(toy, eight, num):
    rng = np.random.default_rng(0)
    host = toy.make_batch(0)
    shapes = {"linear": {"kernel": (3, 5)}, "other": (2, 5)}
    params = jax.tree.map(
        lambda s: rng.standard_normal(s), shapes, is_leaf=lambda x: isinstance(x, tuple)
    )
    f32 = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params)
    batch = sharding.put_batch(eight, host)
    run = jax.jit(
        lambda p, b: train_step.gradients(pairwise(toy, eight), p, None, b, jax.random.key(0), num)
    )
    loss, grads = run(f32, batch)

    x, y, mask = (host[k].astype(np.float64) for k in ("x", "y", "mask"))
    images, texts = x @ params["linear"]["kernel"], y @ params["other"]
    products = images @ texts.T
    d_products = 2 * products * mask[:, None] / mask.sum()
    np.testing.assert_allclose(loss.total, (products**2 * mask[:, None]).sum(), rtol=1e-5)
    for found, truth in (
        (grads["linear"]["kernel"], x.T @ d_products @ texts),
        (grads["other"], y.T @ d_products.T @ images),
    ):
        np.testing.assert_allclose(found, truth, rtol=1e-5, atol=1e-5 * np.abs(truth).max())


def test_the_state_is_the_same_on_any_mesh(toy, eight, make_mesh):
    one = make_mesh(1)
    states = [toy.step(toy.program(mesh))[1] for mesh in (one, eight)]
    for a, b in zip(*(jax.tree.leaves(s.params) for s in states), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
