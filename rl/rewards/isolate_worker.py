"""The process that `rl.rewards.isolate` calls functions in: `python -m rl.rewards.isolate_worker`.

Frames on its standard input and output are 4 bytes of length, big end first, and that many bytes
of JSON. It ends when its input ends, also amid a call. Nothing heavy is imported before a call
needs it.
"""

import contextlib
import importlib
import json
import os
import resource
import select
import signal
import struct
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

HEADER = struct.Struct(">I")
GRACE = 5  # seconds of processor time beyond the limit, should nobody be there to kill us


def main(memory: int) -> None:
    """Serves calls until the input ends.

    Args:
        memory: bytes of address space at most; 0 = no limit.
    """
    requests, replies = _take_pipes()
    if memory:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    threading.Thread(target=_die_with_parent, args=(requests,), daemon=True).start()
    _send(replies, {"kind": "ready"})
    while True:
        request = _receive(requests)
        reply = _load(request)
        if reply is None:
            _send(replies, {"id": request["id"], "kind": "loaded"})
            _limit_cpu(request["seconds"])
            reply = _run(request)
        _send(replies, {"id": request["id"], **reply})


def _load(request: dict[str, Any]) -> dict[str, Any] | None:
    """Imports what is called; None = it went well."""
    try:
        _function(request["target"])
    except BaseException as problem:
        return _error(problem)
    return None


def _run(request: dict[str, Any]) -> dict[str, Any]:
    try:
        value = _function(request["target"])(*request["args"])
        json.dumps(value, allow_nan=False)
    except BaseException as problem:
        return _error(problem)
    return {"kind": "value", "value": value}


def _function(target: str) -> Callable[..., Any]:
    module, _, name = target.partition(":")
    imported = importlib.import_module(module)
    return getattr(imported, name) if name else lambda: None


def _error(problem: BaseException) -> dict[str, Any]:
    """What went wrong, said in one line; the worker is worn out after some of it."""
    kind = "abstain" if type(problem).__name__ == "Unverifiable" else "error"
    try:
        said = traceback.format_exception_only(problem)[-1].strip()[:500]
    except BaseException:
        said = type(problem).__name__
    if kind == "abstain":
        said = said.partition(": ")[2]
    worn = isinstance(problem, MemoryError | RecursionError | SystemExit | KeyboardInterrupt)
    return {"kind": kind, "reason": said, "worn": worn}


def _limit_cpu(seconds: float) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime + seconds) + GRACE
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _take_pipes() -> tuple[int, int]:
    """The pipes for ourselves: what is called may print and read as it likes."""
    requests, replies = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    return requests, replies


def _die_with_parent(requests: int) -> None:
    """Waits for the end of the input, then ends the whole group, whatever is being called."""
    poll = select.poll()
    poll.register(requests, 0)  # only the hang-up, which always is reported
    poll.poll()
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _receive(fd: int) -> dict[str, Any]:
    (size,) = HEADER.unpack(_read(fd, HEADER.size))
    return json.loads(_read(fd, size))


def _read(fd: int, size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        some = os.read(fd, min(size - len(found), 1 << 20))
        if not some:
            os._exit(0)
        found += some
    return bytes(found)


def _send(fd: int, reply: dict[str, Any]) -> None:
    body = json.dumps(reply).encode()
    left = memoryview(HEADER.pack(len(body)) + body)
    while left:
        left = left[os.write(fd, left) :]


if __name__ == "__main__":
    main(int(sys.argv[1]))
