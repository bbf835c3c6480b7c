"""Runs killed at any moment and started again end in the parameters of an uninterrupted run."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from cogvit_jax import metrics, run_dir, sharding
from cogvit_jax.programs import stage2
from tests.xla_flags import quick

ROOT = Path(__file__).parents[2]
STEPS, SAVE_EVERY = 12, 2
LIMIT_S, TRIES = 240, 5


class Runs:
    """Starts training runs as processes of their own, which share compiled code."""

    def __init__(self, cache: Path):
        self.processes: list[subprocess.Popen] = []
        inherited = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
        self.env = inherited | {
            "COLUMNS": "200",
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": quick(),
            "JAX_COMPILATION_CACHE_DIR": str(cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
        }

    def start(self, *arguments: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "cogvit_jax.main", *arguments]
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            command, cwd=ROOT, env=self.env, stdout=pipe, stderr=subprocess.STDOUT, text=True
        )
        self.processes.append(process)
        return process

    def train(self, workdir: Path, steps: int = STEPS) -> subprocess.Popen:
        return self.start(
            "--config=configs/stage2.py:smoke",
            f"--config.train.steps={steps}",
            f"--config.train.save_every={SAVE_EVERY}",
            "--config.train.eval_every=0",
            "--config.data.lengths=(9,)",  # one shape to compile
            f"--workdir={workdir}",
        )


def finish(process: subprocess.Popen) -> str:
    output, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, output[-4000:]
    return output


def comes(process: subprocess.Popen, condition) -> bool:
    """Whether `condition()` holds before the process ends; returns then, with it stopped."""
    deadline = time.monotonic() + LIMIT_S
    while process.poll() is None:
        assert time.monotonic() < deadline, "never came"
        if condition():
            process.send_signal(signal.SIGSTOP)
            if condition():
                return True
            process.send_signal(signal.SIGCONT)
        time.sleep(0.001)
    return False


def logged(workdir: Path) -> list[int]:
    path = workdir / "metrics.jsonl"
    return [line["step"] for line in metrics.read_jsonl(path)] if path.exists() else []


def saved(workdir: Path) -> list[int]:
    """Steps whose checkpoints are complete: the others' folders have longer names."""
    return sorted(int(p.name) for p in (workdir / "checkpoints").glob("*") if p.name.isdigit())


def saving(workdir: Path) -> list[Path]:
    return [p for p in (workdir / "checkpoints").glob("*") if not p.name.isdigit()]


def at_line(number: int):
    return lambda workdir: len(logged(workdir)) >= number


def inside_a_save_after(step: int):
    return lambda workdir: bool(saving(workdir)) and saved(workdir)[-1:] >= [step]


def log_file(workdir: Path) -> int | None:
    """The number of the log's file: each run that finds a log puts another file in its place."""
    path = workdir / "metrics.jsonl"
    return path.stat().st_ino if path.exists() else None


def sign_of(workdir: Path, moment):
    """() -> whether a run that is now to be started has come to a moment.

    Lines and the folder of a save that the run before left say nothing of this one, which removes
    them: that comes first.
    """
    log, folders = log_file(workdir), set(saving(workdir))

    def has_come() -> bool:
        folders.intersection_update(saving(workdir))  # a new one may have the name of one that went
        own = log is None or log_file(workdir) != log
        return own and not folders and moment(workdir)

    return has_come


def kill(runs: Runs, workdir: Path, moment) -> str:
    """Continues a run until a moment, and kills it; returns what it printed.

    One that is done before the moment was seen, since this process got no processor, is taken back.
    """
    before = workdir.with_name(f"{workdir.name}.before")
    for _ in range(TRIES):
        shutil.copytree(workdir, before)
        sign = sign_of(workdir, moment)
        process = runs.train(workdir)
        came = comes(process, sign)
        process.kill()
        output = process.communicate()[0]
        if came:
            shutil.rmtree(before)
            return output
        assert process.returncode == 0, output[-4000:]
        shutil.rmtree(workdir)
        before.rename(workdir)
    raise AssertionError(f"done before it was killed, {TRIES} times")


def check_resumed(output: str, complete: list[int], reached: list[int]) -> None:
    """Training went on from the newest complete checkpoint, and no save before it was lost."""
    found = re.search(r"from step\s+(\d+)", output)
    resumed = int(found.group(1)) if found else 0
    assert resumed == max(complete, default=0)
    # A step is logged before it is saved, and the save before that may still have been under way.
    assert max(reached, default=0) - resumed <= 2 * SAVE_EVERY


def kill_and_finish(runs: Runs, workdir: Path, moments) -> None:
    complete, reached = [], []
    for moment in moments:
        output = kill(runs, workdir, moment)
        check_resumed(output, complete, reached)
        complete, reached = saved(workdir), logged(workdir)
    check_resumed(finish(runs.train(workdir)), complete, reached)


def parameters(workdir: Path):
    config = run_dir.load_config(str(workdir))
    config.data.heldout = ""
    mesh = sharding.make_mesh(sharding.MeshSettings(data=1), jax.devices()[:1])
    params, step = run_dir.load_params(stage2.build(config, mesh), config, str(workdir))
    assert step == STEPS
    return jax.device_get(params)


def assert_same_run(workdir: Path, reference: Path) -> None:
    jax.tree.map(np.testing.assert_array_equal, parameters(workdir), parameters(reference))
    lines = [metrics.read_jsonl(w / "metrics.jsonl") for w in (workdir, reference)]
    names = ("step", "loss", "grad_norm", "lr/vision")
    figures = [[[line[n] for n in names] for line in some] for some in lines]
    assert figures[0] == figures[1]
    assert logged(workdir) == list(range(1, STEPS + 1))
    assert not saving(workdir)


@pytest.fixture(scope="module")
def runs(xla_cache):
    started = Runs(xla_cache)
    yield started
    for process in started.processes:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(scope="module")
def reference(runs, tmp_path_factory):
    """The workdir of an uninterrupted run."""
    workdir = tmp_path_factory.mktemp("reference")
    finish(runs.train(workdir))
    return workdir


@pytest.mark.slow
def test_many_kills(runs, reference, tmp_path):
    moments = [
        lambda workdir: (workdir / "config.json").exists(),  # before the first step
        lambda workdir: bool(saving(workdir)),  # no checkpoint is complete yet
        at_line(3),
        inside_a_save_after(2),
        at_line(8),
        inside_a_save_after(8),
        at_line(STEPS),
    ]
    kill_and_finish(runs, tmp_path, moments)
    assert_same_run(tmp_path, reference)


def test_sigterm_saves_and_ends_well(runs, tmp_path):
    process = runs.train(tmp_path, steps=1000)  # it is not done before the signal comes
    assert comes(process, lambda: len(logged(tmp_path)) >= 3), process.communicate()[0][-4000:]
    seen = logged(tmp_path)[-1]
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGCONT)
    output = finish(process)
    stopped = logged(tmp_path)[-1]
    assert f"Stopped at step {stopped}" in output
    # A step is logged at its own end, or when the next one is under way; the run ends with the step
    # that the signal finds, which at the latest is about to log that next one.
    assert seen <= stopped <= seen + 2
    assert saved(tmp_path)[-1] == stopped


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config=configs/stage2.py:smoke"], r"--workdir must have a value"),
        (["--config=configs/stage2.py:smoke", "--config.train.stpes=3"], r'Did you mean "steps"'),
        (["--config=configs/stage2.py:smok"], r"unknown config variant 'smok'; .*tiny, smoke"),
        (["--config=configs/stage9.py"], r"No such file.*configs/stage9\.py"),
        (
            ["--config=configs/stage2.py:smoke", "--config.data.train=foldr:/x"],
            r"config\.data\.train: .*did you mean 'folder:'",
        ),
    ],
    ids=["no workdir", "unknown field", "unknown variant", "no config", "bad source"],
)
def test_mistakes_on_the_command_line_are_one_line(runs, tmp_path, arguments, message):
    if "--workdir" not in message:
        arguments = [*arguments, f"--workdir={tmp_path}"]
    process = runs.start(*arguments)
    output, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 1
    assert "Traceback" not in output
    last = output.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert re.search(message, last)


@pytest.mark.parametrize(
    ("command", "flags"),
    [
        ("main", ("config", "workdir", "heartbeat_timeout", "compilation_cache")),
        ("evaluate", ("workdir", "heldout", "distributed", "compilation_cache")),
        ("embed", ("workdir", "images", "texts", "output", "compilation_cache")),
    ],
)
def test_help_names_the_flags(command, flags):
    arguments = [sys.executable, "-m", f"cogvit_jax.{command}", "--help"]
    result = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S)
    assert result.returncode == 0, result.stderr
    assert f"python -m cogvit_jax.{command}" in result.stdout
    for flag in flags:
        assert f"--{flag}" in result.stdout
    assert not result.stderr
