"""Messages between our own processes: pickles whose arrays travel beside them, uncopied."""

import asyncio
import pickle
import struct
from typing import Any

COUNT = struct.Struct("!I")


def encode(message: Any) -> list[Any]:
    """A message as buffers to be written one after the other.

    How many parts, the size of each, the pickle, and then every array's memory.
    """
    buffers: list[pickle.PickleBuffer] = []
    body = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
    parts = [memoryview(body), *(buffer.raw() for buffer in buffers)]
    sizes = struct.pack(f"!{len(parts)}Q", *(part.nbytes for part in parts))
    return [COUNT.pack(len(parts)) + sizes, *parts]


async def read(reader: asyncio.StreamReader) -> Any:
    """The next message; its arrays are read-only.

    Raises:
        EOFError: the other side has ended, in the middle of a message or not.
    """
    try:
        (count,) = COUNT.unpack(await reader.readexactly(COUNT.size))
        sizes = struct.unpack(f"!{count}Q", await reader.readexactly(8 * count))
        body, *buffers = [await reader.readexactly(size) for size in sizes]
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise EOFError("the other process has ended") from error
    return pickle.loads(body, buffers=buffers)


async def write(writer: asyncio.StreamWriter, message: Any) -> None:
    """Writes a message whole, whoever else writes; returns when there is room for more.

    Raises:
        ConnectionError: the other side has ended.
    """
    for part in encode(message):
        writer.write(part)
    await writer.drain()
