"""Rewards in other processes: in turn, and a verdict whatever dies."""

import asyncio

import pytest

from rl.executors import inprocess, processes
from rl.executors.keep import GivenUp, Patience
from rl.executors.settings import ExecutorSettings
from rl.rewards.remote import RemoteRewards
from rl.types import Action, Observation, Rollout, Task, Turn

SEEN = Observation(())
TASK = Task("t/0", "t", "t", "element", 0, 0, "en", SEEN, {})
QUICK = Patience(9, 0.001)
ROLLOUT = Rollout(TASK, (Turn(SEEN, Action("3")),))


def run(executor, test, dies=lambda number, start: False, num=2, patience=QUICK):
    starts = []

    async def start(number):
        starts.append(number)
        arguments = {"number": number, "dies": dies(number, starts.count(number))}
        made = executor(ExecutorSettings())
        return await made.start("judge", "tests.rl.executors.fakes:make_judge", arguments, number)

    async def whole():
        rewards = RemoteRewards(num, start, patience)
        try:
            return await test(rewards), starts
        finally:
            await rewards.close()

    return asyncio.run(whole())


def test_processes_judge_in_turn():
    async def test(rewards):
        await asyncio.gather(*(rewards.score(ROLLOUT) for _ in range(3)))
        return [(await rewards.score(ROLLOUT)).value for _ in range(4)]

    values, _ = run(inprocess.executor, test)
    assert sorted(values) == [0.0, 0.0, 0.1, 0.1]
    assert values[0] == values[2] != values[1]


def test_a_verdict_comes_from_another_one_where_one_dies():
    async def both(rewards):
        while len(rewards._keeper.ready) < 2:
            await asyncio.sleep(0.01)

    async def test(rewards):
        await both(rewards)
        verdicts = [await rewards.score(ROLLOUT) for _ in range(3)]
        await both(rewards)
        return verdicts

    # The first process of number 0 dies of what it is asked.
    verdicts, starts = run(
        processes.executor, test, lambda number, start: (number, start) == (0, 1)
    )
    assert [v.kind for v in verdicts] == ["value"] * 3
    assert verdicts[0].value == 0.1
    assert starts.count(0) == 2
    assert starts.count(1) == 1


def test_what_all_die_of_is_an_error_and_no_reward():
    async def test(rewards):
        return await rewards.score(ROLLOUT)

    verdict, starts = run(processes.executor, test, lambda number, start: True, num=1)
    assert (verdict.kind, verdict.value) == ("error", None)
    assert "status 5" in verdict.reason
    assert len(starts) >= 3

    async def twice(rewards):
        with pytest.raises(GivenUp, match="status 5"):
            await rewards.score(ROLLOUT)

    run(processes.executor, twice, lambda number, start: True, 1, Patience(1, 0.001))
