"""Things that are made again when they die: not when all is over, and none is left alive."""

import asyncio

import pytest

from cogvit_jax.settings import ConfigError
from rl.executors.keep import GivenUp, Keeper, Patience

QUICK = Patience(restarts=2, backoff_seconds=0.001)


class Thing:
    """Notes that it was ended, which takes a while."""

    def __init__(self, made, seconds=0.0):
        self.ended, self.seconds = False, seconds
        made.append(self)

    async def end(self):
        await asyncio.sleep(self.seconds)
        self.ended = True


def run(test, num=1, make=None, seconds=0.0):
    made = []

    async def one(number):
        return Thing(made, seconds) if make is None else await make(number)

    async def whole():
        keeper = Keeper("thing", num, one, Thing.end, QUICK)
        await test(keeper)
        await keeper.close()
        await asyncio.sleep(0.02)  # for what would still be made

    asyncio.run(whole())
    return made


def test_a_dead_one_is_ended_and_made_again():
    async def test(keeper):
        await keeper.wait()
        first = keeper.ready[0]
        keeper.died(0, first, RuntimeError("gone"))
        keeper.died(0, first, RuntimeError("told twice"))
        await keeper.wait()
        assert keeper.ready[0] is not first
        assert keeper.num_deaths == 1

    made = run(test)
    assert [thing.ended for thing in made] == [True, True]


def test_none_is_made_once_they_are_closed():
    """Who is cancelled by the closing may say that the one it asked has died."""

    async def test(keeper):
        await keeper.wait()
        thing = keeper.ready[0]

        async def ask():
            try:
                await asyncio.sleep(1000)
            finally:
                keeper.died(0, thing, RuntimeError("killed"))

        asked = asyncio.create_task(ask())
        await asyncio.sleep(0)
        keeper._spawn(asked)  # it ends while `close` waits for what it cancelled

    made = run(test)
    assert [thing.ended for thing in made] == [True]


def test_closing_waits_until_dead_ones_are_ended():
    async def test(keeper):
        await keeper.wait()
        keeper.died(0, keeper.ready[0], RuntimeError("gone"))
        await asyncio.sleep(0)

    made = run(test, seconds=0.1)
    assert [thing.ended for thing in made] == [True]


def test_a_failure_that_is_no_death_is_told_to_all_who_wait():
    async def make(number):
        await asyncio.sleep(1000)

    async def test(keeper):
        waiting = [asyncio.create_task(keeper.wait()) for _ in range(2)]
        await asyncio.sleep(0)
        keeper.fail(OSError("no space left"))
        keeper.fail(OSError("a later one"))
        for found in await asyncio.gather(*waiting, return_exceptions=True):
            assert str(found) == "no space left"
        assert keeper.num_deaths == 0

    run(test, make=make)


@pytest.mark.parametrize(
    ("raised", "expected"), [(ConfigError("config.x = 3"), ConfigError), (OSError("no"), GivenUp)]
)
def test_what_cannot_be_made_is_told(raised, expected):
    async def make(number):
        raise raised

    async def test(keeper):
        with pytest.raises(expected, match=str(raised)):
            await keeper.wait()

    run(test, make=make)
