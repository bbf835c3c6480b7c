"""Two processes of four devices train, evaluate and save like one process of eight."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def command(workdir: Path, *more: str) -> list[str]:
    return [
        *(sys.executable, "-m", "cogvit_jax.main", "--config=configs/stage2.py:smoke"),
        *(f"--workdir={workdir}", "--config.evals.gallery=0", "--config.train.steps=3"),
        *("--config.train.eval_every=1", "--config.mesh.fsdp=2"),
        # The schedule of four steps, also where three are taken.
        *(f"--config.optim.groups.{g}.decay_steps=4" for g in ("vision", "text", "projection")),
        *("--config.data.lengths=(4,)", *more),
    ]


def start(args: list[str], num_devices: int) -> subprocess.Popen:
    flags = f"--xla_force_host_platform_device_count={num_devices}"
    env = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    return subprocess.Popen(
        args, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(*processes: subprocess.Popen) -> None:
    for process in processes:
        output, _ = process.communicate(timeout=240)
        assert process.returncode == 0, output


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def by_step(workdir: Path) -> dict[int, dict]:
    found: dict[int, dict] = {}
    for text in (workdir / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        found.setdefault(line["step"], {}).update(line)
    return found


def test_two_processes_and_a_restart_as_one_equal_one_process(tmp_path):
    finish(start(command(tmp_path / "one", "--config.train.steps=4"), 8))
    join = ("--distributed", f"--coordinator=127.0.0.1:{free_port()}", "--num_processes=2")
    finish(*(start(command(tmp_path / "two", *join, f"--process_id={i}"), 4) for i in range(2)))
    finish(start(command(tmp_path / "two", "--config.train.steps=4"), 8))
    one, two = by_step(tmp_path / "one"), by_step(tmp_path / "two")
    assert sorted(one) == sorted(two) == [1, 2, 3, 4]
    for step, values in one.items():
        kept = [k for k in values if not k.startswith(("time/", "memory/"))]
        expected = {k: values[k] for k in kept}
        assert {k: two[step][k] for k in kept} == pytest.approx(expected, rel=1e-4)
