"""Two processes of four devices train, stop, lose each other and go on like one of eight."""

import collections
import io
import json
import re
import shutil
import signal
import time

import jax
import pytest
from rich.console import Console

from cogvit_jax import metrics, sharding, train_loop
from cogvit_jax.programs import stage2 as program
from configs import stage2
from tests.two_processes import Pair, handed_out, logged, saved_steps

STEPS, SAVE_EVERY = 6, 3
CHANGES = {
    "evals.gallery": 0,
    "train.steps": STEPS,
    "train.save_every": SAVE_EVERY,
    "train.eval_every": STEPS,
    "mesh.fsdp": 2,
    "data.lengths": (4,),
}
HEARTBEAT_S = 10
LOST = "Most likely another process was lost"


def arguments(**changes):
    return [f"--config.{k}={v}" for k, v in (CHANGES | changes).items()]


def config():
    made = stage2.get_config("smoke").unlock()
    made.update_from_flattened_dict(CHANGES)
    return made


def train(workdir, num_devices=8):
    """Trains in this process, and notes the records of each step."""
    shown, ids = io.StringIO(), {}
    take_step = train_loop.take_step

    def noted(setup, state, tools):
        state, measured = take_step(setup, state, tools)
        ids[int(state.step)] = list(tools.batches.ids)
        return state, measured

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_loop, "take_step", noted)
        changed = config()
        changed.mesh.fsdp = min(2, num_devices)
        settings = sharding.MeshSettings(data=-1, fsdp=changed.mesh.fsdp)
        mesh = sharding.make_mesh(settings, jax.devices()[:num_devices])
        console = Console(file=shown, width=200)
        train_loop.run(program.build(changed, mesh), changed, str(workdir), console)
    return shown.getvalue(), ids


def assert_close(found, expected, steps):
    """All figures but those of time, memory and process 0's share of the data.

    Sums over devices are taken in another order.
    """
    own = ("time/", "memory/", "data/")
    for step in steps:
        wanted = {k: v for k, v in expected[step].items() if not k.startswith(own)}
        assert {k: found[step][k] for k in wanted} == pytest.approx(wanted, rel=1e-4)


def only_checkpoint(source, target, step):
    """A copy of a workdir as it was when that step had just been saved."""
    shutil.copytree(source, target)
    for other in saved_steps(target):
        if other != step:
            shutil.rmtree(target / "checkpoints" / str(other))
    metrics.drop_lines_after(target / "metrics.jsonl", step)
    return target


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    jax.config.update("jax_disable_most_optimizations", True)  # compiling is most of the time
    yield tmp_path_factory.mktemp("runs")
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(scope="module")
def one(folder):
    """(workdir, step -> record ids) of one process with eight devices."""
    _, ids = train(folder / "one")
    return folder / "one", ids


@pytest.fixture(scope="module")
def killed(folder, cache):
    """(survivor's output, its status, seconds, log until then) of a pair of which one is killed."""
    flags = (*arguments(), f"--heartbeat_timeout={HEARTBEAT_S}")
    with Pair(folder / "two", cache, "--config=configs/stage2.py:smoke", *flags) as pair:
        pair.wait_for_line(SAVE_EVERY + 2)
        pair.wait_for(lambda: SAVE_EVERY in saved_steps(folder / "two"))  # in the background
        pair.send(1, signal.SIGKILL)
        began = time.monotonic()
        output = pair.output(0, limit_s=120)
        status, seconds = pair.processes[0].returncode, time.monotonic() - began
    return output, status, seconds, logged(folder / "two")


@pytest.fixture(scope="module")
def two(folder, cache, killed):
    """The workdir after both were started again and came to the end."""
    with Pair(folder / "two", cache, "--config=configs/stage2.py:smoke", *arguments()) as pair:
        outputs = pair.finish()
    assert f"from step {SAVE_EVERY}" in outputs[0]
    return folder / "two"


def test_a_killed_process_ends_the_other_soon_and_it_says_why(killed):
    output, status, seconds, _ = killed
    assert status not in (0, None)
    last = output.strip().splitlines()[-1]
    assert last.startswith("error: process 0 of 2 ended")
    assert LOST in last
    assert "run the same command on all hosts" in last
    assert seconds < 3 * HEARTBEAT_S


def test_a_restart_takes_the_same_steps_again(killed, two):
    """Bitwise: step 5 depends on parameters and optimizer state as they were saved after 3."""
    before, after = killed[-1], logged(two)
    again = [step for step in before if step > SAVE_EVERY]
    assert len(again) >= 2
    for step in again:
        names = [n for n in before[step] if n.startswith(("loss", "grad_norm", "param_norm", "lr"))]
        assert {n: after[step][n] for n in names} == {n: before[step][n] for n in names}


REFUSED = """
import sys, time
import jax
from cogvit_jax import launch, main
from cogvit_jax.settings import ConfigError

def refuse(workdir):
    time.sleep(2.0 * jax.process_index())
    raise ConfigError("config.field = 3 is refused")

launch.require_writable = refuse
sys.argv.pop()
main.cli()
"""


def test_both_say_what_ended_them_though_one_is_late(cache, tmp_path):
    """Process 0 waits: when it ends, JAX aborts the other."""
    flags = ("--config=configs/stage2.py:smoke",)
    with Pair(tmp_path / "run", cache, *flags, program=("-c", REFUSED)) as pair:
        for i in range(2):
            assert pair.output(i).strip().splitlines()[-1] == "error: config.field = 3 is refused"
            assert pair.processes[i].returncode == 1


def test_two_processes_measure_what_one_does(one, two):
    found, expected = logged(two), logged(one[0])
    assert sorted(found) == sorted(expected) == list(range(1, STEPS + 1))
    assert any("zero_shot" in name or "retrieval" in name for name in found[STEPS])
    assert_close(found, expected, expected)


def test_shards_of_the_data_are_disjoint_and_complete(one, two):
    shares = [handed_out(two, i) for i in range(2)]
    for step, ids in one[1].items():
        parts = [share[step] for share in shares]
        assert [len(part) for part in parts] == [len(ids) // 2] * 2
        assert collections.Counter(parts[0] + parts[1]) == collections.Counter(ids)
        assert parts[0] + parts[1] == ids  # in order


@pytest.mark.parametrize("num_devices", [8, 4, 1])
def test_a_checkpoint_of_two_processes_goes_on_in_one(one, two, tmp_path, num_devices):
    workdir = only_checkpoint(two, tmp_path / "run", SAVE_EVERY)
    shown, _ = train(workdir, num_devices)
    assert f"from step {SAVE_EVERY}" in shown
    assert_close(logged(workdir), logged(one[0]), range(SAVE_EVERY + 1, STEPS + 1))


@pytest.mark.slow
def test_sigterm_to_one_of_two_that_go_on_from_one(one, cache, tmp_path):
    """A checkpoint of one process goes on in two; both stop at the same step, which is saved."""
    workdir = only_checkpoint(one[0], tmp_path / "run", SAVE_EVERY)
    flags = arguments(**{"train.steps": 1000, "train.save_every": 0, "train.eval_every": 0})
    decay = [f"--config.optim.groups.{g}.decay_steps={STEPS}" for g in config().optim.groups]
    with Pair(workdir, cache, "--config=configs/stage2.py:smoke", *flags, *decay) as pair:
        pair.wait_for_line(SAVE_EVERY + 2)
        pair.send(1, signal.SIGTERM)
        outputs = pair.finish()
    assert f"from step {SAVE_EVERY}" in outputs[0]
    stopped = int(re.search(r"Stopped at step (\d+); run the same command", outputs[0]).group(1))
    assert saved_steps(workdir) == [SAVE_EVERY, stopped]
    assert sorted(logged(workdir))[-1] == stopped
    assert [max(handed_out(workdir, i)) for i in range(2)] == [stopped] * 2
    assert_close(logged(workdir), logged(one[0]), [SAVE_EVERY + 1, SAVE_EVERY + 2])
    saved = json.loads((workdir / "checkpoints" / str(stopped) / "data/metadata").read_text())
    assert saved["next_batch"] == stopped


@pytest.mark.slow
@pytest.mark.parametrize(("victim", "number"), [(1, signal.SIGSTOP), (0, signal.SIGKILL)])
def test_a_silent_process_or_coordinator(cache, tmp_path, victim, number):
    flags = (*arguments(), f"--heartbeat_timeout={HEARTBEAT_S}", "--config.train.steps=500")
    with Pair(tmp_path / "run", cache, "--config=configs/stage2.py:smoke", *flags) as pair:
        pair.wait_for_line(2)
        pair.send(victim, number)
        began = time.monotonic()
        output = pair.output(1 - victim, limit_s=120)
        assert pair.processes[1 - victim].returncode not in (0, None)
    assert LOST in output.strip().splitlines()[-1]
    assert time.monotonic() - began < 4 * HEARTBEAT_S
