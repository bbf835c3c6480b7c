"""Actors of this process: the object itself, with the interface of those that are far away."""

import asyncio
from collections.abc import Mapping
from typing import Any

from rl.executors.actors import ActorDied, Executor, call_method, close_object, make_object
from rl.executors.settings import ExecutorSettings


class InProcessActor:
    """An `Actor` on the caller's event loop; arguments and results are shared, not copied."""

    def __init__(self, name: str, target: Any) -> None:
        self._name, self._target = name, target
        self._ended = ""
        self._calls: set[asyncio.Task[Any]] = set()

    async def call(self, method: str, *args: Any) -> Any:
        """See `Actor`."""
        if self._ended:
            raise ActorDied(f"{self._name} {self._ended}")
        task = asyncio.ensure_future(call_method(self._target, method, args))
        self._calls.add(task)
        try:
            return await task
        except asyncio.CancelledError:
            if self._ended:
                raise ActorDied(f"{self._name} {self._ended}") from None
            task.cancel()
            raise
        finally:
            self._calls.discard(task)

    def alive(self) -> bool:
        """See `Actor`."""
        return not self._ended

    def kill(self) -> None:
        """See `Actor`."""
        self._end("was killed")

    async def close(self) -> None:
        """See `Actor`."""
        if not self._ended:
            await close_object(self._target)
            self._end("was closed")

    def _end(self, how: str) -> None:
        self._ended = self._ended or how
        for task in self._calls:
            task.cancel()


async def start(
    name: str, factory: str, arguments: Mapping[str, Any], number: int
) -> InProcessActor:
    """See `Executor`."""
    return InProcessActor(name, await make_object(factory, arguments))


async def _nothing() -> None:
    pass


def executor(settings: ExecutorSettings) -> Executor:
    """Of this process."""
    return Executor(start, _nothing, lambda: "127.0.0.1")
