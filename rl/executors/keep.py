"""Keeps a number of things alive that may die: engines, judges; with patience, not for ever."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from absl import logging

from cogvit_jax.settings import ConfigError

T = TypeVar("T")
LONGEST = 60.0  # seconds before a restart


class GivenUp(RuntimeError):
    """Too many died in a row, and none of them had answered anything."""


@dataclass(frozen=True)
class Patience:
    """How restarts are made.

    Attributes:
        restarts: deaths in a row, of each on average, that are forgiven while nobody answers.
        backoff_seconds: before the second restart in a row of one; it doubles with each.
    """

    restarts: int = 3
    backoff_seconds: float = 1.0


PATIENCE = Patience()


class Keeper(Generic[T]):
    """`num` things of a kind; dead ones are made again. Belongs to one event loop.

    Attributes:
        ready: number -> the thing, for those that work.
        num_deaths: so far.

    Args:
        kind: what they are, for messages.
        num: how many.
        make: number -> a thing that works.
        end: ends one, whatever state it is in.
        patience: with those that die.
    """

    def __init__(
        self,
        kind: str,
        num: int,
        make: Callable[[int], Awaitable[T]],
        end: Callable[[T], Awaitable[None]],
        patience: Patience = PATIENCE,
    ) -> None:
        self.ready: dict[int, T] = {}
        self.num_deaths = 0
        self._kind, self._num, self._make, self._end = kind, num, make, end
        self._patience = patience
        self._row = [0] * num  # deaths since it answered last
        self._silent = 0  # deaths since any answered
        self._failure: Exception | None = None
        self._changed = asyncio.Event()
        self._closed = False
        self._ending: set[asyncio.Task[Any]] = set()  # of the dead; never cancelled
        self._tasks = {asyncio.create_task(self._start(number)) for number in range(num)}

    async def wait(self) -> None:
        """Returns when at least one works.

        Raises:
            GivenUp: too many died; the reason of the last is in its cause.
            ConfigError: they cannot be made, by a mistake in the config.
        """
        self.check()
        while not self.ready:
            self._changed.clear()
            await self._changed.wait()
            self.check()

    def check(self) -> None:
        """Raises what `wait` raises, where that is known already."""
        if self._failure is not None:
            raise self._failure

    def answered(self, number: int) -> None:
        """This one works: what it has died of before is forgiven."""
        self._row[number] = self._silent = 0

    def died(self, number: int, thing: T, reason: BaseException) -> None:
        """This thing works no more; whoever says so first has it made again."""
        if self.ready.get(number) is thing and not self._closed:
            del self.ready[number]
            ending = asyncio.create_task(self._bury(thing))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
            self._spawn(self._replace(number, ending))
            self._count(number, reason)

    def fail(self, reason: Exception) -> None:
        """Nothing is made any more, and whoever waits is told why."""
        self._failure = self._failure or reason
        self._changed.set()

    async def close(self) -> None:
        """Ends all, also those that are being made."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        things, self.ready = list(self.ready.values()), {}
        await asyncio.gather(*self._ending, *(self._bury(thing) for thing in things))

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _bury(self, thing: T) -> None:
        try:
            await self._end(thing)
        except Exception as problem:
            logging.warning("ending a %s: %r", self._kind, problem)

    async def _replace(self, number: int, ending: asyncio.Task[None]) -> None:
        await asyncio.wait([ending])
        await self._start(number)

    async def _start(self, number: int) -> None:
        while self._failure is None:
            if self._row[number] > 1:
                seconds = self._patience.backoff_seconds * 2 ** (self._row[number] - 2)
                await asyncio.sleep(min(LONGEST, seconds))
            began = time.monotonic()
            try:
                thing = await self._make(number)
            except ConfigError as error:
                self.fail(error)
            except Exception as error:
                if self._failure is None:
                    self._count(number, error)
            else:
                self.ready[number] = thing
                self._changed.set()
                seconds = time.monotonic() - began
                logging.info("%s %d works after %.1f s", self._kind, number, seconds)
                return

    def _count(self, number: int, reason: BaseException) -> None:
        if self._closed:
            return
        self.num_deaths += 1
        self._row[number] += 1
        self._silent += 1
        logging.warning("%s %d died: %s", self._kind, number, reason)
        if self._silent > self._patience.restarts * self._num:
            given_up = GivenUp(
                f"{self._kind}: {self._silent} deaths in a row without an answer; the last one: "
                f"{reason}"
            )
            given_up.__cause__ = reason
            self.fail(given_up)
