"""Two processes with one device each train as one process with two: the first has the rollouts."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys

import jax
import pytest

from cogvit_jax import checkpoint, metrics
from configs import rl as configs
from rl import programs
from tests.two_processes import ROOT, Pair, logged, saved_steps
from tests.xla_flags import quick

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]  # a dozen processes that compile

LIMIT_S = 1500
STEPS = 3
PROGRAM = ("-m", "tests.rl.pair_run")
HALVES = (  # parameters of which each device has a half
    ("qkv/kernel$", ("fsdp", None, None, None)),
    ("(query|key|value)/kernel$", ("fsdp", None, None)),
    ("(mlp/|table$|patch_embedding/kernel)", ("fsdp", None)),
    (".*", ()),
)
FLAGS = (
    *("--config=configs/rl.py:smoke", f"--config.train.steps={STEPS}"),
    f"--config.train.keep_last={STEPS}",
    *(f"--config.train.eval_every={STEPS}", "--config.evals.blank=False"),
    # Every policy's rollouts are trained by the step after it, so they are the same in all runs.
    "--config.rollout.max_staleness=0",
    "--config.tasks.categories=('counting','attributes')",
    # The reference, and the policy before the step, score as well.
    *("--config.algorithm.preset=grpo", "--config.algorithm.proximal=old"),
    *("--config.mesh.fsdp=2", f"--config.mesh.rules={HALVES}"),
    *("--config.engine.buckets=(128,)", "--config.packing.ladder=(1,)"),
)
OTHERS = ("--config.executor.kind=processes", "--config.evals.tasks=0", "--config.fidelity.every=0")


def pair(workdir, cache, *flags):
    flags = (*FLAGS, f"--config.train.init_from={cache / 'start'}", *flags)
    return Pair(workdir, cache, *flags, program=PROGRAM, devices=1, limit_s=LIMIT_S)


def notes(path):
    """step -> what was noted of it, the last time it was taken."""
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return {line.pop("step"): line for line in lines}


def of_pair(workdir):
    return [notes(workdir.parent / f"{workdir.name}.ids{i}") for i in range(2)]


def assert_same(found, expected):
    """Sums over devices are taken in another order, and so are rows of the engine's batches."""
    for step, wanted in expected.items():
        assert found[step]["loss"] == pytest.approx(wanted["loss"], rel=1e-4), step
        assert found[step]["params"] == pytest.approx(wanted["params"], rel=1e-3, abs=1e-3), step


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Of compiled code; in it lies what all runs start from, and are compared with."""
    found = tmp_path_factory.mktemp("compiled")
    program = programs.build(configs.get_config("smoke"))
    checkpoint.save_params(str(found / "start"), jax.jit(program.init)(jax.random.key(7)))
    return found


@pytest.fixture(scope="module")
def one(folder, cache):
    """(workdir, notes) of one process with two devices."""
    flags = ("--xla_force_host_platform_device_count=2", quick())
    env = {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    done = subprocess.run(
        [
            *(sys.executable, *PROGRAM, f"--workdir={folder / 'one'}", *FLAGS),
            *(f"--config.train.init_from={cache / 'start'}", f"--compilation_cache={cache}"),
            str(folder / "one.ids"),
        ],
        cwd=ROOT,
        env=os.environ | env | {"XLA_FLAGS": " ".join(flags)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return folder / "one", notes(folder / "one.ids")


@pytest.fixture(scope="module")
def two(folder, cache):
    """The workdir of two processes with one device each."""
    with pair(folder / "two", cache) as processes:
        processes.finish()
    return folder / "two"


def test_two_processes_train_as_one(one, two):
    """Rollouts, rewards, scoring, held-out tasks and steps, all of them."""
    expected = one[1]
    assert sorted(expected) == list(range(1, STEPS + 1))
    assert len({line["loss"] for line in expected.values()}) == STEPS
    for found in of_pair(two):
        assert_same(found, expected)
    ours, theirs = logged(two), logged(one[0])
    for step in range(1, STEPS + 1):
        for name in ("fidelity/tokens_text", "kl/ref_k3", "packing/bytes"):
            assert ours[step][name] == pytest.approx(theirs[step][name], rel=1e-3, abs=1e-6)
        assert ours[step]["rl/dispatch/needed_megabytes"] > 0
    assert ours[STEPS]["kl/ref_k3"] > abs(ours[1]["kl/ref_k3"])
    assert ours[STEPS]["heldout/reward"] == theirs[STEPS]["heldout/reward"]


def test_both_processes_have_the_same_numbers(two):
    first, second = of_pair(two)
    assert first == second


def test_only_the_first_process_writes_rollouts(two):
    steps = sorted(p.name for p in (two / "rollouts").glob("step_*.jsonl"))
    assert steps == [f"step_{step:06d}.jsonl" for step in range(STEPS)]


def test_two_processes_go_on_where_they_were_saved_with_engines_elsewhere(
    one, two, cache, tmp_path
):
    """The engines read the parts that each process has published."""
    workdir = tmp_path / "again"
    shutil.copytree(two, workdir)
    for step in saved_steps(workdir)[1:]:
        shutil.rmtree(workdir / "checkpoints" / str(step))
    metrics.drop_lines_after(workdir / "metrics.jsonl", 1)
    with pair(workdir, cache, *OTHERS) as processes:
        outputs = processes.finish()
    assert "from step 1" in outputs[0]
    for found in of_pair(workdir):
        assert sorted(found) == list(range(2, STEPS + 1))
        assert_same(found, {step: one[1][step] for step in found})
    assert not list((workdir / "rollouts" / "weights").glob("*/*"))


def test_sigterm_to_the_second_stops_both_after_the_same_step(cache, tmp_path):
    flags = ("--config.train.steps=1000", "--config.train.save_every=0", "--config.evals.tasks=0")
    with pair(tmp_path / "stopped", cache, *flags) as processes:
        processes.wait_for_line(1)
        processes.send(1, signal.SIGTERM)
        outputs = processes.finish()
    stopped = int(re.search(r"Stopped at step (\d+); run the same command", outputs[0]).group(1))
    assert saved_steps(tmp_path / "stopped") == [stopped]
    assert [max(found) for found in of_pair(tmp_path / "stopped")] == [stopped] * 2


@pytest.mark.parametrize("which", [0, 1])
def test_sigterm_while_they_wait_for_rollouts_stops_both_at_once(cache, tmp_path, which):
    """Of which there will be none: a preempted process has seconds, and replies take minutes."""
    judging = tmp_path / "waiting.ids0.judging"
    with pair(tmp_path / "waiting", cache, "--config.evals.tasks=0", "--break=score") as processes:
        processes.wait_for(judging.exists)
        processes.send(which, signal.SIGTERM)
        outputs = processes.finish()
    assert "Stopped at step 0; run the same command to go on." in outputs[0]
    assert saved_steps(tmp_path / "waiting") == [0]


def test_a_broken_engine_stops_both_and_both_say_why(cache, tmp_path):
    flags = ("--config.executor.restarts=0", "--break=engine")
    with pair(tmp_path / "broken", cache, *flags) as processes:
        outputs = [processes.output(i) for i in range(2)]
        assert all(process.returncode == 1 for process in processes.processes)
    assert "the device of this test is broken" in outputs[0]
    last = outputs[1].strip().splitlines()[-1]
    assert last.startswith("error: process 0 of 2 stopped the run: ")
    assert "the device of this test is broken" in last


def test_a_part_that_process_1_cannot_write_stops_both(cache, tmp_path):
    with pair(tmp_path / "full", cache, *OTHERS, "--break=part") as processes:
        outputs = [processes.output(i) for i in range(2)]
        assert all(process.returncode == 1 for process in processes.processes)
    for text in outputs:
        assert "process 1: publishing weights: OSError: the disk of this test is full" in text


def test_weights_over_tcp_are_refused_for_several_processes(cache, tmp_path):
    flags = ("--config.executor.kind=processes", "--config.executor.transport=tcp")
    with pair(tmp_path / "tcp", cache, *flags) as processes:
        for i in range(2):
            assert "config.executor.transport = 'tcp' with --num_processes=2" in processes.output(i)
