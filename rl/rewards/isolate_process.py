"""A process and the pipes to it; used by `rl.rewards.isolate` and `rl.rewards.sandbox`."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from rl.rewards.isolate_worker import HEADER
from rl.types import Json

MAX_BYTES = 64 << 20  # of a reply
BUSY = 20.0  # times the limit, in wall-clock time, after which the machine is too busy


class Late(Exception):
    """The worker did not answer in time."""


class Ended(Exception):
    """The worker ended, or said what makes no sense."""


class Busy(Exception):
    """The worker had hardly any time of a processor."""


def queued(pids: Iterable[int | str]) -> float:
    """Seconds that processes (their main threads) have waited for a processor; 0 where unknown."""
    seconds = 0.0
    with contextlib.suppress(OSError, ValueError, IndexError):
        for pid in pids:
            seconds += int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    return seconds


def start_worker(memory: int) -> "WorkerProcess":
    """A worker of `rl.rewards.isolate` that finds the modules that we find.

    Args:
        memory: bytes of address space at most; 0 = no limit.
    """
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    command = [sys.executable, "-m", "rl.rewards.isolate_worker", str(memory)]
    return WorkerProcess(command, {**os.environ, **threads, "PYTHONPATH": path})


class WorkerProcess:
    """A process in a session of its own that answers one request after the other.

    Attributes:
        pid: of the process.
        modules: what it has imported.
        calls: how many it has served.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], max_bytes: int = MAX_BYTES
    ) -> None:
        """Starts it; the first frame that it sends says that it is ready.

        Args:
            command: program and arguments; it reads and writes frames.
            environment: all of it.
            max_bytes: of a reply.
        """
        self._max_bytes = max_bytes
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
            env=environment,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._pipes = (self._process.stdin, self._process.stdout)
        self._requests, self._replies = (pipe.fileno() for pipe in self._pipes)
        for fd in (self._requests, self._replies):
            os.set_blocking(fd, False)
        self._buffer = bytearray()
        self.pid = self._process.pid
        self.modules: set[str] = set()
        self.calls = 0

    def prepare(self, module: str, call_id: int, seconds: float) -> None:
        """Waits until it is ready and has imported a module, if it can.

        Raises:
            Late, Ended: see `receive`.
        """
        self.receive(None, seconds)
        request = {"id": call_id, "target": module, "args": [], "seconds": seconds}
        self.send(json.dumps(request).encode(), seconds)
        if self.receive(call_id, seconds)["kind"] == "loaded":
            self.modules.add(module)
            self.receive(call_id, seconds)

    def send(self, body: bytes, seconds: float) -> None:
        """Sends a frame.

        Raises:
            Late, Ended: see `receive`.
        """
        until = time.monotonic() + seconds
        left = memoryview(HEADER.pack(len(body)) + body)
        while left:
            self._wait(self._requests, select.POLLOUT, until)
            try:
                left = left[os.write(self._requests, left) :]
            except BlockingIOError:
                continue
            except (OSError, ValueError) as problem:
                raise Ended(str(problem)) from None

    def receive(self, call_id: int | None, seconds: float) -> dict[str, Json]:
        """The next frame; may be called again where it was late.

        Raises:
            Late: it is not there in time.
            Ended: there is none, it is too long, no JSON, or of another call.
        """
        until = time.monotonic() + seconds
        self._fill(HEADER.size, until)
        (size,) = HEADER.unpack_from(self._buffer)
        if size > self._max_bytes:
            raise Ended(f"a reply of {size} bytes")
        self._fill(HEADER.size + size, until)
        body = bytes(self._buffer[HEADER.size : HEADER.size + size])
        del self._buffer[: HEADER.size + size]
        try:
            reply = json.loads(body)
        except (ValueError, RecursionError):
            raise Ended("a reply that is no JSON") from None
        if not isinstance(reply, dict) or reply.get("id") != call_id or "kind" not in reply:
            raise Ended("a reply of another call")
        return reply

    def receive_own(
        self, call_id: int, seconds: float, waited: Callable[[], float]
    ) -> dict[str, Json]:
        """`receive`, within so many seconds of its own: those it waits for a processor are not.

        Args:
            call_id: of the frame.
            seconds: of its own.
            waited: () -> seconds that it has waited for a processor until now.

        Raises:
            Late: its time is over.
            Busy: it waits nearly all the time.
            Ended: see `receive`.
        """
        started, before, left = time.monotonic(), waited(), seconds
        while True:
            with contextlib.suppress(Late):
                return self.receive(call_id, max(left, 0.0))
            wall = time.monotonic() - started
            left = seconds - (wall - (waited() - before))
            if left <= 0.01 * seconds:
                raise Late
            if wall > BUSY * seconds:
                raise Busy

    def interrupt(self) -> None:
        """Kills its process group, so that who waits for it sees it end; from any thread."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self._process.returncode is None:
                os.killpg(self._process.pid, signal.SIGKILL)

    def kill(self) -> None:
        """Kills its process group, reaps it, and closes the pipes; by who has it."""
        self.interrupt()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5.0)
        self.abandon()

    def end(self, seconds: float) -> None:
        """Lets it end by itself, as its input does, and kills what is left after so long."""
        with contextlib.suppress(OSError):
            self._pipes[0].close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        self.kill()

    def abandon(self) -> None:
        """Closes our ends of the pipes and forgets it; it may be another process's child."""
        for pipe in self._pipes:
            with contextlib.suppress(OSError):
                pipe.close()
        if self._process.returncode is None:
            self._process.returncode = -signal.SIGKILL

    def _fill(self, size: int, until: float) -> None:
        """Reads on until so many bytes are there."""
        while len(self._buffer) < size:
            self._wait(self._replies, select.POLLIN, until)
            try:
                some = os.read(self._replies, min(size - len(self._buffer), 1 << 20))
            except BlockingIOError:
                continue
            except (OSError, ValueError) as problem:
                raise Ended(str(problem)) from None
            if not some:
                raise Ended("its output ended")
            self._buffer += some

    def _wait(self, fd: int, event: int, until: float) -> None:
        poll = select.poll()
        poll.register(fd, event)
        if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
            raise Late
