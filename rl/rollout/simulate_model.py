"""What a simulated run is made of beside the schedule: numbers, and what chance has in store."""

from dataclasses import dataclass, field

import numpy as np

from rl.rollout.schedule_settings import RolloutSettings
from rl.rollout.simulate_engine import EngineModel


@dataclass(frozen=True)
class Model:
    """What is simulated beside the schedule.

    Attributes:
        engine: see `EngineModel`.
        median, sigma, longest: of the lognormal lengths of replies, tokens.
        likeness: share of the variance of log lengths that samples of a prompt have in common.
        judge_median, judge_sigma: of the lognormal latency of verdicts, seconds.
        judge_errors: share of judgements that fail.
        train_tokens: tokens per second of the trainer.
        train_seconds: of a step beside its tokens.
        publish_seconds: in which engines load new weights, and decode nothing.
        sources: of which prompts are drawn in turn.
    """

    engine: EngineModel = field(default_factory=EngineModel)
    median: float = 2000.0
    sigma: float = 1.2
    longest: int = 28672
    likeness: float = 0.3
    judge_median: float = 1.0
    judge_sigma: float = 1.0
    judge_errors: float = 0.0
    train_tokens: float = 25000.0
    train_seconds: float = 1.0
    publish_seconds: float = 5.0
    sources: tuple[str, ...] = ("simulated",)


@dataclass(frozen=True)
class Prompt:
    """What chance has in store for each sample: length, latency, and whether judging fails."""

    lengths: tuple[int, ...]
    latencies: tuple[float, ...]
    fails: tuple[bool, ...]


def draw(settings: RolloutSettings, model: Model, seed: int, group: int, again: int = 0) -> Prompt:
    """What chance has in store for a group, whenever it is admitted; for another try with `again`.

    Samples of other tries are as like these as these are like each other.
    """
    common = _rng(seed, group, 0).standard_normal()
    rng = _rng(seed, group, 1 + again)
    normal = rng.standard_normal((2, settings.group_size))
    mixed = model.likeness**0.5 * common + (1 - model.likeness) ** 0.5 * normal[0]
    lengths = np.clip(model.median * np.exp(model.sigma * mixed), 1, model.longest)
    latencies = model.judge_median * np.exp(model.judge_sigma * normal[1])
    fails = rng.random(settings.group_size) < model.judge_errors
    return Prompt(
        tuple(lengths.astype(int).tolist()), tuple(latencies.tolist()), tuple(fails.tolist())
    )


def _rng(seed: int, group: int, number: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[seed, group], counter=[0, 0, 0, number]))
