"""Where a sample's tokens lie changes nothing: rows, padding, microbatches, devices, numbers.

In float32; gradients and sums agree to 1e-5, a few roundings of sums of forty terms.
"""

from functools import cache, partial

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from rl import algorithm
from rl.losses.loss import policy_loss
from tests.rl.losses import samples

LENGTHS = (1, 5, 3, 7, 2, 4, 6, 2)
ALONE = [[i] for i in range(8)]
WIDTH = 18
CLOSE = {"atol": 1e-5, "rtol": 1e-5}
EVERYTHING = {
    "kl_weight": 0.3,
    "distill_weights": (0.3, 0.1),
    "topk_distill_weight": 0.2,
    "entropy_weight": 0.1,
    "max_tokens": 9,
}
# Sums over samples in the objective, in the correction and in the rejection; versions.
SETTINGS = {
    "by token": {
        "preset": "dapo",
        "dual_clip": 1.5,
        "proximal": "old",
        "correction": "sequence",
        "rejection": "geometric",
        "rejection_low": 0.8,
        "rejection_high": 1.2,
    },
    "by sample": {"preset": "gspo", "proximal": "loglinear", "correction": "tis"},
    "dr_grpo": {"preset": "dr_grpo", "proximal": "old", "rejection": "sequence"},
}


@cache
def function(name):
    settings = algorithm.read({**EVERYTHING, **SETTINGS[name]})

    def total(logprobs, batch):
        rest = {k: batch[k] for k in ("entropy", "topk_logprobs")}
        found = policy_loss(settings, logprobs, batch, max_samples=8, **rest)
        return found.total, found

    return jax.jit(jax.grad(total, has_aux=True))


def evaluate(name, batch):
    """(total, weight, metrics), gradient in rows."""
    gradient, found = function(name)(batch["logprobs"], batch)
    return jax.tree.map(np.asarray, (tuple(found), gradient))


@cache
def alone(name):
    """One sample to a row, and the gradient of every sample."""
    drawn = samples.draw(LENGTHS)
    found, gradient = evaluate(name, samples.pack(drawn, ALONE, WIDTH))
    return drawn, found, samples.unpack(gradient, drawn, ALONE)


def assert_same(found, expected):
    jax.tree.map(partial(np.testing.assert_allclose, **CLOSE), found, expected)


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize(
    ("rows", "width", "numbers", "filling"),
    [
        ([[6, 0], [3], [2, 1], [7, 5], [4], [], [], []], WIDTH, None, np.nan),
        ([[5, 4], [1, 2, 0], [7], [3, 6], [], [], [], []], WIDTH, (3, 8, 1, 6, 2, 5, 4, 7), 0),
        (ALONE, WIDTH, None, np.inf),
        ([[7, 6, 5, 4, 3, 2, 1, 0]], 64, (8, 7, 6, 5, 4, 3, 2, 1), -5),
    ],
    ids=["packed", "packed in another order", "other padding", "one row"],
)
def test_packing(name, rows, width, numbers, filling):
    drawn, expected, gradients = alone(name)
    found, gradient = evaluate(name, samples.pack(drawn, rows, width, numbers, filling=filling))
    assert_same(found, expected)
    assert_same(samples.unpack(gradient, drawn, rows), gradients)
    assert max(np.abs(g).max() for g in gradients) > 0.1


@pytest.mark.parametrize("name", SETTINGS)
def test_microbatches(name):
    drawn, expected, gradients = alone(name)
    rows = [[6, 0], [3], [2, 1], [7, 5], [4], [], [], []]
    whole = samples.pack(drawn, rows, WIDTH)
    parts = []
    for keep in ([0, 1], [2], [3, 4, 5, 6, 7]):
        mask = np.zeros_like(whole["mask"])
        mask[keep] = whole["mask"][keep]
        parts.append(evaluate(name, {**whole, "mask": mask}))
    found, gradient = jax.tree.map(lambda *x: sum(x), *parts)
    assert_same(found, expected)
    assert_same(samples.unpack(gradient, drawn, rows), gradients)


@pytest.mark.parametrize("name", SETTINGS)
def test_eight_devices(name, make_mesh):
    drawn, expected, gradients = alone(name)
    rows = [[6, 0], [3], [2, 1], [7, 5], [4], [], [], []]
    batch = samples.pack(drawn, rows, WIDTH)
    mesh = make_mesh(8)
    split = {
        k: jax.device_put(x, NamedSharding(mesh, P("data") if np.ndim(x) else P()))
        for k, x in batch.items()
    }
    found, gradient = evaluate(name, split)
    assert_same(found, expected)
    assert_same(samples.unpack(gradient, drawn, rows), gradients)


def test_the_settings_clip_and_drop():
    """Otherwise the tests above would say little."""
    for name, metrics in (
        ("by token", ("clip/low", "clip/high", "clip/dual", "correction/dropped")),
        ("by sample", ("clip/high",)),
        ("dr_grpo", ("clip/low", "clip/high", "correction/dropped")),
    ):
        found = alone(name)[1][2]
        for metric in metrics:
            total, count = found[metric]
            assert 0 < total < count, (name, metric)
