"""Muon's update of each matrix and AdamW's of the rest, against optax and float64."""

import math

import jax
import numpy as np
import optax
import pytest
from optax.contrib import MuonDimensionNumbers, scale_by_muon

from cogvit_jax import optim
from tests.optim_cases import (
    LR,
    config,
    gradients,
    make_params,
    named,
    names,
    only,
    rate,
    run,
)


@pytest.fixture(scope="module")
def params():
    return make_params()


@pytest.fixture(scope="module")
def updates(params):
    return run(optim.build(config(), params, 100).transform, params, gradients(params))


def matrices(name, x):
    """The matrices of a parameter, each cut out on its own, as [inputs, outputs]."""
    x = np.asarray(x)
    layers = x if "/blocks/" in name else x[None]
    if "qkv" in name:
        return [layer[:, i].reshape(len(layer), -1) for layer in layers for i in range(3)]
    if "/out/" in name:
        return [layer.reshape(-1, layer.shape[-1]) for layer in layers]
    return [layer.reshape(len(layer), -1) for layer in layers]


def test_muon_treats_every_matrix_by_itself(params, updates):
    def single(values):
        cut = {name: matrices(name, named(values)[name]) for name in names("muon")}
        return {f"{name}:{i}": m for name in cut for i, m in enumerate(cut[name])}

    plain = scale_by_muon(
        weight_dimension_numbers=lambda x: jax.tree.map(lambda _: MuonDimensionNumbers(), x)
    )
    reference = run(plain, single(params), [single(g) for g in gradients(params)])
    for step, wanted in zip(updates, reference, strict=True):
        for key, update in single(step).items():
            name = key.partition(":")[0]
            lr, decay = rate(name)
            size = 0.2 * math.sqrt(max(update.shape))
            expected = -lr * (size * wanted[key] + decay * single(params)[key])
            np.testing.assert_allclose(update, expected, atol=1e-5 * lr, rtol=1e-4)
        params = optax.apply_updates(params, step)


def newton_schulz(matrix, steps=5):
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix / np.linalg.norm(matrix)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


def test_muon_equals_newton_schulz_in_float64(params, updates):
    """Nesterov's momentum with optax's bias correction, as in NAdam."""
    beta, momentum, current = 0.95, dict.fromkeys(names("muon"), 0.0), named(params)
    for t, (grad, step) in enumerate(zip(gradients(params), updates, strict=True), start=1):
        grad, step = named(grad), named(step)
        for name in names("muon"):
            g = grad[name].astype(np.float64)
            momentum[name] = beta * momentum[name] + (1 - beta) * g
            ahead = beta * momentum[name] / (1 - beta ** (t + 1)) + (1 - beta) * g / (1 - beta**t)
            lr, decay = rate(name)
            parts = (matrices(name, x) for x in (ahead, current[name], step[name]))
            for direction, weights, update in zip(*parts, strict=True):
                size = 0.2 * math.sqrt(max(update.shape))
                expected = -lr * (size * newton_schulz(direction) + decay * weights)
                np.testing.assert_allclose(update, expected, atol=1e-4 * lr, rtol=1e-4)
        current = {name: current[name] + step[name] for name in step}


@pytest.mark.parametrize(
    ("coefficients", "bounds"), [("quintic", (0.6, 1.25)), ("dion", (0.8, 1.25))]
)
def test_first_update_is_nearly_orthogonal(params, coefficients, bounds):
    options = only("text", muon_coefficients=coefficients, weight_decay=0.0)
    transform = optim.build(options, params, 100).transform
    first = named(run(transform, params, gradients(params, 1))[0])
    for name in (n for n in names("muon") if n.startswith("text/")):
        for update in matrices(name, first[name]):
            size = 0.2 * math.sqrt(max(update.shape)) * LR["text"]
            singular = np.linalg.svd(update / size, compute_uv=False)
            assert singular[0] < bounds[1]
            # The smallest of a random square matrix may be too near 0 for five steps.
            assert singular[-2] > bounds[0]


def test_adamw_is_optaxs(params, updates):
    for lr, decay in sorted({rate(name) for name in names("adamw")}):
        mine = [name for name in names("adamw") if rate(name) == (lr, decay)]

        def pick(values, mine=mine):
            return {name: named(values)[name] for name in mine}

        transform = optax.adamw(lr, 0.9, 0.95, 1e-8, weight_decay=decay)
        reference = run(transform, pick(params), [pick(g) for g in gradients(params)])
        for step, wanted in zip(updates, reference, strict=True):
            for name in mine:
                np.testing.assert_allclose(named(step)[name], wanted[name], rtol=1e-5, atol=1e-9)
