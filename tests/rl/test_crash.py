"""kill -9 at any moment: no prompt is lost or trained twice; a synchronous run ends the same."""

import json
import random
import signal
import time

import pytest

from rl.rollout.event_log import read
from rl.rollout.events import Admitted, Drop
from tests.rl.crash_forks import Forks

STEPS = 12


@pytest.fixture(scope="module")
def forks():
    with Forks() as forks:
        yield forks


def finish(forks, folder, staleness):
    forks.start(folder, STEPS, staleness)
    assert forks.wait() == 0, (folder / "output").read_text()[-2000:]


def trained(folder):
    """step -> samples; a step that was done again counts as it was done last."""
    lines = [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]
    return {line["step"]: line["samples"] for line in lines}


def check_nothing_lost_or_doubled(folder):
    steps = trained(folder)
    assert sorted(steps) == list(range(1, STEPS + 1))
    groups = [sample["group"] for samples in steps.values() for sample in samples]
    samples = [tuple(sample["sample"]) for some in steps.values() for sample in some]
    assert len(samples) == len(set(samples))
    events = read(folder / "events.jsonl").events
    admitted = {e.group: e.pick for e in events if isinstance(e, Admitted)}
    dropped = {e.group for e in events if isinstance(e, Drop)}
    # The curriculum's draws are the prompts, each once and in order.
    assert sorted(admitted) == list(range(len(admitted)))
    assert sorted(pick["seed"] for pick in admitted.values()) == list(range(len(admitted)))
    last = json.loads((folder / "saved.json").read_text())["state"]["schedule"]
    held = {group["id"] for group in last["groups"]}
    assert set(admitted) >= set(groups) | dropped | held
    assert set(groups).isdisjoint(dropped)
    assert set(admitted) - set(groups) - dropped == held - set(groups)


def run_with_kills(forks, folder, staleness, kills, rng):
    """As many kills as asked for, after times in which something happens."""
    done = 0
    while done < kills:
        log = folder / "events.jsonl"
        size = log.stat().st_size if log.exists() else 0
        forks.start(folder, STEPS, staleness)
        while forks.poll() is None and (not log.exists() or log.stat().st_size <= size):
            time.sleep(0.005)
        time.sleep(rng.random() * 0.25)
        if forks.poll() is None:
            done += forks.kill() == -signal.SIGKILL
        if (folder / "done").exists():
            return done
    finish(forks, folder, staleness)
    return done


def test_killed_runs_end_as_uninterrupted_ones(forks, tmp_path):
    finish(forks, tmp_path / "straight", 0)
    run_with_kills(forks, tmp_path / "killed", 0, 3, random.Random(0))
    check_nothing_lost_or_doubled(tmp_path / "straight")
    check_nothing_lost_or_doubled(tmp_path / "killed")
    assert trained(tmp_path / "killed") == trained(tmp_path / "straight")


@pytest.mark.slow
@pytest.mark.parametrize("staleness", [0, 2])
def test_many_kills(forks, tmp_path, staleness):
    rng, kills, round_ = random.Random(staleness), 0, 0
    straight = tmp_path / "straight"
    finish(forks, straight, staleness)
    while kills < 25:
        folder = tmp_path / f"killed_{round_}"
        kills += run_with_kills(forks, folder, staleness, 25 - kills, rng)
        check_nothing_lost_or_doubled(folder)
        if staleness == 0:
            assert trained(folder) == trained(straight)
        round_ += 1
