"""The process of an actor: `python -m rl.executors.process_worker FD`, a socket to who started it.

The first message names a factory; then come calls, which run side by side on one event loop. The
process ends with its socket, also amid whatever it does: it never outlives who started it.
"""

import asyncio
import os
import select
import socket
import sys
import threading
from typing import Any

from rl.executors import frames
from rl.executors.actors import call_method, close_object, make_object, portable


async def serve(connection: socket.socket) -> None:
    """Makes the object and serves calls until told to close."""
    reader, writer = await asyncio.open_connection(sock=connection)
    factory, arguments = await frames.read(reader)
    try:
        target = await make_object(factory, arguments)
    except Exception as error:
        await frames.write(writer, ("error", 0, portable(error)))
        return
    await frames.write(writer, ("value", 0, None))
    running: dict[int, asyncio.Task[None]] = {}
    while True:
        kind, number, *rest = await frames.read(reader)
        if kind == "call":
            task = asyncio.create_task(answer(writer, target, number, *rest))
            running[number] = task
            task.add_done_callback(lambda _, number=number: running.pop(number, None))
        elif kind == "ping":
            await frames.write(writer, ("pong", number, None))
        elif kind == "cancel" and number in running:
            running[number].cancel()
        elif kind == "close":
            await close_object(target)
            return


async def answer(
    writer: asyncio.StreamWriter, target: Any, number: int, method: str, args: tuple[Any, ...]
) -> None:
    """Calls a method and tells what it gave."""
    try:
        message = ("value", number, await call_method(target, method, args))
        parts = frames.encode(message)
    except Exception as error:
        parts = frames.encode(("error", number, portable(error)))
    writer.writelines(parts)
    await writer.drain()


def die_with_parent(fd: int) -> None:
    """Waits until the other end is closed, and ends the process, whatever it is doing."""
    poll = select.poll()
    poll.register(fd, 0)  # only the hang-up, which is always reported
    poll.poll()
    os._exit(1)


def main(fd: int) -> None:
    """Serves one actor on an inherited socket."""
    os.dup2(2, 1)  # what is printed is kept with the errors
    connection = socket.socket(fileno=fd)
    threading.Thread(target=die_with_parent, args=(os.dup(fd),), daemon=True).start()
    asyncio.run(serve(connection))


if __name__ == "__main__":
    main(int(sys.argv[1]))
