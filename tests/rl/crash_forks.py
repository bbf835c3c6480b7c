"""Runs of `tests.rl.crash_run` in forks of one process: nearly all of a run's time is its imports.

python -m tests.rl.crash_forks    serves a line of arguments at a time, for `Forks`
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import traceback
from pathlib import Path

from tests.rl import crash_run

ROOT = Path(__file__).parents[2]


class Forks:
    """A context in which runs are started, one at a time, and killed."""

    def __enter__(self) -> "Forks":
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.rl.crash_forks"],
            cwd=ROOT,
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # `select` sees what no buffer has taken
        )
        self._pid, self._status = 0, None
        return self

    def __exit__(self, *_: object) -> None:
        if self._pid and self.poll() is None:
            self.kill()
        self._server.communicate()

    def start(self, folder: Path, steps: int, staleness: int) -> None:
        """A run, which writes what it prints to `folder/output`."""
        folder.mkdir(exist_ok=True)
        line = json.dumps([str(folder), steps, staleness])
        self._server.stdin.write(line.encode() + b"\n")
        self._pid, self._status = int(self._server.stdout.readline()), None

    def poll(self) -> int | None:
        """The run's exit status, -9 once it was killed; None before its end."""
        if self._status is None and select.select([self._server.stdout], [], [], 0)[0]:
            return self.wait()
        return self._status

    def wait(self) -> int:
        """The run's exit status."""
        if self._status is None:
            self._status = int(self._server.stdout.readline())
        return self._status

    def kill(self) -> int:
        """The exit status of the run, which is no more: -9, or its own if it has just ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        return self.wait()


def _run(folder: str, steps: int, staleness: int) -> None:
    """In the fork; it never returns."""
    status = 1
    try:
        with open(Path(folder, "output"), "a") as output:
            for number in (1, 2):
                os.dup2(output.fileno(), number)
        crash_run.main(folder, steps, staleness)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def serve() -> None:
    """Tells the process number of each run when it starts, and its status when it has ended."""
    for line in sys.stdin:
        child = os.fork()
        if not child:
            _run(*json.loads(line))
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
