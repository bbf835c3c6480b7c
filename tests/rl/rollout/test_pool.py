"""Several engines as one: whose asks are lost, who goes on, and that nothing is told twice."""

import asyncio
import collections
import dataclasses
import itertools
import os
import signal
from concurrent.futures import Future
from types import SimpleNamespace

import numpy as np
import pytest

from cogvit_jax.settings import ConfigError
from mmtp.data.encoded import Encoded
from rl.executors import inprocess, processes
from rl.executors.keep import GivenUp, Patience
from rl.executors.settings import ExecutorSettings
from rl.rollout import worker
from rl.rollout.pool import EnginePool
from rl.rollout.protocol import Ask, EngineDied
from rl.rollout.worker import RemoteEngine
from tests.rl.crash_run import make_run
from tests.rl.executors.fakes import words

QUICK = Patience(restarts=3, backoff_seconds=0.01)
PROMPT = Encoded(np.zeros(3, np.int32), np.zeros(3, bool), (), 0, "p")
BUILDERS = {"inprocess": inprocess.executor, "processes": processes.executor}
DONE: Future = Future()
DONE.set_result(None)


def ask(sample, group="g", attempt=1):
    return Ask(sample, 0, attempt, PROMPT, group, 16, stop=(7,))


class Places:
    """Where a pool's engines are; notes the actors that it was given."""

    def __init__(self, kind="inprocess", seconds=0.002, stall=0.0, **settings):
        self.executor = BUILDERS[kind](ExecutorSettings(**settings))
        self.seconds, self.stall = seconds, stall
        self.actors, self.starts = {}, collections.Counter()
        self.refuse = lambda number, version: None

    async def make(self, number, version, params):
        self.starts[number] += 1
        self.refuse(number, version)
        arguments = {"version": version, "seconds": self.seconds}
        actor = await self.executor.start(
            f"engine {number}", "tests.rl.executors.fakes:make_engine", arguments, number
        )
        self.actors[number] = actor
        return RemoteEngine(actor, version, self.stall)


def run(test, num=2, patience=QUICK, slack=8, **options):
    async def whole():
        places = Places(**options)
        pool = EnginePool(num, places.make, 0, DONE, patience, slack=slack)
        try:
            return await test(pool, places)
        finally:
            await pool.close()

    return asyncio.run(whole())


async def working(pool, num):
    while pool.stats()["engines"] < num:
        await asyncio.sleep(0.002)


def test_tokens_do_not_depend_on_how_many_engines_there_are():
    async def test(pool, places):
        told = await asyncio.gather(*(pool.generate(ask(f"{i}", f"{i % 3}")) for i in range(12)))
        return [(t.sample, t.tokens, t.finish_reason) for t in told]

    expected = [(f"{i}", tuple(words(f"{i}", 0, 7)), "stop") for i in range(12)]
    assert run(test, 1) == run(test, 2) == expected


def test_a_group_stays_with_its_engine_until_that_is_much_busier():
    async def test(pool, places):
        await working(pool, 2)
        tasks = [asyncio.ensure_future(pool.generate(ask(f"a{i}", "a"))) for i in range(3)]
        tasks += [asyncio.ensure_future(pool.generate(ask("b0", "b")))]
        await asyncio.sleep(0)
        first = [len(asked) for asked in pool._asked]
        tasks += [asyncio.ensure_future(pool.generate(ask(f"a{i}", "a"))) for i in range(3, 6)]
        await asyncio.sleep(0)
        second = [len(asked) for asked in pool._asked]
        await asyncio.gather(*tasks)
        return first, second

    assert run(test, slack=3, seconds=0.05) == ([3, 1], [5, 2])


@pytest.mark.parametrize("kind", ["inprocess", "processes"])
def test_exactly_the_asks_of_the_engine_that_died_are_lost(kind):
    async def test(pool, places):
        await working(pool, 2)
        tasks = {
            name: asyncio.ensure_future(pool.generate(ask(name, name)))
            for name in map(str, range(8))
        }
        await asyncio.sleep(0.01)
        doomed = set(pool._asked[0].values())
        assert len(doomed) == 4
        actor = places.actors[0]
        os.kill(actor.pid, signal.SIGKILL) if kind == "processes" else actor.kill()
        await asyncio.wait(tasks.values())
        lost = {n for n, t in tasks.items() if isinstance(t.exception(), EngineDied)}
        assert lost == doomed
        assert {t.result().sample for n, t in tasks.items() if n not in lost} == set(tasks) - lost
        # Both serve again, the new one with the newest weights.
        await pool.publish(3, DONE)
        await working(pool, 2)
        assert places.starts == {0: 2, 1: 1}
        told = await asyncio.gather(*(pool.generate(ask(n, n, 2)) for n in tasks))
        assert {v for t in told for v in t.versions} == {3}
        assert pool.stats()["deaths"] == 1

    run(test, kind=kind, seconds=0.1)


def test_an_engine_that_dies_idle_is_replaced_before_it_is_asked():
    async def test(pool, places):
        await working(pool, 1)
        first = places.actors[0]
        first.kill()
        while places.actors[0] is first:
            await asyncio.sleep(0.01)
        return (await pool.generate(ask("1"))).finish_reason

    assert run(test, 1) == "stop"


def test_an_engine_that_draws_nothing_is_started_again():
    """Its process is well and answers, but its device does not come back."""

    async def test(pool, places):
        await working(pool, 2)
        stuck = places.actors[0]
        await stuck.call("stick")
        with pytest.raises(EngineDied, match="engine 0"):
            await pool.generate(ask("1"))
        assert not stuck.alive()
        assert (await pool.generate(ask("1", attempt=2))).finish_reason == "stop"

    run(test, stall=0.5)


def test_weights_are_published_while_an_engine_dies():
    async def test(pool, places):
        await working(pool, 3)
        places.actors[1].kill()  # nobody has noticed
        await pool.publish(5, DONE)
        assert pool.version == 5
        await working(pool, 3)
        told = await asyncio.gather(*(pool.generate(ask(f"{i}", f"{i}")) for i in range(9)))
        assert {v for t in told for v in t.versions} == {5}
        assert places.starts == {0: 1, 1: 2, 2: 1}

    run(test, 3)


def test_weights_that_come_while_an_engine_starts_are_its_first():
    async def test(pool, places):
        starting = asyncio.Event()
        make = places.make

        async def slow(number, version, params):
            engine = await make(number, version, params)
            starting.set()
            await asyncio.sleep(0.05)
            return engine

        pool._make = slow
        await starting.wait()
        await pool.publish(4, DONE)
        return (await pool.generate(ask("1"))).versions

    assert set(run(test, 1)) == {4}


def test_weights_that_never_arrive_are_the_runs_failure_and_kill_no_engine():
    async def arrived(params):
        if params is None:
            raise OSError("no space left")

    async def test(pool, places):
        await working(pool, 2)
        pool._arrived = arrived
        with pytest.raises(OSError, match="no space left"):
            await pool.publish(1, None)
        assert pool.version == 0
        assert places.starts == {0: 1, 1: 1}
        assert (await pool.generate(ask("1"))).finish_reason == "stop"

    run(test)


def test_nor_do_the_first_weights():
    async def arrived(params):
        raise OSError("no space left")

    async def whole():
        places = Places()
        pool = EnginePool(2, places.make, 0, None, QUICK, arrived)
        with pytest.raises(OSError, match="no space left"):
            await pool.generate(ask("1"))
        assert pool.stats()["deaths"] == 0
        assert not places.starts
        await pool.close()

    asyncio.run(whole())


def test_a_request_that_has_just_come_is_not_called_stalled(monkeypatch):
    """The engine was idle for longer than the limit, and is looked at just after it is asked."""

    class Actor:
        """Whose engine was given its first request between two looks."""

        looks, killed = 0, False

        async def call(self, method):
            self.looks += 1
            busy = float(self.looks >= 3)
            return 0, {"running": busy, "waiting": 0.0, "chunks": float(self.looks >= 4)}

        def kill(self):
            self.killed = True

    async def whole():
        monkeypatch.setattr(worker, "POLL_SECONDS", 0.06)
        actor = Actor()
        engine = RemoteEngine(actor, 0, 0.05)
        while actor.looks < 4:
            await asyncio.sleep(0.01)
        engine._polling.cancel()
        return actor.killed

    assert not asyncio.run(whole())


def test_asks_are_aborted_where_they_are_also_before_any_engine_works():
    async def test(pool, places):
        early = asyncio.ensure_future(pool.generate(ask("early")))
        await asyncio.sleep(0)
        pool.abort(["early"])
        assert (await early).finish_reason == "abort"
        await working(pool, 2)
        tasks = [asyncio.ensure_future(pool.generate(ask(n, n))) for n in "abcd"]
        await asyncio.sleep(0.03)
        pool.abort(["a", "d", "unknown"])
        return [(await t).finish_reason for t in tasks]

    assert run(test, seconds=0.02) == ["abort", "stop", "stop", "abort"]


@pytest.mark.parametrize("turns", range(6))
def test_an_ask_is_aborted_in_every_turn_of_its_way_to_the_first_engine(turns):
    async def test(pool, places):
        make = places.make

        async def slow(*given):
            await asyncio.sleep(0.01)
            return await make(*given)

        pool._make = slow
        asked = asyncio.ensure_future(pool.generate(ask("1")))
        await pool._keeper.wait()
        for _ in range(turns):  # of the event loop
            await asyncio.sleep(0)
        pool.abort(["1"])
        return (await asked).finish_reason

    assert run(test, seconds=0.02) == "abort"


def test_after_a_few_deaths_without_a_reply_it_gives_up():
    def refuse(number, version):
        raise RuntimeError("no such device")

    async def test(pool, places):
        places.refuse = refuse
        with pytest.raises(GivenUp, match=r"7 deaths in a row.*no such device"):
            await pool.generate(ask("1"))
        with pytest.raises(GivenUp):
            await pool.publish(1, DONE)

    run(test)


def test_a_mistake_in_the_config_is_told_at_once():
    def refuse(number, version):
        raise ConfigError("config.engine.rows = 0")

    async def test(pool, places):
        places.refuse = refuse
        with pytest.raises(ConfigError, match="rows"):
            await pool.generate(ask("1"))

    run(test)


def test_what_is_asked_of_closed_engines_raises():
    async def test(pool, places):
        await working(pool, 2)
        asked = asyncio.ensure_future(pool.generate(ask("1")))
        await asyncio.sleep(0.01)
        await pool.close()
        with pytest.raises(EngineDied):
            await asked
        with pytest.raises(EngineDied, match="closed"):
            await pool.generate(ask("2"))

    run(test, seconds=1.0)


STEPS = 3


@pytest.mark.parametrize("kind", ["inprocess", "processes"])
def test_a_run_whose_engines_are_killed_loses_and_doubles_nothing(kind, tmp_path):
    """Driver, schedule and log as they are; engines die all the time, in the middle of replies."""
    places, replies = Places(kind, seconds=0.003), itertools.count(1)
    driven = make_run(tmp_path, STEPS, 2)
    parts_of = driven._plan.parts

    def engine(version, params):
        pool = EnginePool(2, places.make, version, DONE, Patience(100, 0.001))
        generate = pool.generate

        async def one(asked):
            told = await generate(asked)
            busy = [n for n in (0, 1) if pool._asked[n] and places.actors[n].alive()]
            if next(replies) % 9 == 0 and busy:
                actor = places.actors[busy[-1]]
                os.kill(actor.pid, signal.SIGKILL) if kind == "processes" else actor.kill()
            return told

        pool.generate = one
        return pool

    def parts(saved):
        made, curriculum = parts_of(saved)
        return dataclasses.replace(made, engine=engine), curriculum

    driven._plan = dataclasses.replace(driven._plan, parts=parts)
    batches = driven.batches(None)
    told = []
    try:
        driven.begin(SimpleNamespace(step=0, params={}))
        for step in range(1, STEPS + 1):
            next(batches)
            told += batches._built.told
            driven.hook(step, SimpleNamespace(params={}), {"loss": np.zeros(())})
        schedule = batches.get_state()["schedule"]
    finally:
        driven.close()
    groups = collections.Counter(sample["group"] for sample in told)
    assert len(groups) == STEPS * 4
    assert len({tuple(sample["sample"]) for sample in told}) == len(told)
    counts = schedule["counts"]
    assert counts["deaths"] > 0
    assert counts.get("late", 0) == 0
    for sample in told:
        # Whole replies in their order, whatever was lost on the way.
        name, rest, turn = "{}#{}".format(*sample["sample"]), sample["tokens"], 0
        while rest:
            said = words(name, turn, rest[-1])
            assert rest[: len(said)] == said
            rest, turn = rest[len(said) :], turn + 1
