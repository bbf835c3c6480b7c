"""Experts against a loop over tokens; the router's bias; devices."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cogvit_jax import sharding
from mmtp.models import moe

CONFIG = moe.MoEConfig(num_experts=6, num_selected=2, expert_dim=5, num_shared=2, scale=1.7)
WIDTH = 8


def make_layer(config=CONFIG, seed=0):
    """(layer, parameters): every leaf random."""
    layer = moe.MoE(config)
    shapes = jax.eval_shape(
        layer.init, jax.random.key(0), jnp.zeros((1, 1, WIDTH)), jnp.ones((1, 1), bool)
    )["params"]
    rng = np.random.default_rng(seed)
    return layer, jax.tree.map(
        lambda x: jnp.asarray(0.5 * rng.standard_normal(x.shape), jnp.float32), shapes
    )


def random_rows(seed=1, rows=4, tokens=7):
    rng = np.random.default_rng(seed)
    x = jnp.asarray(rng.standard_normal((rows, tokens, WIDTH)), jnp.float32)
    return x, jnp.asarray(rng.random((rows, tokens)) < 0.8)


def apply(layer, params, x, counted):
    out, sown = layer.apply({"params": params}, x, counted, mutable=["loads"])
    return out, sown["loads"]["loads"][0]


def swiglu(x, kernels):
    gate = x @ kernels["gate"]["kernel"]
    return (gate / (1 + np.exp(-gate)) * (x @ kernels["up"]["kernel"])) @ kernels["down"]["kernel"]


def loop(params, x, counted, config=CONFIG):
    """The same, one token and one expert at a time, in f64."""
    params = jax.tree.map(lambda p: np.asarray(p, np.float64), params)
    experts = params["experts"]
    out, loads = np.zeros(x.shape), np.zeros(config.num_experts)
    for place in np.ndindex(*x.shape[:2]):
        token = np.asarray(x[place], np.float64)
        scores = 1 / (1 + np.exp(-token @ params["router"]["kernel"]))
        chosen = np.argsort(-(scores + params["router"]["bias"]))[: config.num_selected]
        for e in chosen:
            kernels = {name: {"kernel": k["kernel"][e]} for name, k in experts.items()}
            weight = config.scale * scores[e] / scores[chosen].sum()
            out[place] += weight * swiglu(token, kernels)
            loads[e] += counted[place]
        if config.num_shared:
            out[place] += swiglu(token, params["shared"])
    return out, loads


@pytest.mark.parametrize("num_selected", [1, 2, 6])
@pytest.mark.parametrize("num_shared", [0, 2])
def test_a_loop_over_tokens(num_selected, num_shared):
    config = dataclasses.replace(CONFIG, num_selected=num_selected, num_shared=num_shared)
    layer, params = make_layer(config)
    assert ("shared" in params) == bool(num_shared)
    x, counted = random_rows()
    with jax.default_matmul_precision("highest"):
        found, loads = jax.jit(lambda *args: apply(layer, *args))(params, x, counted)
    expected, expected_loads = loop(params, x, np.asarray(counted), config)
    np.testing.assert_allclose(found, expected, atol=5e-6)
    np.testing.assert_array_equal(loads, expected_loads)


def test_no_token_is_dropped_where_all_choose_the_same():
    layer, params = make_layer()
    params["router"]["bias"] = jnp.asarray([0, 0, 9, 0, 9, 0], jnp.float32)
    x, _ = random_rows()
    counted = jnp.ones(x.shape[:2], bool)
    with jax.default_matmul_precision("highest"):
        found, loads = apply(layer, params, x, counted)
    expected, _ = loop(params, x, np.asarray(counted))
    np.testing.assert_allclose(found, expected, atol=5e-6)
    np.testing.assert_array_equal(loads, [0, 0, 28, 0, 28, 0])


def test_the_bias_chooses_and_does_nothing_else():
    layer, params = make_layer()
    x, counted = random_rows()
    before, loads = apply(layer, params, x, counted)
    raised = params | {"router": params["router"] | {"bias": params["router"]["bias"] + 3}}
    after, same = apply(layer, raised, x, counted)
    np.testing.assert_allclose(after, before, atol=1e-6)  # all experts alike: the same choice
    np.testing.assert_array_equal(same, loads)
    grads = jax.grad(lambda p: jnp.sum(apply(layer, p, x, counted)[0] ** 2))(params)
    assert not np.any(grads["router"]["bias"])
    assert np.any(grads["router"]["kernel"])


@pytest.mark.slow
def test_gradients_are_those_of_all_experts_under_a_mask():
    layer, params = make_layer()
    x, counted = random_rows()

    def dense(params, x):
        scores = jax.nn.sigmoid(x @ params["router"]["kernel"])
        _, chosen = jax.lax.top_k(
            scores + params["router"]["bias"].reshape(1, 1, -1), CONFIG.num_selected
        )
        mask = jax.nn.one_hot(chosen, CONFIG.num_experts).sum(axis=2)
        weights = scores * mask
        weights = CONFIG.scale * weights / weights.sum(axis=-1, keepdims=True)
        kernels = {name: k["kernel"] for name, k in params["experts"].items()}
        gate, up = (jnp.einsum("btd,edm->btem", x, kernels[n]) for n in ("gate", "up"))
        out = jnp.einsum("btem,emd->bted", jax.nn.silu(gate) * up, kernels["down"])
        shared = {name: k["kernel"] for name, k in params["shared"].items()}
        rest = (jax.nn.silu(x @ shared["gate"]) * (x @ shared["up"])) @ shared["down"]
        return jnp.einsum("bted,bte->btd", out, weights) + rest

    def loss(run, params, x):
        return jnp.sum(jnp.sin(run(params, x)))

    with jax.default_matmul_precision("highest"):
        found = jax.grad(loss, (1, 2))(lambda p, x: apply(layer, p, x, counted)[0], params, x)
        expected = jax.grad(loss, (1, 2))(dense, params, x)
    params_found, x_found = found
    del params_found["router"]["bias"], expected[0]["router"]["bias"]
    for mine, theirs in zip(
        jax.tree.leaves((params_found, x_found)), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(mine, theirs, atol=1e-5, rtol=1e-5)


def test_the_bias_moves_against_the_load():
    bias = jnp.asarray([[0.1, 0, -0.1], [0, 0, 0]])
    loads = jnp.asarray([[6.0, 2, 1], [4, 4, 4]])
    found = moe.update_bias(bias, loads, 0.01)
    np.testing.assert_allclose(found, [[0.09, 0.01, -0.09], [0, 0, 0]], atol=1e-7)


def test_updates_even_out_a_lopsided_router():
    layer, params = make_layer()
    params["router"]["kernel"] = params["router"]["kernel"].at[:, 0].add(2)
    x, counted = random_rows(rows=16, tokens=16)
    x = x + 0.5
    step = jax.jit(lambda p: apply(layer, p, x, counted)[1])

    def spread(loads):
        return float(loads.max() / loads.mean())

    first = spread(step(params))
    for _ in range(400):
        bias = moe.update_bias(params["router"]["bias"][None], step(params)[None], 0.005)[0]
        params["router"]["bias"] = bias
    assert first > 1.8
    assert spread(step(params)) < 1.2


@pytest.mark.parametrize("axes", [{"data": 2, "fsdp": 4}, {"fsdp": 2, "context": 2, "tensor": 2}])
def test_eight_devices(make_mesh, axes):
    config = dataclasses.replace(CONFIG, expert_dim=6)
    layer, params = make_layer(config)
    x, counted = random_rows(rows=8, tokens=6)

    def loss(params, x, counted):
        out, loads = apply(layer, params, x, counted)
        return jnp.sum(jnp.sin(out)), (out, loads)

    step = jax.value_and_grad(loss, has_aux=True)
    with jax.default_matmul_precision("highest"):
        expected = jax.jit(step)(params, x, counted)
        mesh = make_mesh(8, **({"data": 1} | axes))
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            split = sharding.put_batch(mesh, (np.asarray(x), np.asarray(counted)))
            found = jax.jit(step)(sharding.replicate(mesh, params), *split)
    for mine, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=2e-5, rtol=1e-5)
