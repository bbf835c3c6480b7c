"""The one interface: limits, verdicts of verifiers that fail, saving, and many episodes at once."""

import asyncio
import dataclasses
import json

import pytest

from rl.envs import CATEGORIES, Environment, make_task
from rl.envs.environment import judge, play
from rl.types import Action, Unverifiable, VerifierFailed

MAZE, ONE = CATEGORIES["maze"], CATEGORIES["attributes"]


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_an_episode_from_start_to_end():
    async def run():
        env = Environment(ONE)
        seen = env.reset(seed=4, difficulty=1)
        task = make_task(ONE, 4, 1)
        assert seen.parts[-1] == task.observation.parts[-1]
        observation, done = await env.step(Action(ONE.oracle(task)[0], tokens=(1, 2)))
        assert done
        assert observation.parts == ()
        assert env.rollout.turns[0].action.tokens == (1, 2)
        verdict = await env.verify(env.rollout)
        assert (verdict.kind, verdict.value, verdict.verifier) == ("value", 1.0, "attributes")
        with pytest.raises(RuntimeError, match=r"has ended \(done\)"):
            await env.step("again")

    asyncio.run(run())


def test_turns_are_limited():
    task = make_task(MAZE, 0, 4)
    rollout = play(MAZE, task, ("nonsense",) * 100)
    assert rollout.ended in ("turns", "done")
    assert len(rollout.turns) <= task.max_turns
    assert judge(MAZE, rollout).value == 0


def test_time_is_limited_and_a_late_action_does_nothing():
    async def run():
        clock = Clock()
        env = Environment(MAZE, clock)
        env.begin(dataclasses.replace(make_task(MAZE, 0, 0), max_seconds=10))
        before = env.rollout.state
        clock.now += 11
        _, done = await env.step(MAZE.oracle(env.rollout.task)[0])
        assert done
        assert env.rollout.ended == "time"
        assert env.rollout.state == before

    asyncio.run(run())


@pytest.mark.parametrize(
    ("problem", "kind", "reason"),
    [
        (Unverifiable("no gold"), "abstain", "no gold"),
        (VerifierFailed("killed"), "error", "killed"),
        (ZeroDivisionError("oops"), "error", "ZeroDivisionError: oops"),
        (None, "error", "a reward is a number from 0 to 1"),
    ],
)
def test_what_goes_wrong_in_a_verifier_is_never_a_reward_of_zero(problem, kind, reason):
    def score(task, rollout):
        if problem is None:
            return 1.5
        raise problem

    verdict = judge(dataclasses.replace(ONE, score=score), play(ONE, make_task(ONE, 0), ("x",)))
    assert (verdict.kind, verdict.value) == (kind, None)
    assert reason in verdict.reason


@pytest.mark.parametrize(
    ("seed", "difficulty", "language", "words"),
    [(-1, 0, "", "seed = -1"), (0, 5, "", "difficulty = 5"), (0, 0, "fr", "language = 'fr'")],
)
def test_what_is_out_of_range_is_named(seed, difficulty, language, words):
    with pytest.raises(ValueError, match=words):
        Environment(ONE).reset(seed, difficulty, language)


def test_nothing_before_reset():
    with pytest.raises(RuntimeError, match="call reset"):
        _ = Environment(ONE).rollout


def test_time_that_was_used_is_used_after_a_restart():
    async def run():
        clock = Clock()
        env = Environment(MAZE, clock)
        env.reset(1, 2)
        await env.step(MAZE.oracle(env.rollout.task)[0])
        clock.now += 500
        saved = json.loads(json.dumps(env.save()))
        later = Clock()
        other = Environment(MAZE, later)
        observation = await other.restore(saved)
        assert observation.parts
        assert other.rollout.state == env.rollout.state
        later.now += 101  # 601 seconds in all
        _, done = await other.step("x")
        assert (done, other.rollout.ended) == (True, "time")
        with pytest.raises(ValueError, match="'maze'"):
            await Environment(ONE).restore(saved)

    asyncio.run(run())


def test_many_episodes_side_by_side_are_those_played_alone():
    async def one(seed):
        env = Environment(MAZE)
        env.reset(seed, seed % 5)
        for reply in MAZE.oracle(env.rollout.task):
            _, done = await env.step(reply)
            if done:
                break
        verdict = await env.verify(env.rollout)
        return env.rollout.state, verdict.value

    async def run():
        return await asyncio.gather(*map(one, range(30)))

    together = asyncio.run(run())
    for seed, (state, value) in enumerate(together):
        task = make_task(MAZE, seed, seed % 5)
        assert state == play(MAZE, task, MAZE.oracle(task)).state
        assert value == 1.0
