"""Rates, breakers, pauses and deadlines, by a clock that passes only when somebody sleeps."""

import asyncio
import contextlib

import numpy as np
import pytest

from rl.rewards.limits import Breaker, Bucket, Clock, jitter
from rl.rewards.responses import retry_after
from rl.rewards.system import build
from tests.rl.rewards import cases


class Watch:
    """Time that passes only when somebody sleeps."""

    def __init__(self):
        self.now = 0.0

    async def sleep(self, seconds):
        self.now += seconds
        await asyncio.sleep(0)

    @property
    def clock(self):
        return Clock(lambda: self.now, self.sleep)


def test_bucket_keeps_its_rate_and_order():
    watch, times = Watch(), []

    async def take(bucket, number):
        await bucket.take(1)
        times.append((watch.now, number))

    async def run():
        bucket = Bucket(60, burst=3, clock=watch.clock)
        await asyncio.gather(*(take(bucket, i) for i in range(20)))

    asyncio.run(run())
    assert [number for _, number in times] == list(range(20))
    assert [round(t, 6) for t, _ in times] == [0, 0, 0, *range(1, 18)]


def test_bucket_lends_to_large_ones_and_takes_back():
    async def run():
        watch = Watch()
        bucket = Bucket(60, burst=10, clock=watch.clock)
        await bucket.take(100)  # more than it ever holds: all of it, and a debt of 90
        assert watch.now == 0
        await bucket.take(10)
        assert watch.now == pytest.approx(100)
        bucket.correct(5)
        await bucket.take(5)
        assert watch.now == pytest.approx(100)
        free = Bucket(0, burst=1, clock=watch.clock)
        for _ in range(100):
            await free.take(1e9)
        assert watch.now == pytest.approx(100)

    asyncio.run(run())


def test_breaker_states():
    async def run():
        watch = Watch()
        breaker = Breaker(2, 10.0, watch.clock)
        for healthy, state in ((False, "closed"), (True, "closed"), (False, "closed")):
            breaker.end(await breaker.admit(), healthy)
            assert breaker.state == state
        breaker.end(await breaker.admit(), False)
        assert breaker.state == "open"
        trial = await breaker.admit()
        assert (trial, breaker.state, watch.now) == (True, "half-open", 10.0)
        waiting = asyncio.create_task(breaker.admit())
        await asyncio.sleep(0.01)
        assert not waiting.done()
        breaker.end(trial, None)  # given up: the next one is on trial, at once
        assert await waiting
        assert watch.now == 10.0
        breaker.end(True, False)
        assert breaker.state == "open"
        assert await breaker.admit()
        assert watch.now == 20.0
        breaker.end(True, True)
        assert breaker.state == "closed"
        assert not await breaker.admit()

    asyncio.run(run())


def test_what_is_down_for_long_is_said_to_be_and_still_tried():
    async def run():
        watch = Watch()
        breaker = Breaker(1, 10.0, watch.clock)
        breaker.end(await breaker.admit(), False)
        assert not breaker.is_down(25.0)
        for _ in range(3):
            assert await breaker.admit()  # after 10 s, each time
            breaker.end(True, False)
        assert (watch.now, breaker.state) == (30.0, "open")
        assert breaker.is_down(25.0)
        assert not breaker.is_down(35.0)
        watch.now = 40.0
        assert not breaker.is_down(25.0)  # a trial is due
        assert await breaker.admit()
        breaker.end(True, True)
        watch.now = 100.0
        assert not breaker.is_down(25.0)

    asyncio.run(run())


@pytest.mark.parametrize("limit", ["seconds", "deadline"])
def test_work_that_does_not_heed_its_cancellation_is_left_behind(limit):
    release = asyncio.Event()

    async def stubborn(_):
        while not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()
        return "", 0

    async def run():
        limits = {"attempts": 1, "breaker_failures": 1, limit: 0.1}
        async with build(cases.config("http://127.0.0.1:9/v1", endpoints=limits)) as rewards:
            rewards.endpoints["fake"]._send = stubborn
            verdict = await asyncio.wait_for(rewards.score(cases.rollout()), 10)
            release.set()
            return verdict

    verdict = asyncio.run(run())
    assert (verdict.kind, verdict.value) == ("error", None)
    assert "within 0.1 s" in verdict.reason


def test_pauses_are_spread_bounded_and_the_same_again():
    for attempt, most in ((1, 1.0), (2, 2.0), (3, 4.0), (9, 30.0)):
        pauses = [jitter(str(i).encode(), attempt, 1.0, 30.0) for i in range(2000)]
        assert 0 <= min(pauses) < max(pauses) <= most
        assert np.mean(pauses) == pytest.approx(most / 2, rel=0.05)
    assert jitter(b"a", 1, 1.0, 30.0) == jitter(b"a", 1, 1.0, 30.0)


def test_retry_after_in_both_forms():
    assert retry_after("7") == 7.0
    assert retry_after("Wed, 21 Oct 2037 07:28:00 GMT") > 1e6
    for header in ("", "soon", "-1", "²", "1e9", "9" * 100, "Wed, 21 Oct 2015 07:28:00 GMT"):
        assert retry_after(header) == 0.0
