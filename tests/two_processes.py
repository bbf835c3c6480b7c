"""Starts `cogvit_jax.main`, or another, as two processes with CPU devices, for the tests."""

import collections
import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from cogvit_jax import metrics
from tests.xla_flags import quick

ROOT = Path(__file__).parents[1]
LIMIT_S = 240
# Each worker of pytest-xdist has this many ports of its own, below those that the system hands out.
FIRST_PORT, PORTS, WORKERS = 20_000, 200, 60

_ports_tried = itertools.count(os.getpid())  # another pytest beside this one begins elsewhere

# `main`, which also notes the records that each step of this process was given.
MAIN = """
import json, sys
from cogvit_jax import main, train_loop

take_step, path = train_loop.take_step, sys.argv.pop()

def noted(setup, state, tools):
    state, measured = take_step(setup, state, tools)
    with open(path, "a") as file:
        file.write(json.dumps([int(state.step), list(tools.batches.ids)]) + "\\n")
    return state, measured

train_loop.take_step = noted
main.cli()
"""


def free_port() -> int:
    """A port that stays free for the seconds until a coordinator starts to listen there.

    One that the system picks is soon given to somebody else: to any connection of another test.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % WORKERS
    for number in itertools.islice(_ports_tried, PORTS):
        port = FIRST_PORT + worker * PORTS + number % PORTS
        with contextlib.suppress(OSError), socket.socket() as s:
            s.bind(("", port))
            return port
    raise RuntimeError(f"all {PORTS} ports of this worker are taken")


class Pair:
    """Two processes that train together; a context that leaves none behind.

    Args:
        workdir: of the run; beside it, process i writes its notes to NAME.ids{i}.
        cache: of compiled code.
        arguments: flags.
        program: what Python is to run; its last argument is where its notes go.
        devices: of each process.
        limit_s: until they must have ended.
    """

    def __init__(
        self,
        workdir: Path,
        cache: Path,
        *arguments: str,
        program: Sequence[str] = ("-c", MAIN),
        devices: int = 4,
        limit_s: float = LIMIT_S,
    ):
        self.workdir, self.limit_s = workdir, limit_s
        env = os.environ | {
            "COLUMNS": "200",
            "JAX_PLATFORMS": "cpu",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices} {quick()}",
        }
        join = ("--distributed", f"--coordinator=127.0.0.1:{free_port()}", "--num_processes=2")
        self.processes = [
            subprocess.Popen(
                [
                    *(sys.executable, *program, f"--workdir={workdir}"),
                    *(*arguments, *join, f"--process_id={i}", f"--compilation_cache={cache}"),
                    str(workdir.parent / f"{workdir.name}.ids{i}"),
                ],
                cwd=ROOT,
                env=env,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for i in range(2)
        ]

    def __enter__(self) -> "Pair":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
            process.stdout.close()

    def wait_for_line(self, number: int) -> None:
        """Returns when the run has logged that many steps."""
        self.wait_for(lambda: len(logged(self.workdir)) >= number)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Returns when it holds; both must run until then."""
        deadline = time.monotonic() + self.limit_s
        while not condition():
            for process in self.processes:
                assert process.poll() is None, process.communicate()[0][-4000:]
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def send(self, which: int, number: signal.Signals) -> None:
        self.processes[which].send_signal(number)

    def output(self, which: int, limit_s: float = 0) -> str:
        """What a process printed until its end, within the limit; 0 = the pair's."""
        return self.processes[which].communicate(timeout=limit_s or self.limit_s)[0]

    def finish(self) -> list[str]:
        """What both printed; both must end well."""
        outputs = [self.output(i) for i in range(2)]
        for process, text in zip(self.processes, outputs, strict=True):
            assert process.returncode == 0, text[-4000:]
        return outputs


def run_both(*command: str, devices: int, limit_s: float = LIMIT_S) -> list[str]:
    """What two processes print that join by hand: `python COMMAND ADDRESS NUMBER`; both end well.

    Args:
        command: what Python is to run.
        devices: of each process, CPU.
        limit_s: until they must have ended.
    """
    env = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "PYTHONPATH": str(ROOT),
    }
    port = free_port()
    processes = [
        subprocess.Popen(
            [sys.executable, *command, f"127.0.0.1:{port}", str(i)],
            cwd=ROOT,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(2)
    ]
    try:
        outputs = [p.communicate(timeout=limit_s)[0] for p in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    for process, text in zip(processes, outputs, strict=True):
        assert process.returncode == 0, text[-4000:]
    return outputs


def logged(workdir: Path) -> dict[int, dict]:
    """step -> its numbers."""
    found: dict[int, dict] = collections.defaultdict(dict)
    path = workdir / "metrics.jsonl"
    for line in metrics.read_jsonl(path) if path.exists() else ():
        found[line["step"]].update(line)
    return found


def handed_out(workdir: Path, process: int) -> dict[int, list[str]]:
    """step -> ids of the records that a process was given for it, the last time it was taken."""
    path = workdir.parent / f"{workdir.name}.ids{process}"
    return dict(json.loads(line) for line in path.read_text("utf-8").splitlines())


def saved_steps(workdir: Path) -> list[int]:
    """Steps with a whole checkpoint; none where there is no folder of them yet."""
    return sorted(int(p.name) for p in (workdir / "checkpoints").glob("*") if p.name.isdigit())
