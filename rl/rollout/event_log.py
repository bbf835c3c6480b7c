"""The events of a run in an append-only file, each with its number and checksum.

    log = EventLog.open("runs/rl/rollouts/events.jsonl")
    log.append(event); log.flush()
    for event in read("runs/rl/rollouts/events.jsonl").events: ...

    3f0a91c2 17 {"event":"Trained","step":4,"time":12.5}      CRC-32 of the rest of the line, number

Lines are written in groups: `flush` hands them to the operating system, which keeps them when
this process is killed; `flush(sync=True)` waits for the disk. A process that is killed in the
middle of a write leaves a torn last line, which opening cuts off and reports. Damage anywhere else
is an error.
"""

import json
import logging
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rl.rollout.event_json import from_json, to_json
from rl.rollout.events import Event

MAX_PENDING = 256  # events that may wait for a flush


class LogError(OSError):
    """The log is damaged or cannot be written; names file, line and remedy."""


@dataclass(frozen=True)
class Contents:
    """What a log holds.

    Attributes:
        events: in order.
        ends: bytes of the file up to the end of each event.
        torn: bytes after the last whole event.
    """

    events: list[Event]
    ends: list[int]
    torn: int


class EventLog:
    """An open log. One writer at a time.

    Args:
        path: of the file.
        num_events: that it holds.
        size: bytes of those; what is behind them is cut off.
    """

    def __init__(self, path: Path, num_events: int, size: int) -> None:
        self.path, self.num_events, self._size = path, num_events, size
        self._pending: list[bytes] = []
        self._file = path.open("ab", buffering=0)
        self._cut()

    @staticmethod
    def open(path: str | Path) -> "EventLog":
        """Opens a log to append to, or begins one. A torn last line is cut off, with a warning.

        Raises:
            LogError: it is damaged.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        num = size = 0
        for text in _lines(path):
            num, size = num + 1, size + len(text)
        if torn := path.stat().st_size - size:
            logging.warning("%s: %d bytes of an unfinished line are cut off", path, torn)
        return EventLog(path, num, size)

    def append(self, event: Event) -> int:
        """Adds an event, which is written at the next `flush`; returns its number.

        Raises:
            LogError: it had to flush, and could not.
        """
        self._pending.append(line(self.num_events, event))
        self.num_events += 1
        if len(self._pending) >= MAX_PENDING:
            self.flush()
        return self.num_events - 1

    def flush(self, sync: bool = False) -> None:
        """Writes what was appended; `sync`: waits until the disk has it.

        Raises:
            LogError: it could not be written. What was written before is whole and readable, what
                was not stays pending: flush again when there is room.
        """
        data = b"".join(self._pending)
        try:
            _write(self._file.write, data)
            if sync:
                os.fsync(self._file.fileno())
        except OSError as error:
            self._cut()
            raise LogError(
                f"{self.path}: {error.strerror}: {len(self._pending)} events are not written; "
                "make room and flush again, or resume from the log as it is"
            ) from error
        self._size += len(data)
        self._pending = []

    def close(self) -> None:
        """Flushes and closes."""
        try:
            self.flush()
        finally:
            self._file.close()

    def _cut(self) -> None:
        """Back to the last whole event."""
        os.ftruncate(self._file.fileno(), self._size)


def line(number: int, event: Event) -> bytes:
    """An event as a line of the file."""
    text = f"{number} {json.dumps(to_json(event), separators=(',', ':'), ensure_ascii=False)}"
    data = text.encode()
    return b"%08x %s\n" % (zlib.crc32(data), data)


def read(path: str | Path) -> Contents:
    """All events of a log; a torn last line is left out.

    Raises:
        LogError: a line before the last one is damaged, or one is missing.
    """
    path = Path(path)
    events, ends = [], [0]
    for text in _lines(path):
        events.append(_event(text))
        ends.append(ends[-1] + len(text))
    return Contents(events, ends[1:], path.stat().st_size - ends[-1])


def _lines(path: Path) -> Iterator[bytes]:
    """Whole lines, one after the other, as a log may be larger than memory; raises LogError."""
    with path.open("rb") as file:
        for number, text in enumerate(file):
            if _is_good(text, number):
                yield text
            elif file.read(1):
                raise LogError(
                    f"{path}, line {number + 1}: damaged or out of order. Everything before it is "
                    f"good: `truncate({str(path)!r}, {number})` keeps that."
                )


def truncate(path: str | Path, num_events: int) -> int:
    """Keeps the first events of a log that nobody has open; returns their bytes.

    Raises:
        LogError: it has fewer, or they are damaged.
    """
    size = 0
    with Path(path).open("rb") as file:
        for number in range(num_events):
            text = file.readline()
            if not _is_good(text, number):
                raise LogError(f"{path} has {number} good events, not {num_events}")
            size += len(text)
    with Path(path).open("r+b") as file:
        file.truncate(size)
        os.fsync(file.fileno())
    return size


def _is_good(text: bytes, number: int) -> bool:
    """Whether a line is whole, undamaged and the one of this number."""
    checksum, _, rest = text[:-1].partition(b" ")
    own = rest.partition(b" ")[0]
    return text.endswith(b"\n") and (checksum, own) == (
        b"%08x" % zlib.crc32(rest),
        b"%d" % number,
    )


def _event(text: bytes) -> Event:
    """The event of a good line."""
    return from_json(json.loads(text.split(b" ", 2)[2]))


def _write(write: Callable[[bytes], int | None], data: bytes) -> None:
    """All of it, which one call need not do."""
    view = memoryview(data)
    while view:
        view = view[write(view) or 0 :]  # type: ignore[arg-type]
