"""kill -9 of `rl.main` with its model, engine and checkpoints, at any moment, again and again.

Rewards are functions of the replies (`tests.rl.pair_run`), since an untrained model is never right.
"""

import dataclasses
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cogvit_jax import tree
from cogvit_jax.checkpoint import read_params
from rl import store
from rl.rollout import event_log, replay
from rl.rollout.events import Admitted, Drop, Resumed, Train
from rl.rollout.schedule_checks import check_invariants
from rl.types import TrainingSample
from tests.xla_flags import quick

ROOT = Path(__file__).parents[2]
STEPS, KILLS, LIMIT_S = 5, 2, 900

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3 * LIMIT_S)]


def start(folder, cache, *changes):
    folder.mkdir(exist_ok=True)
    inherited = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    env = inherited | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": quick(),
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    flags = [
        *("--config=configs/rl.py:smoke", f"--workdir={folder}", f"--config.train.steps={STEPS}"),
        *("--config.train.save_every=1", "--config.train.eval_every=0", "--config.evals.tasks=0"),
        *("--config.fidelity.every=0", "--config.packing.ladder=(2,)"),
    ]
    command = [sys.executable, "-m", "tests.rl.pair_run", *flags, *changes, str(folder / "notes")]
    with (folder / "output").open("a") as output:
        return subprocess.Popen(command, cwd=ROOT, env=env, stdout=output, stderr=output)


def finish(process, folder):
    assert process.wait(LIMIT_S) == 0, (folder / "output").read_text()[-4000:]


def traces(folder):
    """What a run leaves behind; it changes a few times in each step."""
    log = folder / "rollouts" / "events.jsonl"
    names = [p.name for p in (*folder.glob("rollouts/step_*"), *folder.glob("checkpoints/*"))]
    return log.stat().st_size if log.exists() else 0, *sorted(names)


def is_saved(folder):
    """Whether there is a whole checkpoint to go on from."""
    return any(p.name.isdigit() for p in folder.glob("checkpoints/*"))


def run_with_kills(folder, cache, rng, *changes):
    """Each process is killed some traces after its start, and a moment later.

    That moment is a part of the time between the last two traces, and ends with the next one: a
    run that has become faster meanwhile is not killed when it is done. The traces of the last
    process count from its first checkpoint: what follows it goes on from there.
    """
    for kill in range(KILLS):
        process, left = start(folder, cache, *changes), rng.randint(1, 4)
        seen, came, gap = traces(folder), time.monotonic(), 0.0
        while left and process.poll() is None:
            time.sleep(0.01)
            found = traces(folder)
            if found != seen:
                left, seen = left - (kill < KILLS - 1 or is_saved(folder)), found
                came, gap = time.monotonic(), time.monotonic() - came
        until = came + rng.random() * gap
        while time.monotonic() < until and traces(folder) == seen:
            time.sleep(0.01)
        assert process.poll() is None, (folder / "output").read_text()[-4000:]
        process.kill()
        process.wait(LIMIT_S)
    finish(start(folder, cache, *changes), folder)


def trained(folder):
    """Step -> samples that it was trained on, as the files of the run tell."""
    return {
        step: [
            item
            for item in store.read(folder / "rollouts" / f"step_{step:06d}.jsonl")
            if isinstance(item, TrainingSample)
        ]
        for step in range(STEPS)
    }


def check_nothing_lost_or_doubled(folder):
    log = folder / "rollouts" / "events.jsonl"
    verified, events = replay.verify(log), event_log.read(log).events
    check_invariants(replay.settings_of(events), verified.state)
    batches = {e.step: e.groups for e in events if isinstance(e, Train)}
    samples = trained(folder)
    for step, batch in samples.items():
        assert {int(sample.group) for sample in batch} == set(batches[step])
        assert all(len(sample.versions) == len(sample.tokens) for sample in batch)
    groups = [group for step in samples for group in batches[step]]
    assert len(groups) == len(set(groups)) >= 3 * STEPS
    admitted = {e.group: e.pick for e in events if isinstance(e, Admitted)}
    dropped = {e.group for e in events if isinstance(e, Drop)}
    # Beside what the run was to train, its last process may have had batches in hand.
    ahead = {group for step, batch in batches.items() if step >= STEPS for group in batch}
    assert set(admitted) == set(groups) | dropped | ahead | set(verified.state.groups)
    assert set(groups).isdisjoint(dropped | set(verified.state.groups))
    # The curriculum's draws are the prompts, each once and in order.
    assert [pick["seed"] for pick in admitted.values()] == list(range(len(admitted)))
    resumed = [e for e in events if isinstance(e, Resumed)]
    return len(resumed)


def test_a_run_on_policy_ends_in_the_parameters_of_one_that_nobody_killed(tmp_path, xla_cache):
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    # A loss that does not ask what the engine said of its tokens, only which they are.
    loss = ("--config.algorithm.proximal=current", "--config.algorithm.correction=none")
    changes = ("--config.rollout.max_staleness=0", *loss)
    finish(start(straight, xla_cache, *changes), straight)
    run_with_kills(killed, xla_cache, random.Random(0), *changes)
    assert check_nothing_lost_or_doubled(straight) == 0
    assert check_nothing_lost_or_doubled(killed) >= 1
    # An engine's log-probabilities are equal but for rounding, whatever requests it reads together.
    for wanted, found in zip(trained(straight).values(), trained(killed).values(), strict=True):
        for one, other in zip(wanted, found, strict=True):
            assert dataclasses.replace(other, logprobs=one.logprobs) == one
            np.testing.assert_allclose(other.logprobs, one.logprobs, rtol=0, atol=1e-5)
    wanted, found = (tree.named_leaves(read_params(str(f))[0]) for f in (straight, killed))
    for (name, value), (_, other) in zip(wanted, found, strict=True):
        np.testing.assert_array_equal(other, value, err_msg=name)


def test_an_asynchronous_run_trains_each_prompt_at_most_once_and_loses_none(tmp_path, xla_cache):
    changes = ("--config.rollout.max_staleness=2", "--config.rollout.abort_count=6")
    run_with_kills(tmp_path / "run", xla_cache, random.Random(1), *changes)
    assert check_nothing_lost_or_doubled(tmp_path / "run") >= 1
