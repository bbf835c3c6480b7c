"""What an endpoint is asked to bear: units a minute, pauses that it asks for, and a fuse.

Time comes from a `Clock`, so that tests need not wait.
"""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")


class Clock(NamedTuple):
    """Seconds now, and how to wait for some."""

    now: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]


REAL = Clock(time.monotonic, asyncio.sleep)


class Bucket:
    """So many units a minute, in the order in which they are asked for.

    In any stretch of t seconds at most t/60 · per_minute + burst units are handed out, and whatever
    a single one takes beyond `burst` is paid back by waiting afterwards.
    """

    def __init__(self, per_minute: float, burst: float, clock: Clock = REAL) -> None:
        """0 a minute = no limit. `burst`: units that may be taken at once."""
        self._rate = per_minute / 60
        self._most = burst
        self._level = burst
        self._clock = clock
        self._then = clock.now()
        self._turn = asyncio.Lock()

    async def take(self, units: float) -> None:
        """Returns when there are that many, or a full bucket for one that needs more."""
        if not self._rate:
            return
        async with self._turn:
            while (short := min(units, self._most) - self._filled()) > 1e-9:
                await self._clock.sleep(short / self._rate)
            self._level -= units

    def correct(self, units: float) -> None:
        """Puts back what was taken and not needed; less than 0 takes more."""
        self._level = min(self._most, self._filled() + units)

    def _filled(self) -> float:
        now = self._clock.now()
        self._level = min(self._most, self._level + (now - self._then) * self._rate)
        self._then = now
        return self._level


class Breaker:
    """Closed: all may pass. Open, after failures in a row: none. Half-open, later: one, on trial.

    Attributes:
        state: "closed", "open" or "half-open".
    """

    def __init__(self, failures: int, seconds: float, clock: Clock = REAL) -> None:
        """Opens after so many failures in a row, for so many seconds."""
        self.state = "closed"
        self._most, self._seconds, self._clock = failures, seconds, clock
        self._failures = 0
        self._tripped = self._opened = 0.0
        self._tried = asyncio.Event()  # the trial has ended

    def is_down(self, seconds: float) -> bool:
        """Whether it has not been closed for so long, and no trial is due."""
        if self.state == "closed":
            return False
        now = self._clock.now()
        due = self.state == "open" and now >= self._opened + self._seconds
        return not due and now - self._tripped > seconds

    async def admit(self) -> bool:
        """Waits until one may pass; True = on trial. `end` is to be called afterwards."""
        while self.state != "closed":
            left = self._opened + self._seconds - self._clock.now()
            if self.state == "half-open":
                await self._tried.wait()
            elif left > 0:
                await self._clock.sleep(left)
            else:
                self.state = "half-open"
                self._tried.clear()
                return True
        return False

    def end(self, trial: bool, healthy: bool | None) -> None:
        """How it went; None = it was given up and says nothing."""
        if healthy:
            self.state, self._failures = "closed", 0
        elif healthy is False:
            self._failures += 1
        tripped = self.state == "closed" and self._failures >= self._most
        if tripped or (trial and not healthy):
            self.state = "open"
            self._tripped = self._clock.now() if tripped else self._tripped
            # A trial that was given up leaves the next one free at once.
            self._opened = self._clock.now() - (self._seconds if healthy is None else 0)
        if trial or healthy:
            self._tried.set()


def jitter(key: bytes, attempt: int, base: float, most: float) -> float:
    """Seconds before a further attempt: full jitter, the same for the same request.

    Uniform in 0 … min(most, base · 2^(attempt − 1)); attempt 1 is the first repetition.
    """
    digest = hashlib.blake2b(key + attempt.to_bytes(4, "big"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64 * min(most, base * 2 ** (attempt - 1))


async def within(seconds: float, work: Coroutine[Any, Any, T], grace: float = 1.0) -> T:
    """What the work returns, if it does in time.

    Unlike `asyncio.timeout`, it comes back also where the work does not heed its cancellation: that
    has `grace` seconds to end, and is left behind then.

    Raises:
        TimeoutError: it did not.
    """
    task = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait([task], timeout=seconds)
        if not done:
            raise TimeoutError
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            task.add_done_callback(lambda t: t.cancelled() or t.exception())
            await asyncio.wait([task], timeout=grace)
