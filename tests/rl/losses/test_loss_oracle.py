"""Every part of the loss equals NumPy loops in value and, by finite differences, in gradient.

In float64: values to 1e-10, gradients to 1e-6 of central differences with a step of 1e-5.
"""

import jax
import numpy as np
import pytest

from rl import algorithm
from rl.losses.loss import policy_loss
from tests.rl.losses import oracle, samples

LENGTHS = (1, 5, 3, 7, 2, 4)
ROWS = ([3], [2, 1], [0, 5, 4])
STEP = 1e-5
CASES = {
    "clip": {"clip_high": 0.3},
    "dual clip": {"dual_clip": 1.5},
    "gspo": {"preset": "gspo", "clip_low": 0.1, "clip_high": 0.05},
    "cispo": {"preset": "cispo"},
    "cispo absolute": {"objective": "cispo_absolute", "clip_high": 1.3},
    "reinforce": {"preset": "rloo"},
    "decoupled": {"proximal": "old", "correction": "full"},
    "decoupled, loglinear": {"preset": "decoupled", "correction_high": 1.4},
    "gspo, decoupled": {"preset": "gspo", "proximal": "loglinear", "correction": "full"},
    "tis": {"proximal": "current", "correction": "tis", "correction_high": 1.2},
    "icepop": {"proximal": "old", "correction": "icepop"},
    "sequence": {"proximal": "old", "correction": "sequence", "correction_high": 1.5},
    "sequence rejection": {"proximal": "old", "correction": "tis", "rejection": "sequence"},
    "geometric rejection": {
        "proximal": "old",
        "rejection": "geometric",
        "rejection_low": 0.8,
        "rejection_high": 1.2,
    },
    "k1": {"kl_weight": 0.5, "kl_estimator": "k1"},
    "k2": {"kl_weight": 0.5, "kl_estimator": "k2"},
    "k3": {"kl_weight": 0.5, "kl_estimator": "k3"},
    "k3 straight": {"kl_weight": 0.5, "kl_estimator": "k3_straight"},
    "k1 straight": {"kl_weight": 0.5, "kl_estimator": "k1_straight"},
    "k3, weighted": {"kl_weight": 0.5, "kl_ratio": True},
    "kl in the advantage": {"kl_weight": 0.5, "kl_in": "advantage"},
    "distillation": {"preset": "distill", "distill_weights": (0.7, 0.2)},
    "rewards and teachers": {"preset": "dapo", "distill_weights": (0.3, 0.1)},
    "top-k and entropy": {"topk_distill_weight": 0.5, "entropy_weight": 0.1},
}
AGGREGATIONS = tuple(algorithm.AGGREGATIONS)


def differences(settings, drawn):
    """Central differences of the oracle's total at every token."""
    held = [s["logprobs"] for s in drawn]
    found = []
    for i, sample in enumerate(held):
        found.append(np.zeros(len(sample)))
        for t in range(len(sample)):
            totals = []
            for step in (STEP, -STEP):
                moved = [x.copy() for x in held]
                moved[i][t] += step
                totals.append(oracle.total_and_weight(settings, drawn, moved, held)[0])
            found[i][t] = (totals[0] - totals[1]) / (2 * STEP)
    return found


@pytest.mark.parametrize("name", CASES)
def test_equals_oracle(name):
    number = list(CASES).index(name)
    defaults = {"preset": "dapo", "max_tokens": 9}
    settings = algorithm.read({**defaults, "aggregation": AGGREGATIONS[number % 4], **CASES[name]})
    drawn = samples.draw(LENGTHS, seed=number)
    batch = samples.pack(drawn, ROWS, 18, dtype=np.float64)

    def total(logprobs):
        found = policy_loss(
            settings,
            logprobs,
            batch,
            max_samples=len(LENGTHS),
            entropy=batch["entropy"],
            topk_logprobs=batch["topk_logprobs"],
        )
        return found.total, found.weight

    with jax.enable_x64(True):
        (value, weight), gradient = jax.jit(jax.value_and_grad(total, has_aux=True))(
            batch["logprobs"]
        )
    held = [s["logprobs"] for s in drawn]
    expected, expected_weight = oracle.total_and_weight(settings, drawn, held, held)
    np.testing.assert_allclose(value, expected, rtol=1e-10)
    np.testing.assert_allclose(weight, expected_weight)
    ours = np.concatenate(samples.unpack(gradient, drawn, ROWS))
    theirs = np.concatenate(differences(settings, drawn))
    np.testing.assert_allclose(ours, theirs, atol=1e-6, rtol=1e-6)
    assert np.abs(theirs).max() > 1e-3
    assert np.all(np.asarray(gradient)[batch["mask"] == 0] == 0)
