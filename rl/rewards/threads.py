"""Blocking work beside the event loop: so many at a time, each in a thread that may be left behind.

A verifier that hangs in a thread cannot be stopped. Its verdict is then an error, its place is
given to the next one, and the thread, a daemon, does not keep the program from ending. What is
known to hang belongs into a process that can be killed (`rl.rewards.isolate`).
"""

import asyncio
import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from rl.types import VerifierFailed

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """Runs functions beside the loop.

    Attributes:
        stuck: threads that were left behind and have not come back.
    """

    def __init__(self, limit: int, seconds: float, most_stuck: int = 64) -> None:
        """See `rl.rewards.system.RewardSettings`."""
        self.stuck = 0
        self._seconds = seconds
        self._most_stuck = most_stuck
        self._places = asyncio.Semaphore(limit)

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the function returns or raises.

        Raises:
            VerifierFailed: it took too long, or too many others never came back.
        """
        async with self._places:
            if self.stuck >= self._most_stuck:
                raise VerifierFailed(f"{self.stuck} verifiers hang")
            future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
            job = threading.Thread(
                target=_run, args=(self, future, function, args, kwargs), daemon=True
            )
            job.start()
            try:
                done, _ = await asyncio.wait([future], timeout=self._seconds)
                if not done:
                    raise VerifierFailed(f"no verdict within {self._seconds} s")
                return future.result()
            finally:
                if not future.done():
                    self.stuck += 1
                    future.cancel()


def _run(threads: Threads, future: Any, function: Any, args: Any, kwargs: Any) -> None:
    try:
        result, problem = function(*args, **kwargs), None
    except Exception as error:
        result, problem = None, error
    except BaseException as error:  # what must not end the loop
        result, problem = None, VerifierFailed(repr(error))

    def tell() -> None:
        if future.cancelled():
            threads.stuck -= 1
        elif problem is None:
            future.set_result(result)
        else:
            future.set_exception(problem)

    try:
        future.get_loop().call_soon_threadsafe(tell)
    except RuntimeError:  # the loop has ended
        return
