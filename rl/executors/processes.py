"""Actors in processes of this machine, each with a socket to the one that started it.

Processes start afresh: no memory, thread, device or open file of ours comes with them. That one has
died shows at once, as its socket closes; that one hangs, by its silence: it is asked for a sign of
life every few seconds, which its event loop answers.
"""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from rl.executors import frames
from rl.executors.actors import ActorDied, Executor
from rl.executors.settings import ExecutorSettings, environment

TAIL_BYTES = 4000  # of what a process printed last, for the message of its death
CLOSE_SECONDS = 30.0
STARTING = 10  # times as long silence is allowed while an actor is made: imports say nothing


class ProcessActor:
    """An `Actor` in a process. Made by `start`."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], hang_seconds: float) -> None:
        self.pid = process.pid
        self._name, self._process, self._hang_seconds = name, process, hang_seconds
        self._limit = STARTING * hang_seconds
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._count, self._heard = 0, time.monotonic()
        self._death, self._tail, self._closing = "", b"", False
        self._tasks: list[asyncio.Task[None]] = []
        self._writer: asyncio.StreamWriter | None = None
        self._pipe: asyncio.ReadTransport | None = None

    async def open(self, connection: socket.socket, factory: str, arguments: Any) -> None:
        """Has the object made; raises what its factory raised, or ActorDied."""
        try:
            await self._open(connection, factory, arguments)
        except BaseException:
            self.kill()
            if self._writer is None:
                connection.close()
            await self._finish()
            raise
        self._limit = self._hang_seconds

    async def _open(self, connection: socket.socket, factory: str, arguments: Any) -> None:
        errors = asyncio.StreamReader()
        self._pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(errors), self._process.stderr
        )
        self._printed = asyncio.create_task(self._keep(errors))
        self._tasks = [self._printed]
        reader, self._writer = await asyncio.open_connection(sock=connection)
        ready = self._calls[0] = asyncio.get_running_loop().create_future()
        self._listening = asyncio.create_task(self._listen(reader))
        self._tasks += [self._listening, asyncio.create_task(self._watch())]
        await self._send((factory, dict(arguments)))
        await ready

    async def call(self, method: str, *args: Any) -> Any:
        """See `Actor`."""
        if self._death:
            raise ActorDied(self._death)
        self._count += 1
        number = self._count
        future = self._calls[number] = asyncio.get_running_loop().create_future()
        try:
            await self._send(("call", number, method, args))
            return await future
        except asyncio.CancelledError:
            self._hint("cancel", number)
            raise
        finally:
            self._calls.pop(number, None)

    def alive(self) -> bool:
        """See `Actor`."""
        return not self._death and self._process.poll() is None

    def kill(self) -> None:
        """See `Actor`."""
        self._die("was killed")

    async def close(self) -> None:
        """See `Actor`."""
        if not self._death:
            self._closing = True
            await self._send(("close", 0))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._listening), CLOSE_SECONDS)
            self._die("was closed")
        await self._finish()

    async def _send(self, message: Any) -> None:
        """Writes a message; where the other side has ended, whoever listens tells of it."""
        assert self._writer is not None
        with contextlib.suppress(ConnectionError):
            await frames.write(self._writer, message)

    def _hint(self, kind: str, number: int) -> None:
        """Writes what is short and does no harm if it is lost."""
        if self._writer is not None and not self._death:
            self._writer.write(b"".join(frames.encode((kind, number))))

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                kind, number, result = await frames.read(reader)
                self._heard = time.monotonic()
                future = self._calls.get(number)
                if kind == "pong" or future is None or future.done():
                    continue
                if kind == "value":
                    future.set_result(result)
                else:
                    future.set_exception(result)
        except Exception as error:
            if isinstance(error, EOFError):
                with contextlib.suppress(TimeoutError):  # what it printed last is in the pipe
                    await asyncio.wait_for(asyncio.shield(self._printed), 1.0)
                code = await asyncio.to_thread(self._wait, 1.0)
                self._die("was closed" if self._closing else f"ended with status {code}")
            else:
                self._die(f"said what cannot be read: {error!r}")

    async def _watch(self) -> None:
        """Asks for signs of life; kills who gives none."""
        while not self._death:
            began, pause = time.monotonic(), min(5.0, self._limit / 4)
            await asyncio.sleep(pause)
            if time.monotonic() - began > 2 * pause:
                self._heard = time.monotonic()  # it was we who did not listen
            silent = time.monotonic() - self._heard
            if silent > self._limit:
                self._die(f"said nothing for {silent:.1f} s")
            else:
                self._hint("ping", 0)

    async def _keep(self, errors: asyncio.StreamReader) -> None:
        while some := await errors.read(1 << 16):
            self._tail = (self._tail + some)[-TAIL_BYTES:]

    def _die(self, how: str) -> None:
        """From now on it is dead, and everybody who waits for it knows."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL) if self._process.returncode is None else None
        if self._death:
            return
        printed = self._tail.decode(errors="replace").strip()
        self._death = f"{self._name} (process {self.pid}) {how}"
        self._death += f"; it printed last:\n{printed}" if printed else ""
        if self._writer is not None:
            self._writer.close()
        for future in self._calls.values():
            if not future.done():
                future.set_exception(ActorDied(self._death))

    async def _finish(self) -> None:
        """Leaves no task, pipe or process behind."""
        await asyncio.to_thread(self._wait, CLOSE_SECONDS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._pipe is not None:
            self._pipe.close()
        elif self._process.stderr is not None:
            self._process.stderr.close()
        if self._writer is not None:
            with contextlib.suppress(ConnectionError):
                await self._writer.wait_closed()

    def _wait(self, seconds: float) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(seconds)
        return None


async def start(
    settings: ExecutorSettings, name: str, factory: str, arguments: Mapping[str, Any], number: int
) -> ProcessActor:
    """See `Executor`; the process finds the modules that we find."""
    ours, theirs = socket.socketpair()
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "rl.executors.process_worker", str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=(theirs.fileno(),),
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": path, **environment(settings, number)},
        )
    actor = ProcessActor(name, process, settings.hang_seconds)
    await actor.open(ours, factory, arguments)
    return actor


async def _nothing() -> None:
    pass


def executor(settings: ExecutorSettings) -> Executor:
    """Of processes on this machine."""
    return Executor(partial(start, settings), _nothing, lambda: "127.0.0.1")
