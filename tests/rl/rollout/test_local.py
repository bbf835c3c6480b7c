"""The engine of this process: order, aborts, new parameters, and failures of its thread."""

import asyncio
import contextlib
import dataclasses
import threading

import numpy as np
import pytest

from cogvit_jax.settings import ConfigError
from mmtp.generate import Engine
from rl.rollout.local import LocalEngine, LocalSettings, check
from rl.rollout.protocol import Ask, EngineDied, Told, resume
from rl.rollout.requests import as_request
from tests.mmtp import test_generate as plain
from tests.mmtp import tiny_vlm


def params():
    return tiny_vlm.init(plain.PLAIN)


def asks(num: int, size: int = 2, max_new_tokens: int = 12, **options) -> list[Ask]:
    """Groups of `size` samples; prompts have up to two pictures."""
    options = {"temperature": 1.1, "seed": 5} | options
    return [
        Ask(f"s{i}#{j}", 0, 0, request.prompt, f"s{i}", max_new_tokens, **options)
        for i, request in enumerate(tiny_vlm.requests(0, num))
        for j in range(size)
    ]


@contextlib.asynccontextmanager
async def opened(steps: int = 2, **options):
    engine = Engine(plain.PLAIN, params(), plain.SETTINGS)
    local = LocalEngine(engine, LocalSettings(steps=steps), **options)
    try:
        yield local
    finally:
        await local.close()


class Turns:
    """The engine's thread decodes a chunk when it is its turn, until it is let go."""

    def __init__(self, monkeypatch):
        self._begin, self._ended = threading.Semaphore(0), threading.Semaphore(0)
        self._free = threading.Event()
        real = Engine.advance

        def advance(engine, *args, **kwargs):
            assert self._free.is_set() or self._begin.acquire(timeout=60)
            told = real(engine, *args, **kwargs)
            self._ended.release()
            return told

        monkeypatch.setattr(Engine, "advance", advance)

    async def until(self, local: LocalEngine, running: int):
        """As many chunks as it takes for so many asks to be in progress, and no more."""
        while local.stats()["running"] < running:
            self._begin.release()
            assert await asyncio.to_thread(self._ended.acquire, timeout=60)

    def let_go(self):
        """From now on it waits for nobody."""
        self._free.set()
        self._begin.release()


@pytest.fixture
def turns(monkeypatch):
    return Turns(monkeypatch)


def together(asked: list[Ask], **options) -> list[Told]:
    async def run():
        async with opened(**options) as local:
            return await asyncio.gather(*map(local.generate, asked))

    return asyncio.run(run())


def test_order_and_company_do_not_change_what_is_told():
    asked = asks(4)
    told = together(asked)
    assert [t.sample for t in told] == [a.sample for a in asked]
    assert {(t.finish_reason, len(t.tokens)) for t in told} == {("length", 12)}
    assert told[0].tokens != told[1].tokens
    backwards = together(asked[::-1], steps=5)[::-1]
    assert [t.tokens for t in backwards] == [t.tokens for t in told]
    direct = Engine(plain.PLAIN, params(), plain.SETTINGS).generate([as_request(asked[3])])[0]
    assert told[3].tokens == tuple(direct.tokens.tolist())
    # Rows of a batch of another shape: rounding.
    np.testing.assert_allclose(told[3].logprobs, direct.logprobs, atol=5e-5)


def test_futures_resolve_when_their_own_ask_ends():
    async def run():
        order = []

        async def one(ask):
            order.append((await local.generate(ask)).sample)

        asked = asks(3, 1)
        asked = [
            dataclasses.replace(a, max_new_tokens=n) for a, n in zip(asked, (30, 3, 9), strict=True)
        ]
        async with opened() as local:
            await asyncio.gather(*map(one, asked))
            stats = local.stats()
        return order, stats

    order, stats = asyncio.run(run())
    assert order == ["s1#0", "s2#0", "s0#0"]
    assert stats["told"] == 3
    assert stats["tokens"] == 42
    assert stats["running"] == stats["waiting"] == 0


def test_aborted_asks_go_on_where_they_were(turns):
    asked = asks(4, max_new_tokens=30)

    async def run():
        async with opened(steps=1) as local:
            tasks = [asyncio.ensure_future(local.generate(a)) for a in asked]
            await turns.until(local, running=3)
            local.abort(a.sample for a in asked)
            local.abort(["unknown"])
            turns.let_go()
            partial = await asyncio.gather(*tasks)
            again = [resume(a, t) for a, t in zip(asked, partial, strict=True)]
            return partial, await asyncio.gather(*map(local.generate, again))

    partial, told = asyncio.run(run())
    assert {t.finish_reason for t in partial} == {"abort"}
    assert any(t.tokens for t in partial)
    assert any(not t.tokens for t in partial)
    for whole, first, last in zip(together(asked), partial, told, strict=True):
        assert last.tokens == whole.tokens
        assert last.tokens[: len(first.tokens)] == first.tokens
        assert last.logprobs[: len(first.tokens)] == first.logprobs
        np.testing.assert_allclose(last.raw_logprobs, whole.raw_logprobs, atol=5e-5)
        assert last.attempt == 1


def test_parameters_are_published_between_chunks(turns):
    async def run():
        async with opened(steps=1, take=lambda name: {"new": params()}[name]) as local:
            tasks = [asyncio.ensure_future(local.generate(a)) for a in asks(4, 1, 40)]
            await turns.until(local, running=3)
            published = asyncio.ensure_future(local.publish(4, "new"))
            await asyncio.sleep(0)
            turns.let_go()
            await published
            assert local.version == 4
            with pytest.raises(KeyError):
                await local.publish(5, "lost")
            with pytest.raises(ValueError, match="above 4"):
                await local.publish(4, "new")
            return await asyncio.gather(*tasks)

    told = asyncio.run(run())
    assert {v for t in told for v in t.versions} == {0, 4}
    assert set(told[3].versions) == {4}
    assert [t.tokens for t in told] == [t.tokens for t in together(asks(4, 1, 40))]


def test_what_does_not_fit_is_told_and_harms_nobody():
    asked = asks(2, 1)
    asked.append(dataclasses.replace(asked[0], max_new_tokens=64))
    told = together(asked)
    assert [t.finish_reason for t in told] == ["length", "length", "error"]
    assert "max_length = 64" in told[2].error


def test_a_task_that_is_cancelled_leaves_its_row(turns):
    async def run():
        async with opened(steps=1) as local:
            task = asyncio.ensure_future(local.generate(asks(1, 1, 40)[0]))
            await turns.until(local, running=1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            turns.let_go()
            while local.stats()["running"]:
                await asyncio.sleep(0.001)
            return local.stats()

    stats = asyncio.run(run())
    assert stats["told"] == 0
    assert stats["chunks"] < 5  # of the 40 that its reply would take


def test_a_failure_of_the_thread_fails_all_that_is_asked(monkeypatch):
    def broken(self, *args, **kwargs):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Engine, "advance", broken)

    async def run():
        async with opened() as local:
            found = await asyncio.gather(*map(local.generate, asks(2)), return_exceptions=True)
            with pytest.raises(EngineDied, match="out of memory"):
                await local.generate(asks(1)[0])
            with pytest.raises(EngineDied):
                await local.publish(1, params())
            return found

    found = asyncio.run(run())
    assert all(isinstance(f, EngineDied) and "out of memory" in str(f) for f in found)


def test_closing_fails_what_is_still_asked(turns):
    async def run():
        async with opened(steps=1) as local:
            task = asyncio.ensure_future(local.generate(asks(1, 1, 40)[0]))
            await asyncio.sleep(0)
            asyncio.get_running_loop().call_soon(turns.let_go)  # once it is closing
        with pytest.raises(EngineDied, match="closed"):
            await task

    asyncio.run(run())


def test_settings_without_sense_are_refused():
    with pytest.raises(ConfigError, match=r"rollout\.steps = 0"):
        check(LocalSettings(steps=0))
    with pytest.raises(ConfigError, match="running = 'stop'"):
        check(LocalSettings(running="stop"))
