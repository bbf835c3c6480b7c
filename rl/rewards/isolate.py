"""Calls that can hang, in processes that can be killed.

    isolate.call("rl.rewards.rules.formulas:same_value", "2^2^2^2^2", "7", seconds=1.0)

A call takes a warm worker process; one that is not done in time is killed, with its whole process
group, and the call raises `VerifierFailed`. Others are not held up: there is always a spare worker
until `max_workers` are busy. A worker serves one call at a time and is never used again after one
that went wrong, so that an answer always belongs to the call. Works from any thread (where
`signal.alarm` does not), needs no `fork`, and the workers end with this process, however it ends.
"""

import asyncio
import atexit
import itertools
import json
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from rl.rewards.isolate_process import Busy, Ended, Late, WorkerProcess, queued, start_worker
from rl.types import Json, Unverifiable, VerifierFailed

SPARE = 2  # workers that are warm and idle, where the bound allows
START_SECONDS = 60.0  # for a new process, and for the import of what is called
MAX_CALLS = 5000  # of one worker, since caches of what is imported grow


class Pool:
    """Workers, as many as are needed and `max_workers` at most.

    Attributes:
        max_workers: more calls than that at once wait for each other.
    """

    def __init__(self, max_workers: int | None = None, memory: int = 4 << 30) -> None:
        """Starts nothing yet.

        Args:
            max_workers: None = 8, or two for each processor where that is more.
            memory: bytes of address space of each worker; 0 = no limit.
        """
        self.max_workers = max_workers or max(8, 2 * (os.cpu_count() or 1))
        self._memory = memory
        self._changed = threading.Condition()
        self._idle: list[WorkerProcess] = []  # the one that was used last is the last
        self._busy: set[WorkerProcess] = set()
        self._starting = 0
        self._failure = ""  # of the last start
        self._closed = False
        self._ids = itertools.count(1)
        self._threads: ThreadPoolExecutor | None = None

    def call(self, target: str, *args: Json, seconds: float = 1.0) -> Json:
        """The function's result.

        Args:
            target: "package.module:function"; it must give JSON.
            args: JSON.
            seconds: for the call, the import of the module and waiting for a processor aside.

        Raises:
            VerifierFailed: it took too long, raised, crashed, or could not be started.
            Unverifiable: it raised that.
            ValueError: the target or an argument is not as said.
        """
        if not target.partition(":")[2] or not seconds > 0:
            raise ValueError(f"target = {target!r} must be 'module:function', seconds = {seconds}")
        request = {"id": next(self._ids), "target": target, "args": args, "seconds": seconds}
        body = json.dumps(request, allow_nan=False).encode()
        for attempt in range(3):
            worker = self._take(target.partition(":")[0])
            try:
                reply = self._ask(worker, body, request, attempt < 2)
            except BaseException:
                self._give_back(worker, kill=True)
                raise
            self._give_back(worker, kill=reply is None or bool(reply.get("worn")))
            if reply is not None:
                return _value(target, reply)
        raise AssertionError("the last attempt raises or returns")

    async def acall(self, target: str, *args: Json, seconds: float = 1.0) -> Json:
        """The same for an event loop, whose own threads stay free."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self.max_workers, "isolate")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._threads, lambda: self.call(target, *args, seconds=seconds)
        )

    def close(self) -> None:
        """Kills all workers; calls in flight and later ones raise VerifierFailed."""
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, []
            for worker in self._busy:  # who waits for them reaps them
                worker.interrupt()
            self._changed.notify_all()
        for worker in idle:
            worker.kill()
        if self._threads is not None:
            self._threads.shutdown(wait=False)

    def abandon(self) -> None:
        """Lets go of the workers, in a process that was forked off theirs."""
        for worker in (*self._idle, *self._busy):
            worker.abandon()

    def warm(self, target: str, workers: int = SPARE, seconds: float = START_SECONDS) -> None:
        """Waits until so many workers are idle that have imported the target's module."""
        module = target.partition(":")[0]
        until = time.monotonic() + seconds
        with self._changed:
            while True:
                self._ensure_spare(module, workers)
                warm = sum(module in worker.modules for worker in self._idle)
                left = until - time.monotonic()
                if warm >= min(workers, self.max_workers - len(self._busy)) or left <= 0:
                    return
                self._changed.wait(min(left, 0.1))

    def _ask(
        self, worker: WorkerProcess, body: bytes, request: dict[str, Json], may_retry: bool
    ) -> dict[str, Json] | None:
        """Its reply; None where the worker had died before it began and another may be asked."""
        target, limit = request["target"], request["seconds"]
        try:
            worker.send(body, START_SECONDS)
            loaded = worker.receive(request["id"], START_SECONDS)
        except Late:
            raise VerifierFailed(f"{target} could not be imported in {START_SECONDS} s") from None
        except Ended as problem:
            if may_retry and not self._closed:
                return None
            raise VerifierFailed(f"{target}: no worker lives: {problem}") from None
        if loaded["kind"] != "loaded":
            return loaded
        worker.modules.add(target.partition(":")[0])
        try:
            return worker.receive_own(request["id"], limit, lambda: queued([worker.pid]))
        except Busy:
            raise VerifierFailed(f"the machine is too busy to run {target}") from None
        except Late:
            raise VerifierFailed(f"{target} was killed after {limit} s") from None
        except Ended as problem:
            raise VerifierFailed(f"{target}: its process ended: {problem}") from None

    def _take(self, module: str) -> WorkerProcess:
        """A free worker, if possible one that has imported the module."""
        with self._changed:
            self._failure = ""
            while True:
                if self._closed:
                    raise VerifierFailed("the pool of workers is closed")
                if self._idle:
                    break
                self._ensure_spare(module, 1)
                if self._failure and not self._busy and not self._starting:
                    raise VerifierFailed(f"no worker could be started: {self._failure}")
                self._changed.wait(1.0)
            warm = [worker for worker in self._idle if module in worker.modules]
            worker = (warm or self._idle)[-1]
            self._idle.remove(worker)
            self._busy.add(worker)
            self._ensure_spare(module, SPARE)
            return worker

    def _ensure_spare(self, module: str, spare: int) -> None:
        """Starts workers where too few are idle; to be called with the lock."""
        ready = sum(module in worker.modules for worker in self._idle)
        alive = len(self._idle) + len(self._busy)
        wanted = min(spare - ready, self.max_workers - alive) - self._starting
        for _ in range(0 if self._failure else wanted):
            self._starting += 1
            threading.Thread(target=self._start, args=(module,), daemon=True).start()

    def _start(self, module: str) -> None:
        worker, failure = None, ""
        try:
            worker = start_worker(self._memory)
            worker.prepare(module, next(self._ids), START_SECONDS)
        except (OSError, Late, Ended) as problem:
            failure = f"{type(problem).__name__}: {problem}"
            if worker is not None:
                worker.kill()
        with self._changed:
            self._starting -= 1
            self._failure = failure
            if worker is not None and not failure and not self._closed:
                self._idle.append(worker)
                worker = None
            self._changed.notify_all()
        if worker is not None:
            worker.kill()

    def _give_back(self, worker: WorkerProcess, kill: bool) -> None:
        worker.calls += 1
        kill = kill or worker.calls >= MAX_CALLS
        with self._changed:
            self._busy.discard(worker)
            kill = kill or self._closed
            if not kill:
                self._idle.append(worker)
            self._changed.notify_all()
        if kill:
            worker.kill()


def _value(target: str, reply: dict[str, Json]) -> Json:
    if reply["kind"] == "value":
        return reply["value"]
    if reply["kind"] == "abstain":
        raise Unverifiable(reply["reason"])
    raise VerifierFailed(f"{target}: {reply['reason']}")


_pool: Pool | None = None
_lock = threading.Lock()


def pool() -> Pool:
    """The one that `call` uses."""
    global _pool
    with _lock:
        if _pool is None:
            _pool = Pool()
        return _pool


def call(target: str, *args: Json, seconds: float = 1.0) -> Json:
    """See `Pool.call`."""
    return pool().call(target, *args, seconds=seconds)


async def acall(target: str, *args: Json, seconds: float = 1.0) -> Json:
    """See `Pool.acall`."""
    return await pool().acall(target, *args, seconds=seconds)


@atexit.register
def close() -> None:
    """Kills the workers; a later call starts new ones."""
    global _pool
    with _lock:
        closing, _pool = _pool, None
    if closing is not None:
        closing.close()


def _forked() -> None:
    global _pool, _lock
    inherited, _pool, _lock = _pool, None, threading.Lock()
    if inherited is not None:
        inherited.abandon()


_register: Callable[..., None] | None = getattr(os, "register_at_fork", None)
if _register is not None:
    _register(after_in_child=_forked)
