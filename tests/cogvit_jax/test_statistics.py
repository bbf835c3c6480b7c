"""What follows the data in the state: exact on any mesh and in parts, saved, calibrated once."""

import dataclasses
import io

import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from cogvit_jax import checkpoint, hooks, run_dir, train_loop
from cogvit_jax.program import Loss, Statistics

RATE = 0.25


def with_statistics(toy, mesh, calls=None, **fields):
    """The toy program, following the mean of the unmasked inputs; its loss reads that mean."""
    program = toy.program(mesh, **fields)

    def loss(params, frozen, batch, key):
        found = program.loss(params, frozen, batch, key)
        sums = {"x": jnp.sum(batch["x"] * batch["mask"][:, None], 0), "n": jnp.sum(batch["mask"])}
        shift = jnp.sum(batch["statistics"]["mean"]) * found.weight
        return Loss(found.total + shift, found.weight, found.metrics, sums)

    def calibrate(frozen):
        (calls if calls is not None else []).append(frozen)
        return {"mean": np.full((3,), 0.5, np.float32)}

    def update(statistics, sums):
        mean = sums["x"] / jnp.maximum(sums["n"], 1)
        new = (1 - RATE) * statistics["mean"] + RATE * mean
        return {"mean": new}, {"mean/first": new[0]}

    statistics = Statistics(lambda: {"mean": jnp.zeros(3)}, calibrate, update)
    return dataclasses.replace(
        program, loss=loss, statistics=statistics, frozen=lambda: np.float32(7)
    )


def expected(toy, steps, start):
    mean = np.full(3, start, np.float64)
    for index in range(steps):
        batch = toy.make_batch(index)
        found = (batch["x"] * batch["mask"][:, None]).sum(0) / batch["mask"].sum()
        mean = (1 - RATE) * mean + RATE * found
    return mean


@pytest.mark.parametrize("microbatches", [1, 4])
@pytest.mark.parametrize("num_devices", [1, 8])
def test_the_whole_batch_counts_once(toy, make_mesh, num_devices, microbatches):
    program = with_statistics(toy, make_mesh(num_devices))
    step, state, _ = toy.step(program, microbatches)
    batches = program.batches(None)
    for _ in range(3):
        state, metrics = step(state, None, next(batches))
    want = expected(toy, 3, 0.0)
    np.testing.assert_allclose(state.statistics["mean"], want, rtol=1e-5, atol=1e-6)
    assert float(metrics["mean/first"]) == float(state.statistics["mean"][0])


def test_the_loss_sees_them_as_they_were_before_the_step(toy, make_mesh):
    program = with_statistics(toy, make_mesh(1))
    plain = toy.program(make_mesh(1))
    step, state, _ = toy.step(program)
    plain_step, plain_state, _ = toy.step(plain)
    batches = program.batches(None)
    for index in range(3):
        batch = next(batches)
        state, metrics = step(state, None, batch)
        plain_state, plain_metrics = plain_step(plain_state, None, batch)
        shift = expected(toy, index, 0.0).sum()
        difference = float(metrics["loss"] - plain_metrics["loss"])
        np.testing.assert_allclose(difference, shift, atol=2e-5)


def test_a_step_that_is_not_finite_leaves_them(toy, make_mesh):
    def poison(index, batch):
        return {**batch, "x": batch["x"] * np.nan} if index == 2 else batch

    program = with_statistics(toy, make_mesh(1), on_batch=poison)
    step, state, _ = toy.step(program)
    batches = program.batches(None)
    state, _ = step(state, None, next(batches))
    before = np.asarray(state.statistics["mean"])
    state, metrics = step(state, None, next(batches))
    assert float(metrics["finite"]) == 0
    np.testing.assert_array_equal(state.statistics["mean"], before)


def test_a_run_is_calibrated_once_and_goes_on_with_what_it_had(toy, eight, tmp_path):
    console, calls = Console(file=io.StringIO()), []
    straight = train_loop.run(
        with_statistics(toy, eight, calls), toy.config(4), str(tmp_path / "a"), console
    )
    assert calls == [7]
    np.testing.assert_allclose(straight.statistics["mean"], expected(toy, 4, 0.5), rtol=1e-5)
    program = with_statistics(toy, eight, calls)
    train_loop.run(program, toy.config(2), str(tmp_path / "b"), console)
    # The schedule ends with the run, so only the numbers that follow the data are compared.
    resumed = train_loop.run(program, toy.config(4), str(tmp_path / "b"), console)
    assert len(calls) == 2
    np.testing.assert_array_equal(resumed.statistics["mean"], straight.statistics["mean"])


def test_evaluators_find_them_in_training_and_alone(toy, eight, tmp_path):
    seen = []

    def look(params):
        seen.append(np.asarray(params["statistics"]["mean"]))
        return {"norm": 1.0}

    program = with_statistics(toy, eight, evaluators={"look": look})
    console = Console(file=io.StringIO())
    config = toy.config(2, eval_every=2)
    state = train_loop.run(program, config, str(tmp_path), console)
    params, step = run_dir.load_params(program, config, str(tmp_path))
    assert step == 2
    hooks.run_evaluators(program.evaluators, params, console, "")
    assert len(seen) == 2
    for mean in seen:
        np.testing.assert_array_equal(mean, state.statistics["mean"])


def test_a_checkpoint_without_them_is_refused_by_name(toy, eight, tmp_path):
    console = Console(file=io.StringIO())
    train_loop.run(toy.program(eight), toy.config(2), str(tmp_path), console)
    with pytest.raises(checkpoint.CheckpointError, match="statistics"):
        train_loop.run(with_statistics(toy, eight), toy.config(4), str(tmp_path), console)
