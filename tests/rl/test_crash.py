"""kill -9 at any moment: no prompt is lost or trained twice; a synchronous run ends the same."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rl.rollout.event_log import read
from rl.rollout.events import Admitted, Drop

SCRIPT = Path(__file__).parent / "crash_run.py"
STEPS = 12
ROOT = SCRIPT.parents[2]


def start(folder, staleness):
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(folder), str(STEPS), str(staleness)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors[-2000:]


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


def run_with_kills(folder, staleness, kills, rng):
    """As many kills as asked for, after times in which something happens."""
    done = 0
    while done < kills:
        process = start(folder, staleness)
        log = folder / "events.jsonl"
        size = log.stat().st_size if log.exists() else 0
        while process.poll() is None and (not log.exists() or log.stat().st_size <= size):
            time.sleep(0.005)
        time.sleep(rng.random() * 0.25)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            done += 1
        process.communicate()
        if (folder / "done").exists():
            return done
    finish(start(folder, staleness))
    return done


def test_killed_runs_end_as_uninterrupted_ones(tmp_path):
    finish(start(tmp_path / "straight", 0))
    run_with_kills(tmp_path / "killed", 0, 3, random.Random(0))
    check_nothing_lost_or_doubled(tmp_path / "straight")
    check_nothing_lost_or_doubled(tmp_path / "killed")
    assert trained(tmp_path / "killed") == trained(tmp_path / "straight")


@pytest.mark.slow
@pytest.mark.parametrize("staleness", [0, 2])
def test_many_kills(tmp_path, staleness):
    rng, kills, round_ = random.Random(staleness), 0, 0
    straight = tmp_path / "straight"
    finish(start(straight, staleness))
    while kills < 25:
        folder = tmp_path / f"killed_{round_}"
        kills += run_with_kills(folder, staleness, 25 - kills, rng)
        check_nothing_lost_or_doubled(folder)
        if staleness == 0:
            assert trained(folder) == trained(straight)
        round_ += 1
