"""A rollout engine of this process: `mmtp.generate.Engine` on a thread of its own.

The thread decodes a few steps at a time. Between two such chunks it takes what the event loop has
handed over (new asks, aborts, new parameters), and tells of every ask that ended the moment its
chunk did; the event loop never waits for the device.
"""

import asyncio
import queue
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from cogvit_jax.settings import ConfigError
from mmtp.generate import Completion, Engine, Request, RequestError
from rl.rollout.protocol import Ask, EngineDied, Told, refused
from rl.rollout.requests import as_request, as_told

RUNNING = ("continue", "recompute", "finish")


@dataclass(frozen=True)
class LocalSettings:
    """How the thread works.

    Attributes:
        steps: decoding steps of a chunk: how long an ask that ended, an abort or new parameters
            wait at most. Few cost time between the chunks.
        running: what becomes of replies in progress when parameters are published: "continue" with
            the new ones on the old keys, "recompute" their keys first, or "finish" with the old
            ones (`mmtp.generate.Engine.set_params`).
    """

    steps: int = 8
    running: str = "continue"


def check(settings: LocalSettings, path: str = "rollout") -> None:
    """Raises ConfigError for settings without sense."""
    if settings.steps < 1:
        raise ConfigError(f"{path}.steps = {settings.steps} must be at least 1.")
    if settings.running not in RUNNING:
        raise ConfigError(
            f"{path}.running = {settings.running!r} must be one of {', '.join(RUNNING)}."
        )


@dataclass(eq=False)
class _Asked:
    """An ask in the thread's hands, and where its answer goes."""

    ask: Ask
    request: Request
    future: asyncio.Future[Told]


Job = Callable[[], None]

GATHER = 0.004  # seconds within which an ask follows another that it comes with


class LocalEngine:
    """A `RolloutEngine`; make and use it on one event loop.

    Example:
        engine = LocalEngine(Engine(model, params, EngineSettings(rows=64)))
        told = await engine.generate(ask)
        await engine.close()

    Args:
        engine: nobody else may use it from now on.
        settings: of the thread.
        take: called on the thread with what `publish` was given; gives parameters on the device.
    """

    def __init__(
        self,
        engine: Engine,
        settings: LocalSettings = LocalSettings(),
        take: Callable[[Any], Any] = lambda params: params,
    ) -> None:
        check(settings)
        self._engine, self._settings, self._take = engine, settings, take
        self._loop = asyncio.get_running_loop()
        self._failure: Exception | None = None
        self._asked: dict[int, _Asked] = {}  # by id of the request; the event loop's alone
        self._swaps: set[asyncio.Future[None]] = set()
        self._jobs: queue.Queue[Job | None] = queue.Queue()
        self._num_tokens = self._num_told = self._num_chunks = 0
        self._thread = threading.Thread(target=self._run, name="rollout", daemon=True)
        self._thread.start()

    @property
    def version(self) -> int:
        """Of the parameters that new asks begin with."""
        return self._engine.version

    async def generate(self, ask: Ask) -> Told:
        """See `RolloutEngine`; asks wait in their order, so that awaiting is the backpressure."""
        self._check_alive()
        request = as_request(ask, self._engine.settings.top_logprobs)
        try:
            self._engine.check(request)
        except RequestError as error:
            return refused(ask, str(error))
        asked = _Asked(ask, request, self._loop.create_future())
        self._asked[id(request)] = asked
        self._jobs.put(lambda: self._engine.add(request))
        try:
            return await asked.future
        finally:
            # An awaiting task that was cancelled leaves its request behind.
            if self._asked.pop(id(request), None) and asked.future.cancelled():
                self._jobs.put(lambda: self._abort(request))

    def abort(self, samples: Iterable[str]) -> None:
        """See `RolloutEngine`; takes effect before the next chunk of steps."""
        names = set(samples)
        for asked in self._asked.values():
            if asked.ask.sample in names:
                self._jobs.put(lambda request=asked.request: self._abort(request))

    async def publish(self, version: int, params: Any) -> None:
        """See `RolloutEngine`.

        Args:
            version: larger than the present one.
            params: as `take` wants them.

        Raises:
            Exception: what `take` raised, or ValueError of `Engine.set_params`; the engine then
                goes on with the parameters that it has.
        """
        self._check_alive()
        done: asyncio.Future[None] = self._loop.create_future()
        self._swaps.add(done)
        self._jobs.put(lambda: self._swap(version, params, done))
        try:
            await done
        finally:
            self._swaps.discard(done)

    def stats(self) -> dict[str, float]:
        """Figures for the log.

        "rows", "running", "waiting": requests the engine has room for, works on and keeps waiting.
        "prefills", "shared": prompts read, and requests that began from one read for another.
        "told", "tokens": asks answered, and tokens drawn for them.
        "chunks": of steps that were decoded: a sign of life.
        """
        engine = self._engine
        return {
            "rows": float(engine.settings.rows),
            "running": float(engine.num_running),
            "waiting": float(max(len(self._asked) - engine.num_running, 0)),
            "prefills": float(engine.num_prefills),
            "shared": float(engine.num_shared),
            "told": float(self._num_told),
            "tokens": float(self._num_tokens),
            "chunks": float(self._num_chunks),
        }

    async def close(self) -> None:
        """Ends the thread after its chunk; what is still asked raises EngineDied."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)
        self._die(EngineDied("the engine was closed."))

    def _check_alive(self) -> None:
        if self._failure is not None:
            raise EngineDied(str(self._failure)) from self._failure

    def _die(self, error: Exception) -> None:
        """On the event loop: nothing more will be told."""
        self._failure = self._failure or error
        for asked in list(self._asked.values()):
            _fail(asked.future, EngineDied(str(error)))
        for done in list(self._swaps):
            _fail(done, EngineDied(str(error)))

    def _tell(self, request: Request, completion: Completion) -> None:
        """On the event loop: one ask has ended."""
        asked = self._asked.get(id(request))
        if asked is not None:
            told = as_told(asked.ask, completion)
            self._num_told += 1
            self._num_tokens += len(completion.tokens) - request.num_done
            _resolve(asked.future, told)

    def _call(self, function: Callable[..., None], *args: Any) -> None:
        """On the thread: has the event loop call a function, unless it is closed."""
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            if not self._loop.is_closed():
                raise

    def _run(self) -> None:
        try:
            while self._take_jobs():
                for request, completion in self._engine.advance(
                    self._settings.steps, partial=False
                ):
                    self._call(self._tell, request, completion)
                self._num_chunks += 1
        except Exception as error:
            # The state was given away to the step that failed: nothing can go on from it.
            self._call(self._die, error)

    def _take_jobs(self) -> bool:
        """Does what has come in, waiting for it only where nothing is in progress.

        Then what comes in together begins together: a chunk of steps for the first ask alone would
        keep all others waiting for it.
        """
        wait = 0.0 if self._engine.busy else GATHER
        while True:
            try:
                job = self._jobs.get(timeout=wait if self._engine.busy else None)
            except queue.Empty:
                return True
            if job is None:
                return False
            job()

    def _abort(self, request: Request) -> None:
        completion = self._engine.cancel(request)
        if completion is not None:
            self._call(self._tell, request, completion)

    def _swap(self, version: int, params: Any, done: asyncio.Future[None]) -> None:
        try:
            taken = self._take(params)
        except Exception as error:
            return self._call(_fail, done, error)
        try:
            self._engine.set_params(taken, version, self._settings.running)
        except ValueError as error:
            return self._call(_fail, done, error)
        self._call(_resolve, done, None)


def _resolve(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
