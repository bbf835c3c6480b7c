"""Losses, gradients and divergences equal an independent implementation's, in float64.

`golden/rl_losses.npz` holds numbers computed once with verl's public `core_algos` (January 2026):
8 sequences of 12 tokens, 4 to a prompt, clip 0.2 / 0.28, dual clip 3. Its conventions: "vanilla"
is PPO with the dual clip; GSPO is averaged by sequence whatever aggregation is named; CISPO clips
on both sides of 1; `seq-mean-token-sum-norm` divides by the width, 12, but not by the number of
sequences, as ours does.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rl import algorithm
from rl.losses import kl
from rl.losses.loss import policy_loss

GOLDEN = Path(__file__).parents[2] / "golden" / "rl_losses.npz"
OBJECTIVES = {"vanilla": "ppo", "gspo": "gspo", "cispo": "cispo"}
CLOSE = {"atol": 1e-12, "rtol": 1e-12}
BY_LENGTH = {"atol": 1e-8, "rtol": 1e-7}  # theirs adds 1e-8 to the number of a sequence's tokens


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return dict(file)


def batch_of(golden):
    sample = np.broadcast_to(np.arange(1, 9)[:, None], golden["mask"].shape)
    return {
        "mask": golden["mask"],
        "sample": sample,
        "advantages": golden["adv_grpo"],
        "rollout_logprobs": golden["old"],
    }


@pytest.mark.parametrize("aggregation", algorithm.AGGREGATIONS)
@pytest.mark.parametrize("theirs", OBJECTIVES)
def test_loss_and_gradient(golden, theirs, aggregation):
    name = "seq_mean_token_mean" if theirs == "gspo" else aggregation
    settings = algorithm.read(
        {
            "preset": "dapo",
            "objective": OBJECTIVES[theirs],
            "dual_clip": 3.0,
            "aggregation": name,
            "max_tokens": 12,
        }
    )

    def mean(logprobs):
        found = policy_loss(settings, logprobs, batch_of(golden), max_samples=8)
        return found.total / found.weight

    with jax.enable_x64(True):
        found = jax.value_and_grad(mean)(jnp.asarray(golden["logp"]))
    value, gradient = jax.tree.map(np.asarray, found)
    factor = 8 if name == "seq_mean_token_sum_norm" else 1
    suffix = f"{theirs}_{aggregation.replace('_', '-')}"
    close = BY_LENGTH if name == "seq_mean_token_mean" else CLOSE
    np.testing.assert_allclose(value * factor, golden[f"loss_{suffix}"], **close)
    np.testing.assert_allclose(gradient * factor, golden[f"grad_{suffix}"], **close)
    assert np.abs(golden[f"grad_{suffix}"]).max() > 1e-3


@pytest.mark.parametrize("name", ["k1", "k2", "k3"])
def test_divergences(golden, name):
    with jax.enable_x64(True):
        found = kl.ESTIMATORS[name](*(jnp.asarray(golden[x]) for x in ("logp", "ref")))
    np.testing.assert_allclose(found, golden[f"kl_{name}"], **CLOSE)
