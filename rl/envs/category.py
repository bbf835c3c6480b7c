"""A category of tasks: how one is drawn, how an answer is judged, and what answers are known.

Tasks are pure functions of (category, seed, difficulty, language): the same bytes in any process.
A simulator's state is JSON and `step` is a pure function of it, so an episode can be saved, moved
to another machine and gone on with.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from mmtp.data.records import Part
from rl.answers.reply import answer_of
from rl.types import DIFFICULTIES, LANGUAGES, LEVELS, Json, Observation, Rollout, Task

Replies = tuple[str, ...]  # what a policy says, turn after turn


class Draw(NamedTuple):
    """What a task is drawn from."""

    rng: np.random.Generator
    difficulty: int
    language: str


@dataclass(frozen=True)
class Drawn:
    """What is drawn; see `rl.types.Task`.

    Attributes:
        parts: of the first observation. The last text says in which form to answer.
        reference: JSON that only the verifier sees; all that `score`, `oracle` and `distractors`
            need.
        state: JSON, of a simulator.
        tools: JSON schemas.
    """

    parts: tuple[Part, ...]
    reference: Mapping[str, Json]
    state: Mapping[str, Json] = field(default_factory=dict)
    tools: tuple[Mapping[str, Json], ...] = ()


class Step(NamedTuple):
    """What an action leads to: the new state, what is seen then, and whether it was the last."""

    state: Mapping[str, Json]
    observation: Observation
    done: bool


@dataclass(frozen=True)
class Category:
    """Functions and facts of a category.

    Attributes:
        name: key of `rl.envs.CATEGORIES`, and the tag of its tasks.
        group: of the report, §2.4: "perception", "grounding", "grounding_3d", "ocr", "charts",
            "documents", "stem", "puzzles", "video", "spatial", "gui", "visual_code", "coding",
            "tools", "critic", "instructions".
        level: one of `rl.types.LEVELS`.
        benchmark: the public benchmark that it stands for.
        scale: what grows with the difficulty, 0 … 4.
        draw: a task.
        score: (task, rollout) -> 0 … 1. Never raises for what a policy says; `Unverifiable` and
            `VerifierFailed` mean what they say.
        oracle: replies that score 1.
        distractors: replies that each score 0: near misses, and what has fooled other verifiers.
        guess: replies of a policy that is blind but knows the form.
        step: of a simulator; None = the first reply is the answer. (task, state, reply) -> Step.
        max_turns: replies at most.
    """

    name: str
    group: str
    level: str
    benchmark: str
    scale: str
    draw: Callable[[Draw], Drawn]
    score: Callable[[Task, Rollout], float]
    oracle: Callable[[Task], Replies]
    distractors: Callable[[Task], Sequence[Replies]]
    guess: Callable[[Task, np.random.Generator], Replies]
    step: Callable[[Task, Mapping[str, Json], str], Step] | None = None
    max_turns: int = 1

    def __post_init__(self) -> None:
        """Raises ValueError for a level that is not one."""
        if self.level not in LEVELS:
            raise ValueError(f"{self.name}: level = {self.level!r} is not one of {LEVELS}")


def make_task(category: Category, seed: int, difficulty: int = 0, language: str = "") -> Task:
    """Draws a task.

    Args:
        category: of it.
        seed: 0 or more.
        difficulty: one of DIFFICULTIES.
        language: one of LANGUAGES; "" = English for even seeds, Chinese for odd ones.

    Raises:
        ValueError: an argument is out of range.
    """
    if seed < 0:
        raise ValueError(f"seed = {seed} must be 0 or more")
    if difficulty not in DIFFICULTIES:
        raise ValueError(f"difficulty = {difficulty} is not one of {list(DIFFICULTIES)}")
    language = language or LANGUAGES[seed % len(LANGUAGES)]
    if language not in LANGUAGES:
        raise ValueError(f"language = {language!r} is not one of {LANGUAGES}")
    rng = np.random.default_rng((zlib.crc32(category.name.encode()), seed, difficulty))
    drawn = category.draw(Draw(rng, difficulty, language))
    return Task(
        id=f"{category.name}/{difficulty}/{seed:06d}-{language}",
        category=category.name,
        source=category.name,
        level=category.level,
        seed=seed,
        difficulty=difficulty,
        language=language,
        observation=Observation(drawn.parts),
        reference=drawn.reference,
        state=drawn.state,
        tools=drawn.tools,
        max_turns=category.max_turns,
    )


def by_answer(
    rule: Callable[[str, Mapping[str, Json]], float],
) -> Callable[[Task, Rollout], float]:
    """A score of the last reply's answer alone: 0 where it has no one answer.

    Args:
        rule: (answer, task.reference) -> 0 … 1, of `rl.rewards.rules`.
    """

    def score(task: Task, rollout: Rollout) -> float:
        answer = answer_of(rollout.reply)
        return 0.0 if answer is None else rule(answer, task.reference)

    return score
