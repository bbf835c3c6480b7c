"""A rollout engine in another process: what works there, and the `RolloutEngine` that asks it.

Asks and replies travel as messages; weights do not. They are published to a store
(`rl.weights_store`) that the worker reads by itself, on a thread, while its engine goes on.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from jax.sharding import Sharding

from rl.executors.actors import Actor, ActorDied
from rl.rollout.local import LocalEngine
from rl.rollout.protocol import Ask, EngineDied, Told
from rl.weights_load import Loaded, Subscriber
from rl.weights_store import Store, WeightsGone, folder_store
from rl.weights_tcp import tcp_store

POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Where:
    """Where published weights are read.

    Attributes:
        folder: that all processes see; "" = at the address.
        host, port: of the trainer's store.
    """

    folder: str = ""
    host: str = ""
    port: int = 0


@contextlib.contextmanager
def opened(where: Where) -> Iterator[Store]:
    """The store, to read from."""
    if where.folder:
        yield folder_store(where.folder)
    else:
        with tcp_store(where.host, where.port) as store:
            yield store


def load(subscriber: Subscriber, version: int, sharding: Sharding) -> Loaded:
    """This version, or the newest, where that is gone because there are newer ones."""
    try:
        return subscriber.load(version, sharding, original_dtype=True)
    except WeightsGone:
        newest = subscriber.latest()
        if newest is None or newest <= version:
            raise
        return load(subscriber, newest, sharding)


class EngineWorker:
    """What works in the engine's process; see `rl.executors.actors`.

    Args:
        engine: that draws.
        subscriber: to published weights.
        sharding: where the engine wants them.
        stack: closed at the end.
    """

    def __init__(
        self,
        engine: LocalEngine,
        subscriber: Subscriber,
        sharding: Sharding,
        stack: contextlib.ExitStack,
    ) -> None:
        self._engine, self._subscriber, self._sharding = engine, subscriber, sharding
        self._stack = stack

    async def generate(self, ask: Ask) -> Told:
        """See `RolloutEngine`."""
        return await self._engine.generate(ask)

    def abort(self, samples: Sequence[str]) -> None:
        """See `RolloutEngine`."""
        self._engine.abort(samples)

    async def publish(self, version: int) -> int:
        """Takes this version, or a newer one, from the store, and tells which."""
        loaded = await asyncio.to_thread(load, self._subscriber, version, self._sharding)
        if loaded.version > self._engine.version:
            await self._engine.publish(loaded.version, loaded.params)
        return self._engine.version

    def stats(self) -> tuple[int, dict[str, float]]:
        """(version, figures)."""
        return self._engine.version, self._engine.stats()

    async def close(self) -> None:
        """Ends the engine and its connections."""
        await self._engine.close()
        self._subscriber.close()
        self._stack.close()


class RemoteEngine:
    """A `RolloutEngine` whose work an `EngineWorker` does. Made by `remote_engine`.

    Args:
        actor: of the worker.
        version: that it has.
        stall_seconds: with requests in progress but nothing drawn, before it is killed; 0 = never.
    """

    def __init__(self, actor: Actor, version: int, stall_seconds: float = 0.0) -> None:
        self.actor, self._version, self._stall_seconds = actor, version, stall_seconds
        self._stats: dict[str, float] = {}
        self._aborts: set[asyncio.Task[Any]] = set()
        self._polling = asyncio.create_task(self._poll())

    @property
    def version(self) -> int:
        """See `RolloutEngine`."""
        return self._version

    async def generate(self, ask: Ask) -> Told:
        """See `RolloutEngine`."""
        return await self._call("generate", ask)

    def abort(self, samples: Any) -> None:
        """See `RolloutEngine`."""
        task = asyncio.create_task(self._abort(list(samples)))
        self._aborts.add(task)
        task.add_done_callback(self._aborts.discard)

    async def publish(self, version: int, params: Future[Any]) -> None:
        """See `RolloutEngine`.

        Args:
            version: to take, or a newer one.
            params: of `rl.weights.Publisher.publish`; done when they can be read.
        """
        await asyncio.shield(asyncio.wrap_future(params))
        self._version = await self._call("publish", version)

    def stats(self) -> dict[str, float]:
        """See `RolloutEngine`; about a second old."""
        return self._stats

    async def ended(self) -> None:
        """Returns when the actor has died, about a second later, or was closed."""
        await asyncio.wait([self._polling])

    async def close(self) -> None:
        """See `RolloutEngine`."""
        self._polling.cancel()
        await asyncio.gather(self._polling, *self._aborts, return_exceptions=True)
        await self.actor.close()

    async def _call(self, method: str, *args: Any) -> Any:
        try:
            return await self.actor.call(method, *args)
        except ActorDied as problem:
            raise EngineDied(str(problem)) from problem

    async def _abort(self, samples: list[str]) -> None:
        with contextlib.suppress(ActorDied):  # those who wait for a reply learn of it
            await self.actor.call("abort", samples)

    async def _poll(self) -> None:
        """Fetches figures; kills a worker whose device does not come back."""
        chunks, since, was_busy = -1.0, time.monotonic(), False
        with contextlib.suppress(ActorDied):
            while True:
                self._version, self._stats = await self.actor.call("stats")
                busy = self._stats["running"] + self._stats["waiting"] > 0
                # A request that came after the last look has been there for no time at all.
                if not (busy and was_busy) or self._stats["chunks"] != chunks:
                    chunks, since = self._stats["chunks"], time.monotonic()
                elif 0 < self._stall_seconds < time.monotonic() - since:
                    logging.warning("an engine drew nothing for %.1f s", time.monotonic() - since)
                    self.actor.kill()
                was_busy = busy
                await asyncio.sleep(POLL_SECONDS)
