"""Blocking work beside the event loop: so many at a time, each in a thread that may be left behind.

A verifier that hangs in a thread cannot be stopped. Its verdict is then an error, its place is
given to the next one, and the thread, a daemon, does not keep the program from ending. What is
known to hang belongs into a process that can be killed (`rl.rewards.isolate`).
"""

import asyncio
import threading
import weakref
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeAlias, TypeVar

from rl.types import VerifierFailed

P = ParamSpec("P")
T = TypeVar("T")
Jobs: TypeAlias = SimpleQueue[Any]


class Threads:
    """Runs functions beside the loop.

    Attributes:
        stuck: threads that were left behind and have not come back.
    """

    def __init__(self, limit: int, seconds: float, most_stuck: int = 64) -> None:
        """See `rl.rewards.reward_settings.RewardSettings`."""
        self.stuck = 0
        self._seconds = seconds
        self._most_stuck = most_stuck
        self._places = asyncio.Semaphore(limit)
        self._idle: list[Jobs] = []
        weakref.finalize(self, _end, self._idle)

    def take_back(self, jobs: Jobs) -> None:
        """A thread has done its job."""
        self._idle.append(jobs)

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the function returns or raises.

        Raises:
            VerifierFailed: it took too long, or too many others never came back.
        """
        async with self._places:
            if self.stuck >= self._most_stuck:
                raise VerifierFailed(f"{self.stuck} verifiers hang")
            loop = asyncio.get_running_loop()
            future: asyncio.Future[T] = loop.create_future()
            jobs = self._idle.pop() if self._idle else _start()
            jobs.put((self, jobs, loop, future, partial(function, *args, **kwargs)))
            try:
                done, _ = await asyncio.wait([future], timeout=self._seconds)
                if not done:
                    raise VerifierFailed(f"no verdict within {self._seconds} s")
                return future.result()
            finally:
                if not future.done():
                    self.stuck += 1
                    future.cancel()


def _start() -> Jobs:
    """A new thread, and where it takes its jobs from; starting one for each would cost more."""
    jobs: Jobs = SimpleQueue()
    threading.Thread(target=_work, args=(jobs,), daemon=True).start()
    return jobs


def _work(jobs: Jobs) -> None:
    while (job := jobs.get()) is not None:
        _run(*job)
        del job


def _end(idle: list[Jobs]) -> None:
    for jobs in idle:
        jobs.put(None)


def _run(threads: Threads, jobs: Jobs, loop: Any, future: Any, work: Callable[[], Any]) -> None:
    try:
        result, problem = work(), None
    except Exception as error:
        result, problem = None, error
    except BaseException as error:  # what must not end the loop
        result, problem = None, VerifierFailed(repr(error))

    def tell() -> None:
        threads.take_back(jobs)
        if future.cancelled():
            threads.stuck -= 1
        elif problem is None:
            future.set_result(result)
        else:
            future.set_exception(problem)

    try:
        loop.call_soon_threadsafe(tell)
    except RuntimeError:  # the loop has ended
        jobs.put(None)
