"""What is measured of a category: samples, the random baseline, times."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rl.envs.category import Category, make_task
from rl.types import DIFFICULTIES, Json
from rl.viewing.episodes import Baseline, Sample, blind_guess, draw_sample, follow, mean

KINDS = ("oracle", "distractor", "guess")
FIRST_GUESS = 1000  # seed; the samples have the seeds before


@dataclass(frozen=True)
class Measured:
    """A category with its samples and figures.

    Attributes:
        category: that was measured.
        samples: may be let go of once they are written: they hold pictures.
        expected: kind of episode -> how many had the verdict they should have, of how many.
        baseline: of blind guesses.
    """

    category: Category
    samples: tuple[Sample, ...]
    expected: Mapping[str, tuple[int, int]]
    baseline: Baseline

    @property
    def draw_ms(self) -> float:
        """Mean time that a task took to draw."""
        return 1000 * mean(self.baseline.draw_seconds)

    @property
    def judge_ms(self) -> float:
        """Mean time that the verdict on a guess took."""
        return 1000 * mean(self.baseline.judge_seconds)

    @property
    def unexpected(self) -> int:
        """Verdicts that are not what they should be."""
        return sum(of - right for right, of in self.expected.values()) + self.baseline.errors


def steps(seeds: int, guesses: int) -> int:
    """How often `measure` calls `tick`."""
    return seeds * len(DIFFICULTIES) + guesses


def measure(
    category: Category, seeds: int, guesses: int, tick: Callable[[], object] = lambda: None
) -> Measured:
    """Draws samples of every difficulty, and lets a blind policy guess on tasks of all of them.

    Args:
        category: what to measure.
        seeds: samples of each difficulty.
        guesses: spread evenly over the difficulties, each on a task of its own.
        tick: called after each of them.
    """
    warm(category)
    drawn = tuple(_samples(category, seeds, tick))
    tally = {kind: _tally(drawn, kind) for kind in KINDS}
    return Measured(category, drawn, tally, random_baseline(category, guesses, tick))


def random_baseline(
    category: Category, guesses: int, tick: Callable[[], object] = lambda: None
) -> Baseline:
    """What blind guesses get, spread evenly over the difficulties, each on a task of its own."""
    warm(category)
    values: list[list[float]] = [[] for _ in DIFFICULTIES]
    drawing, judging, errors = [], [], 0
    for i in range(guesses):
        difficulty = DIFFICULTIES[i % len(DIFFICULTIES)]
        verdict, seconds = blind_guess(category, FIRST_GUESS + i // len(DIFFICULTIES), difficulty)
        drawing.append(seconds)
        judging.append(verdict.seconds)
        if verdict.value is None:
            errors += 1
        else:
            values[difficulty].append(verdict.value)
        tick()
    return Baseline(tuple(map(tuple, values)), errors, tuple(drawing), tuple(judging))


def warm(category: Category) -> None:
    """Draws and judges once, so that what is imported and started then is not timed."""
    task = make_task(category, FIRST_GUESS - 1)
    follow(category, task, category.oracle(task))


def figures(found: Sequence[Measured], seeds: int, guesses: int) -> Json:
    """All figures as JSON; what no guess was made for is None."""
    return {
        "version": 1,
        "seeds": seeds,
        "guesses": guesses,
        "categories": {one.category.name: _figures(one) for one in found},
    }


def _figures(one: Measured) -> Json:
    category = one.category
    return {
        "group": category.group,
        "level": category.level,
        "benchmark": category.benchmark,
        "scale": category.scale,
        "max_turns": category.max_turns,
        "random_mean": _number(one.baseline.mean),
        "random_mean_by_difficulty": [_number(value) for value in one.baseline.means],
        "random_errors": one.baseline.errors,
        "draw_ms": one.draw_ms,
        "judge_ms": one.judge_ms,
        "as_expected": {kind: {"count": n, "of": of} for kind, (n, of) in one.expected.items()},
    }


def _samples(category: Category, seeds: int, tick: Callable[[], object]) -> Iterator[Sample]:
    for difficulty in DIFFICULTIES:
        for seed in range(seeds):
            yield draw_sample(category, seed, difficulty)
            tick()


def _tally(samples: Sequence[Sample], kind: str) -> tuple[int, int]:
    found = [e.expected for sample in samples for e in sample.episodes if e.kind == kind]
    return sum(found), len(found)


def _number(value: float) -> float | None:
    return None if value != value else round(value, 6)
