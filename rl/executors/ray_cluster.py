"""Actors in a Ray cluster, on this machine or many.

Ray (https://docs.ray.io) starts processes where it finds room, and carries calls. Restarting is
ours (`rl.executors.keep`), so that nothing is asked twice: actors and calls have no retries of
Ray's own.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from cogvit_jax.settings import ConfigError
from rl.executors.actors import (
    ActorDied,
    Executor,
    call_method,
    close_object,
    make_object,
    portable,
)
from rl.executors.processes import CLOSE_SECONDS, STARTING
from rl.executors.settings import ExecutorSettings, environment

AT_A_TIME = 100_000  # calls that an actor may have running


class Host:
    """What Ray runs: the object, and answers as pairs, so that errors keep their type."""

    async def make(
        self, factory: str, arguments: Mapping[str, Any], path: list[str]
    ) -> tuple[bool, Any]:
        """Calls the factory, which is found where the caller finds it."""
        sys.path += [entry for entry in path if entry not in sys.path]
        try:
            self._target = await make_object(factory, arguments)
        except Exception as error:
            return False, portable(error)
        return True, None

    async def call(self, method: str, args: tuple[Any, ...]) -> tuple[bool, Any]:
        """(whether it went well, what was given or raised)."""
        try:
            return True, await call_method(self._target, method, args)
        except Exception as error:
            return False, portable(error)

    async def ping(self) -> int:
        """A sign of life: the process's number."""
        return os.getpid()

    async def end(self) -> None:
        """Closes the object."""
        await close_object(self._target)


class RayActor:
    """An `Actor` of Ray's. Made by the `start` of `executor`."""

    def __init__(self, ray: Any, name: str, handle: Any, hang_seconds: float) -> None:
        self.pid = 0
        self._ray, self._name, self._handle = ray, name, handle
        self._hang_seconds = hang_seconds
        self._limit = STARTING * hang_seconds
        self._died: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._watching = asyncio.create_task(self._watch())

    async def open(self, factory: str, arguments: Mapping[str, Any]) -> None:
        """Has the object made; raises what its factory raised, or ActorDied."""
        try:
            path = [os.path.abspath(entry) for entry in sys.path]
            self.pid = await self._answer(self._handle.ping.remote())
            await self._pair(self._handle.make.remote(factory, dict(arguments), path))
        except BaseException:
            self.kill()
            raise
        self._limit = self._hang_seconds

    async def call(self, method: str, *args: Any) -> Any:
        """See `Actor`."""
        if self._died.done():
            raise ActorDied(self._died.result())
        return await self._pair(self._handle.call.remote(method, args))

    def alive(self) -> bool:
        """See `Actor`."""
        return not self._died.done()

    def kill(self) -> None:
        """See `Actor`."""
        self._die("was killed")

    async def close(self) -> None:
        """See `Actor`."""
        if not self._died.done():
            with contextlib.suppress(TimeoutError, ActorDied):
                await asyncio.wait_for(self._answer(self._handle.end.remote()), CLOSE_SECONDS)
            self._die("was closed")
        self._watching.cancel()
        await asyncio.wait([self._watching])

    async def _pair(self, reference: Any) -> Any:
        well, value = await self._answer(reference)
        if well:
            return value
        raise value

    async def _answer(self, reference: Any) -> Any:
        """What comes of a call of Ray's, or ActorDied, whatever Ray knows of that."""
        asked = asyncio.wrap_future(reference.future())
        await asyncio.wait([asked, self._died], return_when=asyncio.FIRST_COMPLETED)
        if asked.done() and not asked.cancelled():
            error = asked.exception()
            if error is None:
                return asked.result()
            if not isinstance(error, self._ray.exceptions.RayError):
                raise error
            self._die(f"ended: {error}")
        asked.cancel()
        raise ActorDied(self._died.result())

    async def _watch(self) -> None:
        """Asks for signs of life; kills who gives none; Ray tells of the dead."""
        asked, began = None, time.monotonic()
        while not self._died.done():
            waits, pause = time.monotonic(), min(5.0, self._limit / 4)
            asked = asked or asyncio.ensure_future(self._answer(self._handle.ping.remote()))
            await asyncio.wait([asked, self._died], timeout=pause)
            if time.monotonic() - waits > 2 * pause:
                began = time.monotonic()  # it was we who did not listen
            if asked.done():
                asked.exception()
                asked, began = None, time.monotonic()
                await asyncio.sleep(pause)
            elif time.monotonic() - began > self._limit:
                self._die(f"said nothing for {time.monotonic() - began:.1f} s")
        if asked is not None:
            await asyncio.gather(asked, return_exceptions=True)

    def _die(self, how: str) -> None:
        if not self._died.done():
            self._died.set_result(f"{self._name} (process {self.pid}) {how}")
            self._ray.kill(self._handle, no_restart=True)


def executor(settings: ExecutorSettings) -> Executor:
    """Of a Ray cluster; joins it, or starts one on this machine.

    Raises:
        ConfigError: Ray is not installed, or there is no cluster at the address.
    """
    try:
        import ray  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError:
        raise ConfigError(
            "config.executor.kind = 'ray' needs Ray: pip install 'ray>=2.50', or set it to "
            "'processes' for this machine alone."
        ) from None
    started = not ray.is_initialized()
    if started:
        _join(ray, settings.address)

    async def start(name: str, factory: str, arguments: Mapping[str, Any], number: int) -> RayActor:
        options = {
            "num_cpus": settings.cpus,
            "num_gpus": settings.gpus,
            "max_restarts": 0,
            "max_task_retries": 0,
            "max_concurrency": AT_A_TIME,
        }
        if settings.env:
            options["runtime_env"] = {"env_vars": environment(settings, number)}
        handle = ray.remote(Host).options(**options).remote()
        actor = RayActor(ray, name, handle, settings.hang_seconds)
        await actor.open(factory, arguments)
        return actor

    async def close() -> None:
        if started:
            await asyncio.to_thread(ray.shutdown)

    return Executor(start, close, lambda: ray.util.get_node_ip_address())


def _join(ray: Any, address: str) -> None:
    """Joins the cluster at an address, or starts one of this machine; keeps our SIGTERM handler."""
    ours = signal.getsignal(signal.SIGTERM)
    options = {"log_to_driver": False, "logging_level": logging.WARNING}
    try:
        if address:
            ray.init(address, **options)
        else:
            ray.init("local", include_dashboard=False, **options)
    except (ConnectionError, ValueError) as error:
        raise ConfigError(
            f"config.executor.address = {address!r}: {error} Start a cluster there with "
            "`ray start --head`, or set it to '' for one of this machine."
        ) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, ours)
