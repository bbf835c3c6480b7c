"""What works in the actors of the tests; imports no JAX, so that processes start quickly."""

import asyncio
import hashlib
import os
import sys
import time
from pathlib import Path

from rl.rollout.protocol import Told, aborted
from rl.types import Verdict


class Refused(Exception):
    """Comes through as what it is."""


class Unportable(Exception):
    """Cannot be made again from its arguments."""

    def __init__(self, one, other):
        super().__init__(f"{one} and {other}")


class Worker:
    """Counts, waits, fails and ends as it is told."""

    def __init__(self, first, note=""):
        self.count, self.note = first, note

    def add(self, number):
        self.count += number
        return self.count

    async def later(self, value, seconds):
        await asyncio.sleep(seconds)
        return value

    def double(self, array):
        return array * 2

    def refuse(self):
        raise Refused("not today")

    def fail_oddly(self):
        raise Unportable("this", "that")

    def variable(self, name):
        return os.environ.get(name)

    def pid(self):
        return os.getpid()

    def end(self):
        print("the last words", file=sys.stderr, flush=True)
        os._exit(3)

    def hang(self):
        time.sleep(600)

    def _secret(self):
        return 1

    async def close(self):
        if self.note:
            Path(self.note).write_text("closed")


async def make(first=0, note=""):
    return Worker(first, note)


def refuse():
    raise Refused("cannot be made")


def end():
    print("no driver for this device", file=sys.stderr, flush=True)
    os._exit(4)


def words(sample, turn, stop):
    """What is said: a function of sample and turn, as the real engine's words are."""
    digest = hashlib.sha256(f"{sample}/{turn}".encode()).digest()
    return [*(48 + byte % 10 for byte in digest[: 1 + digest[0] % 6]), stop]


class Engine:
    """As `rl.rollout.worker.EngineWorker`: a token every few milliseconds."""

    def __init__(self, version, seconds):
        self.version, self.seconds = version, seconds
        self.stopped, self.running, self.chunks = set(), 0, 0
        self.stuck = False

    async def generate(self, ask):
        tokens = words(ask.sample, ask.turn, ask.stop[0])
        versions = [] if ask.done is None else list(ask.done.versions)
        self.running += 1
        try:
            while len(versions) < len(tokens):
                await asyncio.sleep(self.seconds)
                if ask.sample in self.stopped:
                    self.stopped.discard(ask.sample)
                    return aborted(ask)
                if not self.stuck:
                    self.chunks += 1
                    versions.append(self.version)
        finally:
            self.running -= 1
        numbers = tuple(-0.25 for _ in tokens)
        name = (ask.sample, ask.turn, ask.attempt)
        return Told(*name, tuple(tokens), numbers, numbers, tuple(versions), "stop")

    def abort(self, samples):
        self.stopped |= set(samples)

    def publish(self, version):
        self.version = version
        return version

    def stats(self):
        numbers = {"running": self.running, "waiting": 0, "chunks": self.chunks}
        return self.version, {name: float(value) for name, value in numbers.items()}

    def stick(self):
        self.stuck = True

    def hang(self):
        time.sleep(600)


def make_engine(version, seconds=0.002):
    return Engine(version, seconds)


class Judge:
    """Gives its number; one of them ends instead."""

    def __init__(self, number, dies):
        self.number, self.dies = number, dies

    def score(self, rollout):
        if self.dies:
            os._exit(5)
        return Verdict.of(self.number / 10, "judge")


def make_judge(number, dies):
    return Judge(number, dies)
