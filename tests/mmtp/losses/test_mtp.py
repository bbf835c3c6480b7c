"""Sums of the loss with multi-token prediction against loops over places."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmtp.losses.cross_entropy import TokenLosses
from mmtp.losses.mtp import mask_paths, metrics, scheduled_weight, total_loss

B, DEPTH, T = 2, 3, 12
NAMES = ("text", "ocr", "gui")


def example(seed=0):
    """Losses, weights and what the planner says of them, at random; a document of T tokens each."""
    rng = np.random.default_rng(seed)
    shape = (B, 1 + DEPTH, T)
    predicted = rng.integers(0, 2, shape).astype(np.int32)  # two tokens, so that many agree
    labels = rng.integers(0, 2, shape)
    found = TokenLosses(
        nll=rng.uniform(0, 3, shape).astype(np.float32),
        correct=predicted == labels,
        predicted=predicted,
        penalty=rng.uniform(0, 0.1, shape).astype(np.float32),
    )
    supervised = rng.random((B, T)) < 0.8
    weights = np.zeros(shape, np.float32)
    order = np.stack([rng.permutation(T) for _ in range(B)])  # place in the row -> token's number
    sources = np.zeros((B, DEPTH, T), np.int32)
    for b, place, k in np.ndindex(B, T, DEPTH + 1):
        number = order[b, place]
        if number + k + 1 < T:
            weights[b, k, place] = supervised[b, number + k + 1]
        if k and number + k < T:
            sources[b, k - 1, place] = np.flatnonzero(order[b] == number + k)[0]
    arrays = {
        "categories": rng.integers(0, len(NAMES), (B, T)).astype(np.int32),
        "sources": sources,
        "path": rng.random((B, DEPTH, T)) < 0.6,
    }
    return jax.tree.map(jnp.asarray, (found, weights, arrays))


def test_total_is_main_plus_share_of_depths_over_a_common_weight():
    found, weights, _ = example()
    total, weight = total_loss(found, weights, 0.3)
    each = np.asarray(weights * (found.nll + found.penalty)).sum(axis=(0, 2))
    np.testing.assert_allclose(total, each[0] + 0.3 / DEPTH * each[1:].sum(), rtol=1e-6)
    np.testing.assert_array_equal(weight, np.asarray(weights)[:, 0].sum())


def test_rows_add_up_as_microbatches_do():
    found, weights, arrays = example()

    def parts(rows):
        some, w, extra = jax.tree.map(lambda x: x[rows], (found, weights, arrays))
        return total_loss(some, w, 0.1), metrics(some, w, names=NAMES, **extra)

    whole = parts(slice(None))
    added = jax.tree.map(jnp.add, parts(slice(0, 1)), parts(slice(1, 2)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), whole, added)


def test_without_depths_only_the_main_head_counts():
    found, weights, _ = example()
    main = jax.tree.map(lambda x: x[:, :1], found)
    total, weight = total_loss(main, weights[:, :1], 0.3)
    np.testing.assert_allclose(total, total_loss(found, weights, 0.0)[0], rtol=1e-6)
    assert weight == weights[:, 0].sum()


def test_path_mask_leaves_out_pairs_and_keeps_the_main_head():
    _, weights, arrays = example()
    masked = np.asarray(mask_paths(weights, arrays["path"]))
    np.testing.assert_array_equal(masked[:, 0], weights[:, 0])
    np.testing.assert_array_equal(masked[:, 1:], np.where(arrays["path"], weights[:, 1:], 0))


def test_metrics_against_loops():
    found, weights, arrays = example()
    got = metrics(found, weights, names=NAMES, **arrays)
    w, a = np.asarray(weights), jax.tree.map(np.asarray, arrays)
    nll, predicted = np.asarray(found.nll), np.asarray(found.predicted)
    sums = {}

    def add(name, value, count):
        old = sums.get(name, (0.0, 0.0))
        sums[name] = (old[0] + value * count, old[1] + count)

    for b, t in np.ndindex(B, T):
        verified = [predicted[b, 0, a["sources"][b, k, t]] for k in range(DEPTH)]
        accepted, labelled = True, w[b, 0, t]
        length = 1
        for k in range(1 + DEPTH):
            head = f"mtp_{k}" if k else "main"
            add(f"loss/{head}", nll[b, k, t], w[b, k, t])
            add(f"accuracy/{head}", float(found.correct[b, k, t]), w[b, k, t])
            category = NAMES[a["categories"][b, t]]
            add(f"loss/{category}" + (f"/{head}" if k else ""), nll[b, k, t], w[b, k, t])
            if not k:
                continue
            same = predicted[b, k, t] == verified[k - 1]
            accepted, labelled = accepted and same, labelled * w[b, k, t]
            length += accepted
            path = float(a["path"][b, k - 1, t])
            add(f"path/{head}", path, w[b, k, t])
            add(f"loss/{head}/path", nll[b, k, t], w[b, k, t] * path)
            add(f"acceptance/{head}", float(same), w[b, k, t])
            add(f"acceptance/prefix_{k}", float(accepted), labelled)
        add("acceptance/length", length, labelled)
    assert got.keys() == sums.keys()
    for name, pair in sums.items():
        np.testing.assert_allclose(got[name], pair, rtol=1e-5, err_msg=name)


def test_metrics_have_no_gradient():
    found, weights, arrays = example()

    def total(nll):
        some = found._replace(nll=nll)
        values = metrics(some, weights, names=NAMES, **arrays).values()
        return sum(jnp.sum(value) for value, _ in values)

    assert not np.any(jax.grad(total)(found.nll))


@pytest.mark.parametrize(("step", "want"), [(0, 0.3), (9, 0.3), (10, 0.1), (11, 0.1)])
def test_weight_falls_after_its_steps(step, want):
    got = jax.jit(lambda step: scheduled_weight(step, 0.3, 0.1, 10))(step)
    np.testing.assert_allclose(got, want, rtol=1e-6)
