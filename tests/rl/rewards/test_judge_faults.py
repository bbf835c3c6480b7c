"""A judge's server that fails in every way: no wrong reward, no lost sample, bounded memory."""

import asyncio
import random
import time
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from mmtp.data.records import Image
from rl.rewards.system import build
from rl.types import Action, Observation, Rollout, Turn
from tests.rl.rewards import cases
from tests.rl.rewards.fake_judge import FAULTS, FakeJudge


@pytest.fixture(scope="module")
def shared():
    """One server for all tests that only need a script."""
    with FakeJudge() as server:
        yield server


def score(server, script, rollouts, endpoints=None):
    """(verdicts, endpoint) after all rollouts were scored at once."""

    async def run():
        async with build(cases.config(server.url, endpoints=endpoints)) as rewards:
            verdicts = await asyncio.gather(*(rewards.score(r) for r in rollouts))
            return verdicts, rewards.endpoints["fake"]

    server.begin(script)
    return asyncio.run(run())


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("reply", "value"), [("4", 1.0), ("5", 0.0)])
def test_one_fault_costs_an_attempt_and_nothing_else(shared, fault, reply, value):
    limits = {"seconds": 2.0} if fault == "hang" else {}  # enough to be heard on a busy machine
    verdicts, endpoint = score(shared, [fault], [cases.rollout(reply)], limits)
    if fault == "redirect":  # a wrong address does not get right by itself
        assert verdicts[0].kind == "error"
        return
    assert (verdicts[0].kind, verdicts[0].value) == ("value", value)
    failed = sum(endpoint.problems.values())
    assert shared.count == failed + 1
    assert failed == (0 if fault == "slow" else 1) or fault == "hang"


@pytest.mark.parametrize("fault", [f for f in FAULTS if f != "slow"])
def test_a_fault_that_stays_is_an_error_never_a_number(shared, fault):
    limits = {"attempts": 3} | ({"seconds": 0.1} if fault == "hang" else {})
    script = ["429 now" if fault == "429 later" else fault] * 100
    verdicts, _ = score(shared, script, [cases.rollout("5")], limits)
    assert (verdicts[0].kind, verdicts[0].value) == ("error", None)
    assert verdicts[0].reason.startswith("judge:it: fake: ")
    assert shared.count == (1 if fault == "redirect" else 3) or fault == "hang"


def test_a_refusal_is_not_repeated(shared):
    verdicts, _ = score(shared, ["401"] * 9, [cases.rollout("5")])
    assert verdicts[0].kind == "error"
    assert "401" in verdicts[0].reason
    assert shared.count == 1


def test_storm_of_faults_gives_every_sample_its_own_reward(shared):
    """300 rollouts, 40 percent of requests fail somehow: all rewards are right."""
    dice = random.Random(0)
    quick = [f for f in FAULTS if f not in ("hang", "redirect", "429 later")]
    script = [dice.choice(quick) if dice.random() < 0.4 else "" for _ in range(1000)]
    right = [dice.random() < 0.5 for _ in range(300)]
    rollouts = [cases.rollout("4" if r else "5", number=i) for i, r in enumerate(right)]
    verdicts, endpoint = score(shared, script, rollouts, {"attempts": 40})
    assert [v.value for v in verdicts] == [float(r) for r in right]
    assert shared.most <= 8
    assert shared.count == 300 + sum(endpoint.problems.values())


def test_retry_after_is_honoured_by_all_requests(shared):
    rollouts = [cases.rollout("4", number=i) for i in range(4)]
    verdicts, _ = score(shared, ["429 later"], rollouts, {"concurrency": 2})
    assert [v.value for v in verdicts] == [1.0] * 4
    since = [t - shared.times[0] for t in shared.times]
    assert len([t for t in since if t < 0.95]) <= 2  # those under way when it was told
    assert len(since) == 5


def test_retry_after_beyond_the_deadline_is_an_error_at_once(shared):
    started = time.monotonic()
    verdicts, _ = score(shared, ["429 never"], [cases.rollout("4", number=i) for i in range(50)])
    assert {v.kind for v in verdicts} <= {"error", "value"}
    assert all(v.value == 1.0 for v in verdicts if v.kind == "value")
    assert [v.kind for v in verdicts].count("error") >= 40
    assert time.monotonic() - started < 60


def test_deadline_ends_what_hangs(shared):
    limits = {"deadline": 0.5, "seconds": 100.0}
    started = time.monotonic()
    verdicts, _ = score(shared, ["hang"] * 9, [cases.rollout("4")], limits)
    assert verdicts[0].kind == "error"
    assert "0.5 s" in verdicts[0].reason
    assert 0.4 < time.monotonic() - started < 60


def test_nobody_listens():
    async def run():
        limits = {"attempts": 2}
        section = cases.config("http://127.0.0.1:9/v1", endpoints=limits)
        async with build(section) as rewards:
            return await rewards.score(cases.rollout("4"))

    verdict = asyncio.run(run())
    assert verdict.kind == "error"
    assert "ConnectError" in verdict.reason


def test_breaker_spares_a_server_that_is_down_and_comes_back(shared):
    """Four failures open it; then only trials get through until one succeeds."""
    limits = {"breaker_failures": 4, "breaker_seconds": 0.3, "attempts": 40, "concurrency": 4}
    rollouts = [cases.rollout("4", number=i) for i in range(40)]
    verdicts, endpoint = score(shared, ["503"] * 7, rollouts, limits)
    assert [v.value for v in verdicts] == [1.0] * 40
    assert endpoint.breaker.state == "closed"
    assert endpoint.problems["5xx"] == 7
    # Up to four were under way when it opened, so at least the last request of the seven that
    # failed, and the first that did not, were trials.
    gaps = np.diff(shared.times)
    assert sum(gap > 0.25 for gap in gaps) >= 1
    assert shared.count == 47


def test_a_hanging_judge_delays_nobody_else():
    """Rules of other rollouts go on while a judge hangs."""

    async def run(server):
        section = cases.config(server.url, endpoints={"seconds": 60.0})
        section["recipes"]["form"] = {"aggregation": "first", "verifiers": ("format",)}
        section["sources"] = (("form", "form"), ("*", "all"))
        async with build(section) as rewards:
            hanging = asyncio.create_task(rewards.score(cases.rollout("4")))
            while not server.open:
                await asyncio.sleep(0.01)
            for i in range(20):
                verdict = await rewards.score(cases.rollout("4", number=i, source="form"))
                assert verdict.value == 0.0
            assert not hanging.done()
            hanging.cancel()
            await asyncio.gather(hanging, return_exceptions=True)

    with FakeJudge(["hang"]) as server:
        asyncio.run(run(server))


def noise(number, pixels):
    """A rollout with a picture that does not compress, which others share."""
    about = cases.task(number)
    seen = Observation((Image(pixels), *about.observation.parts[1:]))
    about = replace(about, observation=seen)
    text = f"<|begin_of_box|>{4 + number % 2}<|end_of_box|>"
    return Rollout(about, (Turn(seen, Action(text)),))


def queue_up(count, serve, concurrency, side):
    """(peak bytes while `count` requests wait or are sent, verdicts, server).

    Args:
        count: of rollouts at once.
        serve: whether they are answered; else they are cancelled while they wait.
        concurrency: of the endpoint.
        side: of their pictures.
    """
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3)).astype(np.uint8)
    rollouts = [noise(i, pixels) for i in range(count)]

    async def run(server):
        limits = {"concurrency": concurrency, "seconds": 30.0, "deadline": 60.0}
        async with build(cases.config(server.url, endpoints=limits)) as rewards:
            tracemalloc.start()
            tasks = [asyncio.create_task(rewards.score(r)) for r in rollouts]
            if not serve:
                while server.open < concurrency or rewards.cache.misses < count:
                    await asyncio.sleep(0.05)
                for task in tasks:
                    task.cancel()
            verdicts = await asyncio.gather(*tasks, return_exceptions=True)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            return peak, verdicts

    with FakeJudge([] if serve else ["hang"] * count, keep=False) as server:
        peak, verdicts = asyncio.run(run(server))
    return peak, verdicts, server


def test_a_long_queue_holds_no_encoded_pictures():
    """500 pictures of 150 KB would be 100 MB as PNG in base64; what waits is small."""
    peak, verdicts, server = queue_up(500, serve=False, concurrency=8, side=224)
    assert all(isinstance(v, asyncio.CancelledError) for v in verdicts)
    assert server.most <= 8
    assert peak < 500 * 20_000 + 8 * 2_000_000


@pytest.mark.slow
def test_thousands_in_flight_are_all_scored_in_bounded_memory():
    """125 MB as PNG in base64, were all encoded at once or kept: what waits takes 10 KB each."""
    peak, verdicts, server = queue_up(2500, serve=True, concurrency=32, side=112)
    assert [v.value for v in verdicts] == [1.0, 0.0] * 1250
    assert server.most <= 32
    assert peak < 62.5e6, peak
