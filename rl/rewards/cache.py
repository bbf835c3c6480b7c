"""Verdicts that were given before, by content; and requests in flight, shared by all who ask.

Only values and abstentions are kept: an error is asked again. A disk that is full, locked or
corrupt costs the cache, never a verdict.
"""

import asyncio
import json
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rl.types import Verdict

T = TypeVar("T")


class Disk:
    """Verdicts in an SQLite file, which several processes may share."""

    def __init__(self, path: str) -> None:
        """Makes the file where there is none.

        Raises:
            sqlite3.Error: it is no such file, or cannot be made.
        """
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._base = sqlite3.connect(path, timeout=5, isolation_level=None, check_same_thread=False)
        self._base.execute("pragma journal_mode=wal")
        self._base.execute("pragma synchronous=normal")
        self._base.execute(
            "create table if not exists verdicts (key blob primary key, verdict text)"
        )

    def get(self, key: bytes) -> Verdict | None:
        """The verdict, or None."""
        try:
            with self._lock:
                row = self._base.execute(
                    "select verdict from verdicts where key = ?", (key,)
                ).fetchone()
            if row is None:
                return None
            fields = json.loads(row[0])
            if fields["kind"] == "abstain":
                return Verdict.abstain(fields["verifier"], fields["reason"])
            return Verdict.of(fields["value"], fields["verifier"], reason=fields["reason"])
        except (sqlite3.Error, ValueError, LookupError, TypeError):
            return None

    def put(self, key: bytes, verdict: Verdict) -> None:
        """Keeps a verdict, if it can."""
        fields = {
            "kind": verdict.kind,
            "value": verdict.value,
            "verifier": verdict.verifier,
            "reason": verdict.reason or verdict.details.get("reason", ""),
        }
        try:
            with self._lock:
                self._base.execute(
                    "insert or replace into verdicts values (?, ?)", (key, json.dumps(fields))
                )
        except sqlite3.Error:
            return

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._base.close()


@dataclass
class Flight:
    """A request that is under way, and how many wait for it."""

    task: asyncio.Task[Verdict]
    waiting: int = 0


class Cache:
    """What has been asked, in memory (the latest `size`) and, where there is a path, on disk.

    Attributes:
        hits, misses, shared: how often a verdict was there, had to be asked for, or was on its way.
    """

    def __init__(self, size: int, path: str = "") -> None:
        """See `rl.rewards.reward_settings.RewardSettings`."""
        self.hits = self.misses = self.shared = 0
        self._size = size
        self._kept: OrderedDict[bytes, Verdict] = OrderedDict()
        self._disk = Disk(path) if path else None
        self._flights: dict[bytes, Flight] = {}

    async def ask(self, key: bytes, ask: Callable[[], Awaitable[Verdict]]) -> Verdict:
        """The verdict of a key, by asking at most once at a time.

        Who stops waiting (is cancelled) leaves the request to the others; the last one ends it.
        """
        if key in self._kept:
            self.hits += 1
            self._kept.move_to_end(key)
            return self._kept[key]
        flight = self._flights.get(key)
        if flight is None:
            flight = Flight(asyncio.create_task(self._fly(key, ask)))
            self._flights[key] = flight
        else:
            self.shared += 1
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting:
                flight.task.cancel()
                if self._flights.get(key) is flight:
                    del self._flights[key]

    def close(self) -> None:
        """Closes the file."""
        if self._disk:
            self._disk.close()

    async def _fly(self, key: bytes, ask: Callable[[], Awaitable[Verdict]]) -> Verdict:
        kept = await asyncio.to_thread(self._disk.get, key) if self._disk else None
        if kept is not None:
            self.hits += 1
            return self._keep(key, kept)
        self.misses += 1
        verdict = await ask()
        if verdict.kind != "error":
            self._keep(key, verdict)
            if self._disk:
                await asyncio.to_thread(self._disk.put, key, verdict)
        return verdict

    def _keep(self, key: bytes, verdict: Verdict) -> Verdict:
        self._kept[key] = verdict
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)
        return verdict
