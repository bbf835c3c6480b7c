"""Episodes to be looked at: every observation, the last one too, with the verdict."""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from rl.envs.category import Category, Replies, make_task
from rl.envs.environment import Environment, judge
from rl.types import Observation, Rollout, Task, Verdict


@dataclass(frozen=True)
class Episode:
    """An episode that has been played and judged.

    Attributes:
        kind: whose replies they are: "oracle", "distractor" or "guess".
        replies: all that were there to be given.
        rollout: what came of them; without its turns where they were not kept.
        length: turns that it took.
        last: what was seen after the last one; empty where the episode had one turn.
        verdict: of the category's own verifier.
    """

    kind: str
    replies: Replies
    rollout: Rollout
    length: int
    last: Observation
    verdict: Verdict

    @property
    def expected(self) -> bool:
        """Whether the oracle has 1 and a distractor 0; of a guess any value will do."""
        wanted = {"oracle": 1.0, "distractor": 0.0}
        if self.kind in wanted:
            return self.verdict.value == wanted[self.kind]
        return self.verdict.kind == "value"


@dataclass(frozen=True)
class Sample:
    """A task with what different policies make of it; the oracle's episode is the first.

    Attributes:
        task: what was drawn.
        seconds: that drawing took.
        episodes: of the oracle; then of each distractor and of a guess, without their turns.
    """

    task: Task
    seconds: float
    episodes: tuple[Episode, ...]


@dataclass(frozen=True)
class Baseline:
    """What a policy gets that is blind but knows the form.

    Attributes:
        values: of the verdicts, by difficulty; only those that are values.
        errors: verdicts that are none.
        draw_seconds: that each task took to draw.
        judge_seconds: that each verdict took.
    """

    values: tuple[tuple[float, ...], ...]
    errors: int
    draw_seconds: tuple[float, ...]
    judge_seconds: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Of all values; NaN where there is none."""
        return mean([value for values in self.values for value in values])

    @property
    def means(self) -> list[float]:
        """Of the values of each difficulty."""
        return [mean(values) for values in self.values]


def follow(category: Category, task: Task, replies: Replies, kind: str = "oracle") -> Episode:
    """Plays an episode in which exactly these replies are given, and judges it."""
    env, seen = Environment(category), [Observation(())]
    env.begin(task)

    async def run() -> None:
        for reply in replies:
            seen[0], done = await env.step(reply)
            if done:
                break

    with ThreadPoolExecutor(1) as pool:  # a notebook's own event loop runs in this thread
        pool.submit(asyncio.run, run()).result()
    rollout = env.rollout
    return Episode(kind, replies, rollout, len(rollout.turns), seen[0], judge(category, rollout))


def draw_sample(category: Category, seed: int, difficulty: int, language: str = "") -> Sample:
    """Draws a task and plays the oracle, each distractor and a guess."""
    started = time.perf_counter()
    task = make_task(category, seed, difficulty, language)
    seconds = time.perf_counter() - started
    said = [("distractor", replies) for replies in category.distractors(task)]
    said += [("guess", category.guess(task, np.random.default_rng(seed)))]
    others = (_lean(follow(category, task, replies, kind)) for kind, replies in said)
    return Sample(task, seconds, (follow(category, task, category.oracle(task)), *others))


def blind_guess(category: Category, seed: int, difficulty: int) -> tuple[Verdict, float]:
    """The verdict of a guess on a fresh task, and the seconds that drawing the task took."""
    started = time.perf_counter()
    task = make_task(category, seed, difficulty)
    seconds = time.perf_counter() - started
    replies = category.guess(task, np.random.default_rng(seed))
    return follow(category, task, replies, "guess").verdict, seconds


def mean(values: Sequence[float]) -> float:
    """The mean; NaN of nothing."""
    return sum(values) / len(values) if values else float("nan")


def _lean(episode: Episode) -> Episode:
    """Without observations: the screens of a long episode fill the memory."""
    return replace(episode, rollout=replace(episode.rollout, turns=()), last=Observation(()))
