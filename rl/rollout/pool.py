"""Several rollout engines as one `RolloutEngine`, which outlives each of them.

An ask goes to the engine that has read its group's prompt, unless that one is much busier than
another. Where an engine dies, exactly its own asks raise EngineDied; it is made again with the
newest weights meanwhile, and the others go on. Asks are never repeated here: whoever asked knows
what is lost, and asks again (`rl.rollout.schedule`), so nothing is told twice.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from rl.executors.keep import PATIENCE, Keeper, Patience
from rl.rollout.protocol import Ask, EngineDied, RolloutEngine, Told, aborted
from rl.rollout.worker import RemoteEngine

GROUPS = 65536  # whose engines are remembered


class EnginePool:
    """A `RolloutEngine` over others; make and use it on one event loop.

    Example:
        pool = EnginePool(4, start_engine, version=0, params=params)
        told = await pool.generate(ask)

    Args:
        num: of engines.
        make: (number, version, params) -> an engine that draws with these.
        version, params: newest weights, as `RolloutEngine.publish` takes them.
        patience: with engines that die without a reply.
        arrived: called with what `publish` is given, before engines are; what it raises is nobody's
            death, but the run's failure.
        slack: asks that the engine of a group may have more than the one with the fewest.
    """

    def __init__(
        self,
        num: int,
        make: Callable[[int, int, Any], Awaitable[RolloutEngine]],
        version: int,
        params: Any,
        patience: Patience = PATIENCE,
        arrived: Callable[[Any], Awaitable[Any]] | None = None,
        slack: int = 8,
    ) -> None:
        self._make, self._arrived, self._slack = make, arrived, slack
        self._newest = version, params
        self._asked: list[dict[int, str]] = [{} for _ in range(num)]  # per engine: ask -> sample
        self._waiting: dict[int, tuple[str, asyncio.Event]] = {}  # for any engine to work
        self._groups: OrderedDict[str, int] = OrderedDict()
        self._count = 0
        self._closed = False
        self._watches: set[asyncio.Task[None]] = set()
        self._keeper: Keeper[RolloutEngine] = Keeper(
            "rollout engine", num, self._begin, _close, patience
        )

    @property
    def version(self) -> int:
        """See `RolloutEngine`."""
        return self._newest[0]

    async def generate(self, ask: Ask) -> Told:
        """See `RolloutEngine`.

        Raises:
            EngineDied: the engine that had this ask.
            GivenUp: too many engines died in a row.
            ConfigError: engines cannot be made, by a mistake in the config.
        """
        self._count += 1
        key = self._count
        if not await self._any_works(key, ask.sample):
            return aborted(ask)
        number = self._choose(ask.group)
        engine = self._keeper.ready[number]
        self._asked[number][key] = ask.sample
        try:
            told = await engine.generate(ask)
        except EngineDied as problem:
            self._keeper.died(number, engine, problem)
            raise EngineDied(f"rollout engine {number}: {problem}") from problem
        finally:
            del self._asked[number][key]
        self._keeper.answered(number)
        return told

    def abort(self, samples: Iterable[str]) -> None:
        """See `RolloutEngine`."""
        names = set(samples)
        for number, engine in self._keeper.ready.items():
            if mine := names.intersection(self._asked[number].values()):
                engine.abort(mine)
        for name, stop in self._waiting.values():
            if name in names:
                stop.set()

    async def publish(self, version: int, params: Any) -> None:
        """See `RolloutEngine`; an engine that fails to take them is made again with them."""
        if self._arrived is not None:
            await self._arrived(params)
        self._newest = version, params
        self._keeper.check()
        await asyncio.gather(
            *(self._hand_over(number, engine) for number, engine in self._keeper.ready.items())
        )

    def stats(self) -> dict[str, float]:
        """Sums over the engines that work, how many do ("engines"), and "deaths" so far."""
        sums: dict[str, float] = {}
        for engine in self._keeper.ready.values():
            for name, value in engine.stats().items():
                sums[name] = sums.get(name, 0.0) + value
        sums["waiting"] = sums.get("waiting", 0.0) + len(self._waiting)
        alive, deaths = len(self._keeper.ready), self._keeper.num_deaths
        return sums | {"engines": float(alive), "deaths": float(deaths)}

    async def close(self) -> None:
        """See `RolloutEngine`."""
        self._closed = True
        for watch in self._watches:
            watch.cancel()
        for _, stop in self._waiting.values():
            stop.set()
        await self._keeper.close()

    async def _any_works(self, key: int, sample: str) -> bool:
        """Waits for an engine that works; False: aborted meanwhile."""
        if self._closed:
            raise EngineDied("the engines were closed.")
        if self._keeper.ready:
            self._keeper.check()
            return True
        stop = asyncio.Event()
        self._waiting[key] = sample, stop
        waits = [asyncio.ensure_future(w) for w in (self._keeper.wait(), stop.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if not stop.is_set():
                await waits[0]
        finally:
            for wait in waits:
                wait.cancel()
            try:
                await asyncio.gather(*waits, return_exceptions=True)
            finally:
                del self._waiting[key]
        if self._closed:
            raise EngineDied("the engines were closed.")
        if stop.is_set():
            return False
        return bool(self._keeper.ready) or await self._any_works(key, sample)

    def _choose(self, group: str) -> int:
        """The engine of a group, or the least busy one, which is the group's from now on."""
        loads = {number: len(self._asked[number]) for number in self._keeper.ready}
        least = min(loads, key=lambda number: (loads[number], number))
        known = self._groups.get(group)
        if known in loads and loads[known] <= loads[least] + self._slack:
            least = known
        self._groups[group] = least
        self._groups.move_to_end(group)
        if len(self._groups) > GROUPS:
            self._groups.popitem(last=False)
        return least

    async def _begin(self, number: int) -> RolloutEngine:
        """An engine with the newest weights, also where there were newer ones meanwhile."""
        if self._arrived is not None:
            try:
                await self._arrived(self._newest[1])
            except Exception as problem:
                self._keeper.fail(problem)
                raise
        engine = await self._make(number, *self._newest)
        try:
            while engine.version < self._newest[0]:
                await engine.publish(*self._newest)
        except BaseException:
            await asyncio.gather(engine.close(), return_exceptions=True)
            raise
        if isinstance(engine, RemoteEngine):
            watch = asyncio.create_task(self._watch(number, engine))
            self._watches.add(watch)
            watch.add_done_callback(self._watches.discard)
        return engine

    async def _watch(self, number: int, engine: RemoteEngine) -> None:
        """Has an engine that dies with nothing to do made again before it is asked."""
        await engine.ended()
        self._keeper.died(number, engine, EngineDied("it ended."))

    async def _hand_over(self, number: int, engine: RolloutEngine) -> None:
        version, params = self._newest
        try:
            if engine.version < version:
                await engine.publish(version, params)
        except Exception as problem:
            self._keeper.died(number, engine, problem)


async def _close(engine: RolloutEngine) -> None:
    await engine.close()
