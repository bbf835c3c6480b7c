"""Numbers that are not finite: left out and counted, or seen; arrays that are missing: said."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rl import algorithm
from rl.losses.loss import policy_loss
from tests.rl.losses import samples

LENGTHS = (4, 3, 5)
ROWS = ([0, 1], [2])
EVERYTHING = {
    "preset": "decoupled",
    "kl_weight": 0.1,
    "distill_weights": (0.3, 0.1),
    "topk_distill_weight": 0.2,
    "entropy_weight": 0.1,
}


def batch_of(**changes):
    drawn = samples.draw(LENGTHS)
    for sample in drawn:
        sample["mask"][:] = 1
    return samples.pack(drawn, ROWS, 12, filling=0) | changes


def evaluate(batch, settings=EVERYTHING, **rest):
    """What the loss finds, and the gradient in rows; compiled for the settings used most."""
    rest = {"entropy": batch["entropy"], "topk_logprobs": batch["topk_logprobs"]} | rest
    function = everything if settings is EVERYTHING else partial(gradient, algorithm.read(settings))
    found_gradient, found = function(jnp.asarray(batch["logprobs"]), batch, rest)
    return found, found_gradient


def gradient(settings, logprobs, batch, rest):
    def total(logprobs):
        found = policy_loss(settings, logprobs, batch, max_samples=3, **rest)
        return found.total, found

    return jax.grad(total, has_aux=True)(logprobs)


everything = jax.jit(partial(gradient, algorithm.read(EVERYTHING)))


def without(batch, row, token):
    mask = batch["mask"].copy()
    mask[row, token] = 0
    return {**batch, "mask": mask}


def put(batch, name, value, row=0, token=1):
    array = np.array(batch[name])
    array[row, ..., token] = value
    return {**batch, name: array}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["rollout_logprobs", "old_logprobs", "ref_logprobs", "advantages"])
def test_unknown_tokens_are_left_out_and_counted(name, value):
    batch = batch_of()
    found, gradient = evaluate(put(batch, name, value))
    expected, expected_gradient = evaluate(without(batch, 0, 1))
    assert found.total == expected.total
    assert found.weight == expected.weight == sum(LENGTHS) - 1
    np.testing.assert_array_equal(gradient, expected_gradient)
    metric = f"unknown/{name.removesuffix('_logprobs')}"
    assert found.metrics.pop(metric) == (1, sum(LENGTHS))
    expected.metrics.pop(metric)
    for key, pair in found.metrics.items():
        if not key.startswith("unknown/"):
            assert pair == expected.metrics[key], key


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_a_teacher_that_was_not_asked_has_no_term(value):
    batch = batch_of()
    for_both = {**EVERYTHING, "topk_distill_weight": 0.0}
    found, gradient = evaluate(put(batch, "teacher_logprobs", value), for_both)
    expected, expected_gradient = evaluate(batch, {**for_both, "distill_weights": (0.0, 0.0)})
    assert found.weight == expected.weight == sum(LENGTHS)
    np.testing.assert_allclose(gradient[0, 1], expected_gradient[0, 1], rtol=1e-6)
    assert abs(gradient[0, 0] - expected_gradient[0, 0]) > 1e-3
    assert found.metrics["kl/teachers"][1] == 2 * sum(LENGTHS) - 2


@pytest.mark.parametrize("preset", algorithm.PRESETS)
def test_the_policys_own_stay_visible(preset):
    settings = algorithm.read({"preset": preset, "distill_weights": (1, 1)})
    batch = batch_of()

    @jax.jit
    @jax.vmap
    def total(value):
        logprobs = jnp.asarray(batch["logprobs"]).at[0, 1].set(value)
        return policy_loss(settings, logprobs, batch, max_samples=3).total

    found = total(jnp.array([np.nan, np.inf, -np.inf, -1.0]))
    np.testing.assert_array_equal(np.isfinite(found), [False, False, False, True])


def test_what_padding_holds_has_no_effect():
    batch = batch_of()
    found, gradient = evaluate(batch)
    padding = batch["sample"] == 0
    assert padding.any()
    filled = dict(batch)
    for name in (*samples.PER_TOKEN[:-1], "entropy", "mask"):
        # A mask of 1 at what is of no sample trains nothing either.
        filled[name] = np.where(padding, 1 if name == "mask" else np.nan, batch[name])
    other, other_gradient = evaluate(filled)
    jax.tree.map(np.testing.assert_array_equal, other, found)
    np.testing.assert_array_equal(gradient, other_gradient)


def test_nothing_to_train():
    batch = batch_of()
    for settings in (EVERYTHING, {"preset": "gspo"}):
        found, gradient = evaluate({**batch, "mask": 0 * batch["mask"]}, settings)
        assert found.total == found.weight == 0
        assert not np.any(gradient)
        assert all(np.all(np.isfinite(pair)) for pair in found.metrics.values())


def test_a_sample_beyond_the_bound_is_not_silently_wrong():
    batch = batch_of()
    batch["sample"] = batch["sample"] + (batch["sample"] == 3)
    found, _ = evaluate(batch, {"preset": "gspo"})
    assert np.isnan(found.total)


def test_far_apart_policies_are_bounded():
    batch = batch_of()
    batch["rollout_logprobs"] = batch["rollout_logprobs"] - 500
    found, gradient = evaluate(batch, {"proximal": "old", "correction": "full", "kl_weight": 0.1})
    assert np.isfinite(found.total)
    assert np.all(np.isfinite(gradient))
    assert all(np.all(np.isfinite(pair)) for pair in found.metrics.values())


def test_metrics():
    """Against means of the arrays themselves."""
    batch = batch_of(version=np.full((2, 1), 7, np.int32))
    found, _ = evaluate(batch, {"preset": "dapo", "proximal": "old", "correction": "tis"})
    mean = {name: total / count for name, (total, count) in found.metrics.items() if count}
    chosen = batch["mask"] > 0
    new, old, engine, ref, advantages, versions, entropy = (
        batch[name][chosen].astype(np.float64)
        for name in (
            "logprobs",
            "old_logprobs",
            "rollout_logprobs",
            "ref_logprobs",
            "advantages",
            "versions",
            "entropy",
        )
    )
    ratio, weight = np.exp(new - old), np.minimum(np.exp(old - engine), 2)
    same = versions == 7
    expected = {
        "ratio/mean": ratio,
        "ratio/square": ratio**2,
        "clip/low": (ratio < 0.8) & (advantages < 0),
        "clip/high": (ratio > 1.28) & (advantages > 0),
        "clip/dual": [0],
        "correction/mean": weight,
        "correction/square": weight**2,
        "correction/dropped": [0],
        "kl/proximal_k1": old - new,
        "kl/proximal_k3": ratio - 1 - np.log(ratio),
        "kl/ref_k1": new - ref,
        "kl/ref_k3": np.exp(ref - new) - 1 - (ref - new),
        "kl/teachers": [np.mean(new - batch["teacher_logprobs"].swapaxes(0, 1)[:, chosen])],
        "mismatch/abs": np.abs(old - engine),
        "mismatch/abs_same_version": np.abs(old - engine)[same],
        "mismatch/k3": np.exp(old - engine) - 1 - (old - engine),
        "entropy/sampled": -new,
        "entropy/exact": entropy,
        "staleness/mean": 7 - versions,
        "staleness/square": (7 - versions) ** 2,
        "advantage/mean": advantages,
        "advantage/abs": np.abs(advantages),
    }
    expected |= {f"unknown/{x}": [0] for x in ("rollout", "old", "ref", "advantages")}
    assert mean.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(mean[name], np.mean(values), rtol=2e-5, err_msg=name)
    assert 0 < found.metrics["mismatch/abs_same_version"][1] < sum(LENGTHS)


@pytest.mark.parametrize(
    ("settings", "missing"),
    [
        ({"proximal": "old"}, "old_logprobs"),
        ({"kl_weight": 0.1}, "ref_logprobs"),
        ({"proximal": "loglinear"}, "versions"),
        ({"preset": "distill"}, "teacher_logprobs"),
        ({"topk_distill_weight": 0.1}, "teacher_topk_logprobs"),
    ],
)
def test_missing_arrays_are_named(settings, missing):
    batch = batch_of()
    batch.pop(missing)
    with pytest.raises(ValueError, match=f"need {missing}, which the batch lacks"):
        evaluate(batch, {"kl_weight": 0.0} | settings)


def test_missing_arguments_and_wrong_shapes():
    batch = batch_of()
    for settings, name in (
        ({"entropy_weight": 0.1}, "entropy"),
        ({"topk_distill_weight": 0.1}, "topk_logprobs"),
    ):
        with pytest.raises(ValueError, match=rf"need {name} \(an argument\)"):
            evaluate(batch, {"kl_weight": 0.0} | settings, **{name: None})
    with pytest.raises(ValueError, match="distill_weights has 1 teachers"):
        evaluate(batch, {"preset": "distill"})
    with pytest.raises(ValueError, match=r"advantages is \(3,\), logprobs \(2, 12\)"):
        evaluate({**batch, "advantages": np.zeros(3)}, {"preset": "dapo"})
