"""python -m rl.main with engines and rewards in other processes, of which some are killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rl.rollout.event_log import read
from rl.rollout.events import Began, Finished, Rewarded, Train, Trained
from tests.two_processes import logged
from tests.xla_flags import quick

ROOT = Path(__file__).parents[2]
STEPS, LIMIT_S = 3, 900


def children(pid, name):
    """Processes below this one whose command names this."""
    parents, names = {}, {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                names[int(folder.name)] = (folder / "cmdline").read_text()
            except OSError:
                continue
            parents[int(folder.name)] = int(fields[1])

    def below(child):
        return child == pid or (child in parents and below(parents[child]))

    return sorted(child for child in parents if name in names[child] and below(child))


def wait_for(process, what, condition):
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert process.poll() is None, process.communicate()[0][-4000:]
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.timeout(2 * LIMIT_S)
@pytest.mark.parametrize(
    ("kind", "transport", "name"),
    [("processes", "files", "rl.executors.process_worker"), ("ray", "tcp", "ray::Host")],
)
def test_a_run_whose_processes_are_killed_trains_as_many_groups(kind, transport, name, tmp_path):
    if kind == "ray":
        pytest.importorskip("ray")
    folder = tmp_path / "run"
    command = [
        *(sys.executable, "-m", "rl.main", "--config=configs/rl.py:smoke", f"--workdir={folder}"),
        *(f"--config.executor.kind={kind}", f"--config.executor.transport={transport}"),
        *("--config.executor.engines=2", "--config.executor.rewards=1"),
        *("--config.executor.cpus=0.1", f"--config.train.steps={STEPS}"),
        *("--config.evals.tasks=0", "--config.train.save_every=0"),
    ]
    env = os.environ | {"XLA_FLAGS": quick(), "JAX_PLATFORMS": "cpu"}
    with subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            log = folder / "rollouts" / "events.jsonl"
            wait_for(process, "the log", log.exists)
            # Rewards are started when the first reply has come.
            wait_for(process, "a reply", lambda: len(children(process.pid, name)) == 3)
            before = children(process.pid, name)
            os.kill(before[0], signal.SIGKILL)
            wait_for(process, "a new one", lambda: set(children(process.pid, name)) - set(before))
            output = process.communicate(timeout=LIMIT_S)[0]
        finally:
            process.kill()
    assert process.returncode == 0, output[-4000:]
    assert sorted(logged(folder)) == list(range(1, STEPS + 1))
    events = read(log).events
    began = next(e for e in events if isinstance(e, Began))
    trained = [group for e in events if isinstance(e, Train) for group in e.groups]
    assert len([e for e in events if isinstance(e, Trained)]) == STEPS
    assert len(set(trained)) == len(trained) >= STEPS * began.settings["batch_groups"]
    for kinds in (Finished, Rewarded):
        told = [(e.sample, getattr(e, "attempt", 0)) for e in events if isinstance(e, kinds)]
        assert len(told) == len(set(told))
    assert not children(process.pid, name)
    assert not list((folder / "rollouts" / "weights").glob("*/*"))
