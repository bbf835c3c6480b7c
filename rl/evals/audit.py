"""An audit of a category: are right replies right, and wrong ones and hostile ones worth nothing?

    audit(CATEGORIES["maze"], range(200)) -> Report

Seed s is drawn at difficulty s mod 5, even seeds in English and odd ones in Chinese, so ten seeds
in a row see every pair of them.
"""

import hashlib
import json
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from mmtp.data.records import Text, Video
from rl.envs.category import Category, Replies, make_task
from rl.envs.environment import judge, play
from rl.evals.excuses import excuse
from rl.evals.hostile import Attack, attacks
from rl.evals.hostile_texts import CANARY
from rl.types import DIFFICULTIES, Action, Observation, Rollout, Task, Turn, Verdict

SLOW = 1.0  # seconds of our processor: a verdict that takes longer is named
STALLED = 60.0  # seconds, those of other processes and of waiting for a busy machine too
Z = 1.96  # of an interval of 95 %


class Interval(NamedTuple):
    """A mean, and the interval of 95 % around it."""

    mean: float
    low: float
    high: float


@dataclass
class Report:
    """What was found; see `audit`.

    Attributes:
        name: of the category.
        tasks: how many were drawn.
        oracle: the least value of a known right reply; to be 1.
        distractors, hostile: how many were tried.
        accepted: task, name of the trick, and value, of each wrong reply that was paid.
        excused: why hostile replies were paid rightly -> how often.
        kinds: of all verdicts -> how many; to be values only.
        problems: errors and slow verdicts, in words.
        guesses: of a blind policy, one value each.
        draw_seconds, verdict_seconds: in all.
        verdicts: how many were timed.
        slowest: seconds of our processor, and the reply that took them.
        digest: SHA-256 of all tasks, in order.
    """

    name: str
    tasks: int = 0
    oracle: float = 1.0
    distractors: int = 0
    hostile: int = 0
    accepted: list[tuple[str, str, float]] = field(default_factory=list)
    excused: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    guesses: list[float] = field(default_factory=list)
    draw_seconds: float = 0.0
    verdict_seconds: float = 0.0
    verdicts: int = 0
    slowest: tuple[float, str] = (0.0, "")
    digest: str = ""

    @property
    def baseline(self) -> Interval:
        """Of the guesses."""
        return interval(self.guesses)

    @property
    def fine(self) -> bool:
        """Whether all is as it should be."""
        return self.oracle == 1 and not self.accepted and not self.problems


def audit(
    category: Category,
    seeds: Iterable[int],
    hostile: Callable[[Category, Task], Iterable[Attack]] = attacks,
    guesses: int = 1,
) -> Report:
    """Draws tasks and tries on each its right replies, the wrong ones, guesses, and hostile ones.

    Args:
        category: to audit.
        seeds: of the tasks.
        hostile: those to try; see `rl.evals.hostile`.
        guesses: of each task.
    """
    os.environ.pop(CANARY, None)
    report = Report(category.name)
    sha = hashlib.sha256()
    for seed in seeds:
        started = time.perf_counter()
        task = draw(category, seed)
        report.draw_seconds += time.perf_counter() - started
        report.tasks += 1
        for piece in task_bytes(task):
            sha.update(piece)
        _known(report, category, task, guesses)
        _hostile(report, category, task, hostile(category, task))
    report.digest = sha.hexdigest()
    if os.environ.pop(CANARY, None):
        report.problems.append("code in a hostile reply was run")
    return report


def draw(category: Category, seed: int) -> Task:
    """The task of a seed, at difficulty seed mod 5."""
    return make_task(category, seed, DIFFICULTIES[seed % len(DIFFICULTIES)])


def task_bytes(task: Task) -> Iterator[bytes]:
    """All that a task is, pixels too; equal tasks have equal bytes."""
    facts = (task.id, task.level, task.reference, task.state, task.tools, task.max_turns)
    yield json.dumps(facts, ensure_ascii=False).encode()
    for part in task.observation.parts:
        if isinstance(part, Text):
            yield b"text" + part.text.encode()
            continue
        for frame in part.frames if isinstance(part, Video) else (part.data,):
            if isinstance(frame, bytes):
                yield b"file" + frame
            else:
                yield repr((frame.shape, str(frame.dtype))).encode()
                yield np.ascontiguousarray(frame).tobytes()


def digest(category: Category, seeds: Iterable[int]) -> tuple[str, float]:
    """SHA-256 of tasks, and the seconds of our processor that it took to draw them."""
    sha, seconds = hashlib.sha256(), 0.0
    for seed in seeds:
        started = time.thread_time()
        task = draw(category, seed)
        seconds += time.thread_time() - started
        for piece in task_bytes(task):
            sha.update(piece)
    return sha.hexdigest(), seconds


def interval(values: Sequence[float]) -> Interval:
    """Mean and interval: Wilson's where all values are 0 or 1, else of a normal distribution."""
    count = len(values)
    if not count:
        return Interval(math.nan, 0.0, 1.0)
    mean = math.fsum(values) / count
    if all(value in (0, 1) for value in values):
        middle = (mean + Z * Z / (2 * count)) / (1 + Z * Z / count)
        half = Z * math.sqrt(mean * (1 - mean) / count + (Z / (2 * count)) ** 2)
        half /= 1 + Z * Z / count
    else:
        middle, half = mean, Z * float(np.std(values, ddof=1)) / math.sqrt(count)
    return Interval(mean, max(0.0, middle - half), min(1.0, middle + half))


def _known(report: Report, category: Category, task: Task, guesses: int) -> None:
    """Right replies, known wrong ones, and guesses."""
    value = _judged(report, category, episode(category, task, category.oracle(task)), "oracle")
    report.oracle = min(report.oracle, -1.0 if value is None else value)
    for number, replies in enumerate(category.distractors(task)):
        report.distractors += 1
        value = _judged(report, category, episode(category, task, replies), f"distractor {number}")
        if value:
            report.accepted.append((task.id, f"distractor {number}", value))
    for number in range(guesses):
        replies = category.guess(task, np.random.default_rng((task.seed, number)))
        value = _judged(report, category, episode(category, task, replies), "guess")
        report.guesses.append(value or 0.0)


def _hostile(report: Report, category: Category, task: Task, tried: Iterable[Attack]) -> None:
    """Each as the only reply; in episodes of several turns also as the last of a good one."""
    start = Rollout(task, (), task.state, ended="")
    begun = start
    if category.step is not None:
        begun = replace(play(category, task, category.oracle(task)[:-1]), ended="")
    for attack in tried:
        befores = (start,) if begun.turns == () else (begun,) if attack.holds else (start, begun)
        for before in befores:
            report.hostile += 1
            rollout = go_on(category, before, attack.reply)
            value = _judged(report, category, rollout, attack.name)
            if value:
                reason = excuse(category, task, attack, value)
                if reason:
                    report.excused[reason] += 1
                else:
                    report.accepted.append((task.id, attack.name, value))


def episode(category: Category, task: Task, replies: Replies) -> Rollout:
    """What `play` gives, at once where a task has one turn only."""
    if category.step is not None or len(replies) != 1:
        return play(category, task, replies)
    return go_on(category, Rollout(task, (), task.state, ended=""), replies[0])


def go_on(category: Category, before: Rollout, reply: str) -> Rollout:
    """One more turn of an episode, and its end."""
    task, state = before.task, before.state
    seen = task.observation if not before.turns else Observation((), role="observation")
    turns = (*before.turns, Turn(seen, Action(reply)))
    done = True
    if category.step is not None:
        state, _, done = category.step(task, state, reply)
    return Rollout(task, turns, state, ended="done" if done else "turns")


def _judged(report: Report, category: Category, rollout: Rollout, what: str) -> float | None:
    verdict, ours, waited = _timed(category, rollout)
    if ours > SLOW or waited > STALLED:
        # A busy machine's clocks jump: a verdict is slow that is slow again.
        _, *again = _timed(category, rollout)
        ours, waited = min(ours, again[0]), min(waited, again[1])
    report.verdicts += 1
    report.verdict_seconds += waited
    report.kinds[verdict.kind] += 1
    where = f"{rollout.task.id}, {what}"
    report.slowest = max(report.slowest, (ours, where))
    if verdict.kind != "value":
        report.problems.append(f"{where}: {verdict.kind}: {verdict.reason[:200]}")
    if ours > SLOW or waited > STALLED:
        report.problems.append(f"{where}: {ours:.1f} s of processor, {waited:.1f} s")
    return verdict.value


def _timed(category: Category, rollout: Rollout) -> tuple[Verdict, float, float]:
    """A verdict, the seconds of our processor that it took, and those of the clock."""
    started = time.thread_time()
    verdict = judge(category, rollout)
    return verdict, time.thread_time() - started, verdict.seconds
