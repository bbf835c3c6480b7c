"""Runs Python that nobody trusts, and says what its functions gave.

    outcomes = run("def f(x): return x + 1", "f", [[1], [2]])
    [outcome.value for outcome in outcomes]  # [2, 3]

The code runs in a fresh process that answers calls as JSON over a pipe and knows nothing of what
is expected: printing "passed", leaving with status 0, looking through frames and files, or patching
a test harness brings nothing, since there is none in that process. It has no network, no files, no
other processes to see, a clean environment, and limits of time, memory, and output; see
`rl.rewards.sandbox_child`, and `isolation` for the means that this machine grants.
"""

import contextlib
import itertools
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rl.rewards.isolate_process import Busy, Ended, Late, WorkerProcess, queued
from rl.types import Json, VerifierFailed

CHILD = Path(__file__).with_name("sandbox_child.py")
MAX_CODE = 200_000  # characters; longer code is not run
MAX_REPLY = 1 << 20  # bytes of one result
START_SECONDS = 60.0
TOO_BUSY = "the machine is too busy to run the code"

_numbers = itertools.count()


@dataclass(frozen=True)
class Outcome:
    """What a call gave.

    Attributes:
        kind: "value"; "raised"; "late": killed at the limit; "ended": the process was gone or said
            what makes no sense; "skipped": not called, after another call failed so.
        value: JSON.
        reason: of what is no value.
    """

    kind: Literal["value", "raised", "late", "ended", "skipped"]
    value: Json = None
    reason: str = ""


def run(
    code: str,
    function: str,
    calls: Sequence[Sequence[Json]],
    *,
    seconds: float = 3.0,
    total_seconds: float = 12.0,
    memory: int = 256 << 20,
    walls: bool = True,
) -> list[Outcome]:
    """Calls a function that the code defines, in one process, one call after the other.

    Args:
        code: a Python module.
        function: its name.
        calls: arguments, JSON, of each call.
        seconds: for the module's own code, and for each call; of wall-clock time, but without the
            time that the process waits for a processor while others have it.
        total_seconds: for all of them; those after it are late.
        memory: bytes of address space.
        walls: False = make do with the audit hook, as where nothing else is granted; for tests.

    Returns:
        One outcome for each call. After one that is late or ends the process the rest is skipped.

    Raises:
        VerifierFailed: no process could be started, or it gets no processor to run on.
    """
    if len(code) > MAX_CODE:
        return [Outcome("raised", reason="the code is too long")] * len(calls)
    with _Box(total_seconds, memory, walls) as box:
        first = box.ask({"code": code}, min(seconds, total_seconds))
        outcomes = []
        for arguments in calls if first.kind == "value" else ():
            request = {"function": function, "args": list(arguments)}
            outcomes.append(box.ask(request, max(0.0, min(seconds, total_seconds - box.spent))))
            if outcomes[-1].kind in ("late", "ended"):
                break
    last = first if first.kind != "value" else Outcome("skipped")
    return outcomes + [last] * (len(calls) - len(outcomes))


def isolation() -> dict[str, str]:
    """By which means the code is shut in on this machine.

    Returns:
        "network": "namespace" or "hook"; "files": "root" (an empty one) or "hook"; "processes":
        "limit" or "hook". A "hook" is Python's audit hook, which is no wall: code that finds a
        hole in the interpreter gets past it.
    """
    with _Box(1.0, 256 << 20, walls=True) as box:
        return box.means


def queued_children(supervisor: int) -> float:
    """Seconds that the children of a process have waited for a processor; 0 where unknown."""
    children: list[str] = []
    with contextlib.suppress(OSError):
        children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    return queued(children)


def _remove(folder: str) -> None:
    with contextlib.suppress(OSError):
        os.chmod(folder, 0o755)
    shutil.rmtree(folder, ignore_errors=True)


class _Box:
    """A process that shut itself in."""

    def __init__(self, seconds: float, memory: int, walls: bool) -> None:
        numbers = (memory, int(seconds) + 2, os.getpid() * 64 + next(_numbers) % 64)
        environment = {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "LANG": "C.UTF-8"}
        self._ids = itertools.count()
        self.spent = 0.0  # seconds of its own
        with contextlib.ExitStack() as stack:  # whatever ends this, nothing is left behind
            try:
                folder = tempfile.mkdtemp(prefix="sandbox-")
                stack.callback(_remove, folder)
                os.chmod(folder, 0o555)
                arguments = [folder, *map(str, numbers), "walls" if walls else "hook"]
                command = [sys.executable, "-s", "-S", "-P", str(CHILD), *arguments]
                self._process = WorkerProcess(command, environment, MAX_REPLY)
            except OSError as problem:
                raise VerifierFailed(f"no sandbox could be started: {problem}") from None
            stack.callback(self._process.end, 5.0)
            try:
                self.means: dict[str, str] = self._process.receive(None, START_SECONDS)["means"]
            except (Late, Ended, KeyError) as problem:
                raise VerifierFailed(f"the sandbox did not start: {problem!r}") from None
            self._stack = stack.pop_all()

    def __enter__(self) -> "_Box":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def ask(self, request: dict[str, Json], seconds: float) -> Outcome:
        """What the process says to it in time; waiting for a processor is not its time.

        Raises:
            VerifierFailed: it waits for a processor nearly all the time.
        """
        number = next(self._ids)
        try:
            self._process.send(json.dumps({"id": number, **request}).encode(), START_SECONDS)
        except Late:
            raise VerifierFailed(TOO_BUSY) from None
        except Ended as problem:
            return Outcome("ended", reason=str(problem))
        started, before = time.monotonic(), self._waited()
        try:
            reply = self._process.receive_own(number, seconds, self._waited)
        except Late:
            return Outcome("late", reason=f"not done after {seconds} s")
        except Busy:
            raise VerifierFailed(TOO_BUSY) from None
        except Ended as problem:
            return Outcome("ended", reason=str(problem))
        finally:
            self.spent += time.monotonic() - started - (self._waited() - before)
        if reply["kind"] == "value" and "value" in reply:
            return Outcome("value", reply["value"])
        return Outcome("raised", reason=str(reply.get("reason", ""))[:500])

    def _waited(self) -> float:
        return queued_children(self._process.pid)
