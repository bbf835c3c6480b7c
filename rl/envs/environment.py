"""One interface to every category: `reset`, `step`, `verify`; limits; save and restore.

    env = Environment(CATEGORIES["maze"])
    observation = env.reset(seed=7, difficulty=2)
    done = False
    while not done:
        observation, done = await env.step(policy(observation))
    verdict = await env.verify(env.rollout)

An environment holds one episode and nothing that others share, so any number of them run side by
side in one event loop. Drawing, simulating and judging run in threads, off the loop.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from rl.envs.category import Category, Step, make_task
from rl.types import (
    Action,
    Json,
    Observation,
    Rollout,
    Task,
    Turn,
    Unverifiable,
    Verdict,
    VerifierFailed,
)


class Environment:
    """An episode of a category.

    Attributes:
        category: what is played.
        rollout: the episode so far; `ended` is "" while it goes on.
    """

    def __init__(self, category: Category, clock: Callable[[], float] = time.monotonic) -> None:
        self.category = category
        self._clock = clock
        self._rollout: Rollout | None = None
        self._seen: Observation | None = None
        self._started = 0.0

    @property
    def rollout(self) -> Rollout:
        """The episode so far.

        Raises:
            RuntimeError: there is none yet.
        """
        if self._rollout is None:
            raise RuntimeError(f"{self.category.name}: call reset before anything else")
        return self._rollout

    def reset(self, seed: int, difficulty: int = 0, language: str = "") -> Observation:
        """Draws a task and begins it; see `make_task`."""
        return self.begin(make_task(self.category, seed, difficulty, language))

    def begin(self, task: Task) -> Observation:
        """Begins a task that is there already."""
        self._rollout = Rollout(task, (), task.state, ended="")
        self._seen = task.observation
        self._started = self._clock()
        return task.observation

    async def step(self, action: Action | str) -> tuple[Observation, bool]:
        """Takes an action; the observation of a last step may be empty.

        Raises:
            RuntimeError: the episode has ended.
        """
        rollout, seen = self.rollout, self._seen
        if rollout.ended or seen is None:
            raise RuntimeError(f"{rollout.task.id} has ended ({rollout.ended}): call reset")
        action = Action(action) if isinstance(action, str) else action
        turns = (*rollout.turns, Turn(seen, action))
        out_of_time = self._clock() - self._started > rollout.task.max_seconds
        taken = Step(rollout.state, Observation(()), True)
        if not out_of_time and self.category.step is not None:
            taken = await asyncio.to_thread(
                self.category.step, rollout.task, rollout.state, action.text
            )
        ended = "time" if out_of_time else "done" if taken.done else ""
        if not ended and len(turns) >= rollout.task.max_turns:
            ended = "turns"
        self._rollout = replace(rollout, turns=turns, state=taken.state, ended=ended)
        self._seen = taken.observation
        return taken.observation, bool(ended)

    async def verify(self, rollout: Rollout) -> Verdict:
        """Judges an episode of this category, also one that another environment played."""
        return await asyncio.to_thread(judge, self.category, rollout)

    def save(self) -> Mapping[str, Json]:
        """The episode as JSON: seeds, what was said, the simulator's state, time left.

        Observations are not in it: they follow from the rest.
        """
        task = self.rollout.task
        return {
            "version": 1,
            "category": self.category.name,
            "seed": task.seed,
            "difficulty": task.difficulty,
            "language": task.language,
            "replies": [turn.action.text for turn in self.rollout.turns],
            "ended": self.rollout.ended,
            "seconds": self._clock() - self._started,
        }

    async def restore(self, saved: Mapping[str, Json]) -> Observation:
        """Goes on from what `save` gave: what would be observed next.

        Raises:
            ValueError: it is another category's, or another version's.
        """
        if saved["version"] != 1 or saved["category"] != self.category.name:
            raise ValueError(
                f"saved is version {saved['version']} of {saved['category']!r}; this is version 1 "
                f"of {self.category.name!r}"
            )
        self.reset(saved["seed"], saved["difficulty"], saved["language"])
        for reply in saved["replies"]:
            await self.step(reply)
        self._rollout = replace(self.rollout, ended=saved["ended"])
        self._started = self._clock() - saved["seconds"]
        assert self._seen is not None
        return self._seen


def judge(category: Category, rollout: Rollout) -> Verdict:
    """The category's own verdict. An exception is an error of the verifier, not a reward of 0."""
    started = time.monotonic()
    name = category.name
    try:
        verdict = Verdict.of(category.score(rollout.task, rollout), name)
    except Unverifiable as reason:
        verdict = Verdict.abstain(name, str(reason))
    except VerifierFailed as reason:
        verdict = Verdict.error(name, str(reason))
    except Exception as problem:
        verdict = Verdict.error(name, f"{type(problem).__name__}: {problem}")
    return replace(verdict, seconds=time.monotonic() - started)


def play(category: Category, task: Task, replies: tuple[str, ...]) -> Rollout:
    """The episode in which exactly these replies are given, or as many as it takes."""

    env = Environment(category)
    env.begin(task)

    async def run() -> None:
        # Gives nothing: asyncio (3.11) spells out what a task gave, and pictures are long to spell.
        for reply in replies:
            _, done = await env.step(reply)
            if done:
                break

    asyncio.run(run())
    return env.rollout
