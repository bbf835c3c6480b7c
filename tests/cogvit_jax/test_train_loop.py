"""The engine: resuming, stopping, bad losses, workdirs and checkpoints, with a toy program."""

import dataclasses
import io
import json
import os
import shutil
import signal
from pathlib import Path

import jax
import numpy as np
import pytest
from rich.console import Console

from cogvit_jax import metrics, train_loop
from cogvit_jax.checkpoint import Checkpointer, CheckpointError
from cogvit_jax.hooks import NonFiniteLoss
from cogvit_jax.program import Interrupted
from cogvit_jax.settings import ConfigError

NOISE = 0.1  # so that the parameters depend on the key of every step


def run(program, config, workdir):
    """(final state on the host, what the console showed)"""
    console = Console(file=io.StringIO(), width=200)
    state = train_loop.run(program, config, str(workdir), console)
    return jax.device_get(state.params), int(state.step), console.file.getvalue()


def steps_of(workdir):
    return [line["step"] for line in metrics.read_jsonl(Path(workdir) / "metrics.jsonl")]


def saved_steps(workdir):
    return sorted(int(p.name) for p in (Path(workdir) / "checkpoints").iterdir())


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def spoil(*indices):
    """Makes the batches of these numbers NaN."""

    def change(index, batch):
        if index in indices:
            batch["mask"][0], batch["x"][0, 0] = 1, np.nan

    return change


def terminate(at):
    def send(index, batch):
        if index == at:
            os.kill(os.getpid(), signal.SIGTERM)

    return send


@pytest.fixture(scope="module")
def straight(toy, eight, tmp_path_factory):
    """(workdir, parameters) of six uninterrupted steps."""
    workdir = tmp_path_factory.mktemp("straight")
    params, step, _ = run(toy.program(eight, noise=NOISE), toy.config(6), workdir)
    assert step == 6
    return workdir, params


def test_a_run_leaves_numbers_and_checkpoints(straight):
    workdir, _ = straight
    assert steps_of(workdir) == [1, 2, 3, 4, 5, 6]
    assert saved_steps(workdir) == [4, 6]
    assert list((workdir / "tensorboard").glob("events.*"))
    lines = metrics.read_jsonl(workdir / "metrics.jsonl")
    assert all(np.isfinite(line["loss"]) for line in lines)
    assert lines[0]["lr/weights"] == pytest.approx(0.1)
    assert [line["data/handed_out"] for line in lines] == [1, 2, 3, 4, 5, 6]
    wanted = {"grad_norm/weights", "update_ratio/biases", "time/examples_per_second", "skipped"}
    assert lines[-1].keys() >= wanted


def copy_of_step_4(source, target):
    """A workdir whose run was killed between step 5's log and step 6's."""
    shutil.copytree(source, target)
    shutil.rmtree(target / "checkpoints" / "6")
    path = target / "metrics.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:5], lines[5][:37]]))
    return target


def test_resumed_equals_straight_bitwise(toy, eight, straight, tmp_path):
    workdir, params = straight
    killed = copy_of_step_4(workdir, tmp_path / "killed")
    resumed, step, shown = run(toy.program(eight, noise=NOISE), toy.config(6), killed)
    assert step == 6
    assert "from step 4" in shown
    assert_same(resumed, params)
    assert steps_of(killed) == [1, 2, 3, 4, 5, 6]
    for line in (killed / "metrics.jsonl").read_text().splitlines():
        json.loads(line)  # the cut-off one is gone
    losses = [
        [m["loss"] for m in metrics.read_jsonl(w / "metrics.jsonl")] for w in (workdir, killed)
    ]
    assert losses[0] == losses[1]


def test_resuming_on_another_mesh_goes_on(toy, straight, tmp_path, make_mesh):
    workdir, params = straight
    killed = copy_of_step_4(workdir, tmp_path / "killed")
    resumed, _, _ = run(toy.program(make_mesh(2), noise=NOISE), toy.config(6), killed)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), resumed, params)


def test_a_finished_run_does_nothing_more(toy, eight, straight):
    workdir, params = straight
    before = (workdir / "metrics.jsonl").read_text()
    again, step, _ = run(toy.program(eight, noise=NOISE), toy.config(6), workdir)
    assert step == 6
    assert_same(again, params)
    assert (workdir / "metrics.jsonl").read_text() == before


@pytest.mark.parametrize(("every", "stopped"), [(1, 3), (2, 4)])
def test_sigterm_saves_and_the_next_run_completes(toy, eight, straight, tmp_path, every, stopped):
    """At once, or after the next step at which the program may be saved."""
    _, params = straight
    config = toy.config(6, save_every=0)
    before = signal.getsignal(signal.SIGTERM)
    stopping = toy.program(eight, noise=NOISE, on_batch=terminate(at=3))
    stopping = dataclasses.replace(stopping, may_stop=lambda step: step % every == 0)
    _, step, shown = run(stopping, config, tmp_path)
    assert step == stopped
    assert f"Stopped at step {stopped}; run the same command" in shown
    assert saved_steps(tmp_path) == [stopped]
    assert signal.getsignal(signal.SIGTERM) == before
    config = toy.config(6, save_every=6)
    finished, step, _ = run(toy.program(eight, noise=NOISE), config, tmp_path)
    assert step == 6
    assert_same(finished, params)
    assert steps_of(tmp_path) == [1, 2, 3, 4, 5, 6]


def test_batches_that_wait_may_be_interrupted(toy, eight, straight, tmp_path):
    """The program is told of the signal; a batch that never comes is not waited for."""
    _, params = straight
    asked = []

    def wait(index, batch):
        if index == 4:
            signal.raise_signal(signal.SIGTERM)
            assert asked == [True]
            raise Interrupted

    waiting = dataclasses.replace(
        toy.program(eight, noise=NOISE, on_batch=wait), interrupt=lambda: asked.append(True)
    )
    _, step, shown = run(waiting, toy.config(6, save_every=0), tmp_path)
    assert step == 3
    assert "Stopped at step 3; run the same command" in shown
    finished, step, _ = run(toy.program(eight, noise=NOISE), toy.config(6, save_every=0), tmp_path)
    assert step == 6
    assert_same(finished, params)


def test_sigterm_at_a_step_that_is_being_saved(toy, eight, tmp_path):
    stopping = toy.program(eight, on_batch=terminate(at=4))
    _, step, _ = run(stopping, toy.config(6), tmp_path)
    assert step == 4
    assert saved_steps(tmp_path) == [2, 4]


def test_sigterm_at_a_bad_step_still_tells_of_it(toy, eight, tmp_path):
    bad, stop = spoil(3), terminate(at=3)

    def change(index, batch):
        bad(index, batch)
        stop(index, batch)

    program = toy.program(eight, on_batch=change)
    with pytest.raises(NonFiniteLoss, match=r"step 3: .*Last good checkpoint: 2\."):
        run(program, toy.config(6), tmp_path)
    assert saved_steps(tmp_path) == [2]


class Number:
    """A step's number on the device, which notes when it is fetched."""

    def __init__(self, value, step, events):
        self.value, self.step, self.events = value, step, events

    def copy_to_host_async(self):
        self.events.append(("copy", self.step))

    def __float__(self):
        self.events.append(("fetch", self.step))
        return float(self.value)


def test_numbers_of_a_step_are_fetched_while_the_next_one_runs(toy, eight, tmp_path, monkeypatch):
    events = []
    prepare = train_loop.prepare

    def noted(*arguments):
        setup = prepare(*arguments)

        def step_fn(state, frozen, batch):
            step = int(state.step) + 1
            events.append(("dispatch", step))
            state, measured = setup.step_fn(state, frozen, batch)
            return state, {k: Number(v, step, events) for k, v in measured.items()}

        return dataclasses.replace(setup, step_fn=step_fn)

    monkeypatch.setattr(train_loop, "prepare", noted)
    run(toy.program(eight), toy.config(8, save_every=5), tmp_path)
    assert steps_of(tmp_path) == list(range(1, 9))
    for step in range(1, 8):
        copies, fetches = (
            [i for i, event in enumerate(events) if event == (kind, step)]
            for kind in ("copy", "fetch")
        )
        following = events.index(("dispatch", step + 1))
        assert copies
        assert copies[-1] < following
        assert fetches
        assert (fetches[-1] < following) if step == 5 else (following < fetches[0])  # 5 is saved


def test_start_up_time_is_told_once(toy, eight, tmp_path):
    _, _, shown = run(toy.program(eight), toy.config(3), tmp_path)
    lines = metrics.read_jsonl(tmp_path / "metrics.jsonl")
    assert lines[0]["time/startup_seconds"] >= lines[0]["time/startup_compile_seconds"] > 0
    assert not any("time/startup_seconds" in line for line in lines[1:])
    assert "First step done after" in shown


@pytest.mark.parametrize(("bad", "last_good"), [(3, 2), (4, 2), (6, 4)])
def test_nan_stops_the_run_and_says_where(toy, eight, tmp_path, bad, last_good):
    program = toy.program(eight, on_batch=spoil(bad))
    with pytest.raises(NonFiniteLoss) as caught:
        run(program, toy.config(6), tmp_path)
    text = str(caught.value)
    assert f"step {bad}:" in text
    assert f"row/{bad}/0, row/{bad}/1, row/{bad}/2" in text
    assert "config.optim.groups.*.lr" in text
    # The guard looks one step back, except at steps that would be saved, which then are not.
    assert f"Last good checkpoint: {last_good}." in text
    assert saved_steps(tmp_path)[-1] == last_good


def test_skip_policy_up_to_its_limit(toy, eight, tmp_path):
    program = toy.program(eight, on_batch=spoil(2, 4))
    config = toy.config(6, nonfinite="skip", max_skips=2)
    params, step, _ = run(program, config, tmp_path / "two")
    assert step == 6
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(params))
    lines = metrics.read_jsonl(tmp_path / "two/metrics.jsonl")
    assert [line["finite"] for line in lines] == [1, 0, 1, 0, 1, 1]
    assert lines[-1]["skipped"] == 2
    assert lines[1]["loss"] == "nan"
    config = toy.config(6, nonfinite="skip", max_skips=1)
    with pytest.raises(NonFiniteLoss, match=r"step 4: .*skipped 2, allowed 1"):
        run(program, config, tmp_path / "one")


def test_skips_are_remembered_over_a_resume(toy, eight, tmp_path):
    program = toy.program(eight, on_batch=spoil(2, 5))
    config = toy.config(4, nonfinite="skip", max_skips=1)
    run(program, config, tmp_path)
    config = toy.config(8, nonfinite="skip", max_skips=1)
    with pytest.raises(NonFiniteLoss, match=r"step 5: .*skipped 2, allowed 1"):
        run(program, config, tmp_path)


def test_unknown_policy_names_the_choices(toy, eight, tmp_path):
    with pytest.raises(ConfigError, match=r"config\.train\.nonfinite = 'skpi'.*'skip'"):
        run(toy.program(eight), toy.config(2, nonfinite="skpi"), tmp_path)


def test_workdir_below_a_file_is_refused_before_any_work(toy, eight, tmp_path):
    (tmp_path / "file").write_text("")
    for workdir in (tmp_path / "file" / "run", tmp_path / "file", Path("/proc/run")):
        with pytest.raises(PermissionError, match=rf"--workdir={workdir} is not writable .*choose"):
            run(toy.program(eight, on_batch=None), toy.config(2), workdir)


def test_checkpoint_of_another_shape_lists_the_parameters(toy, eight, straight):
    workdir, _ = straight
    with pytest.raises(CheckpointError) as caught:
        run(toy.program(eight, outputs=3), toy.config(6), workdir)
    text = str(caught.value)
    assert "2 parameters differ" in text
    assert "linear/kernel: checkpoint [3, 2], config [3, 3]" in text
    assert "linear/bias: checkpoint [2], config [3]" in text
    assert "another --workdir" in text


def test_missing_checkpoint_names_the_remedy(toy, eight, tmp_path):
    saved = Checkpointer(str(tmp_path))
    program = toy.program(eight)
    shapes = jax.eval_shape(program.init, jax.random.key(0))
    with pytest.raises(CheckpointError, match=r"no complete checkpoint: check --workdir"):
        saved.restore_params(shapes, None)
    saved.close()


def damage_arrays(step):
    for path in (step / "params" / "d").iterdir():
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def lose_arrays(step):
    shutil.rmtree(step / "params" / "d")


def damage_data(step):
    path = step / "data" / "metadata"
    path.write_text(path.read_text()[:5])


def lose_meta(step):
    shutil.rmtree(step / "meta")


def lose_optimizer(step):
    shutil.rmtree(step / "rest")


@pytest.mark.parametrize(
    "damage", [damage_arrays, lose_arrays, damage_data, lose_meta, lose_optimizer]
)
# Orbax drops the reads that were under way when one failed, and asyncio remarks on it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_damaged_checkpoint_names_step_and_remedy(toy, eight, straight, tmp_path, damage):
    workdir, _ = straight
    broken = tmp_path / "broken"
    shutil.copytree(workdir, broken)
    damage(broken / "checkpoints" / "6")
    with pytest.raises(CheckpointError, match=r"checkpoints/6 cannot be read") as caught:
        run(toy.program(eight, noise=NOISE), toy.config(8), broken)
    assert "Remove that folder" in str(caught.value)
    assert "[4, 6]" in str(caught.value)
    shutil.rmtree(broken / "checkpoints" / "6")  # the remedy works
    assert run(toy.program(eight, noise=NOISE), toy.config(6), broken)[1] == 6


def test_checkpoints_kept(toy, eight, tmp_path):
    config = toy.config(9, save_every=1, keep_last=2, keep_every=3)
    run(toy.program(eight), config, tmp_path / "a")
    assert saved_steps(tmp_path / "a") == [3, 6, 8, 9]
    run(toy.program(eight), toy.config(5, save_every=1, keep_last=1), tmp_path / "b")
    assert saved_steps(tmp_path / "b") == [5]


def test_last_step_is_saved_logged_and_evaluated(toy, eight, tmp_path):
    seen = []
    evaluators = {"probe": lambda params: seen.append(1) or {"norm": 1.0}}
    config = toy.config(5, save_every=2, log_every=4, eval_every=3)
    run(toy.program(eight, evaluators=evaluators), config, tmp_path)
    assert saved_steps(tmp_path) == [4, 5]
    lines = metrics.read_jsonl(tmp_path / "metrics.jsonl")
    assert [m["step"] for m in lines if "loss" in m] == [4, 5]
    assert [m["step"] for m in lines if "probe/norm" in m] == [3, 5]
    assert len(seen) == 2
    assert (tmp_path / "curves.png").stat().st_size > 0


def test_what_a_run_starts_from_is_evaluated_once(toy, eight, tmp_path):
    seen = []
    evaluators = {"probe": lambda params: seen.append(1) or {"norm": 1.0}}
    program = toy.program(eight, evaluators=evaluators)
    (tmp_path / "metrics.jsonl").write_text('{"step": 0, "probe/norm": 2.0}\n')  # then killed
    run(program, toy.config(2, save_every=1, eval_every=2, eval_start=True), tmp_path)
    run(program, toy.config(3, save_every=1, eval_every=2, eval_start=True), tmp_path)
    lines = metrics.read_jsonl(tmp_path / "metrics.jsonl")
    found = [(m["step"], m["probe/norm"]) for m in lines if "probe/norm" in m]
    assert found == [(0, 1.0), (2, 1.0), (3, 1.0)]
    assert len(seen) == 3


def traces(workdir):
    return list((workdir / "profile").rglob("*.xplane.pb"))


@pytest.mark.parametrize(
    ("start", "stop", "steps"),
    [(1, 2, 4), (0, 1, 2), (1, 9, 2)],
    ids=["inside", "from the first step", "run ends before"],
)
def test_profile_writes_a_trace(toy, eight, tmp_path, start, stop, steps):
    config = toy.config(steps, profile_start=start, profile_stop=stop)
    run(toy.program(eight), config, tmp_path)
    assert traces(tmp_path)


def test_resuming_inside_the_profiled_steps(toy, eight, straight, tmp_path):
    killed = copy_of_step_4(straight[0], tmp_path / "killed")
    config = toy.config(6, profile_start=2, profile_stop=5)
    run(toy.program(eight, noise=NOISE), config, killed)
    assert traces(killed)
