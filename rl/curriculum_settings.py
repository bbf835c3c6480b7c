"""`config.curriculum`: its fields, what they may be, and the file of offline estimates."""

import fnmatch
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cogvit_jax.settings import ConfigError, choose, unknown
from rl.level_weights import LEVEL_WEIGHTS
from rl.types import DIFFICULTIES, LEVELS

PATH = "config.curriculum"


@dataclass(frozen=True)
class CurriculumSettings:
    """`config.curriculum`.

    Attributes:
        seed: of all draws; `config.seed`, whatever stands here.
        difficulties: that are drawn.
        chinese: share of tasks in Chinese.
        offline: JSON file {"category/difficulty": pass rate}; "" = none.
        prior: pass rate of cells that it does not have.
        decay: of a cell's pass rate, per group: rate ← decay · rate + (1 − decay) · mean reward.
        floor: least weight of a cell, of 1 at a pass rate of ½.
        useless_decay: of the share of groups whose rewards are all equal, per group.
        max_oversampling: times as many groups as are trained on, at most.
        level_mode: one of `rl.level_weights.LEVEL_WEIGHTS`.
        levels: (level, weight at the start, weight at the end); those left out have 1, 1.
        level_tasks: tasks from start to end, in "schedule".
        mastery: pass rates of the level before between which a level opens, in "mastery".
        quotas: (category or glob, least share, greatest share); the first that fits.
        window: tasks.
    """

    seed: int = 0
    difficulties: tuple[int, ...] = tuple(DIFFICULTIES)
    chinese: float = 0.5
    offline: str = ""
    prior: float = 0.5
    decay: float = 0.9
    floor: float = 0.05
    useless_decay: float = 0.99
    max_oversampling: float = 4.0
    level_mode: str = "fixed"
    levels: tuple[tuple[str, float, float], ...] = ()
    level_tasks: int = 100_000
    mastery: tuple[float, float] = (0.3, 0.6)
    quotas: tuple[tuple[str, float, float], ...] = ()
    window: int = 1024


def check(settings: CurriculumSettings, levels: Mapping[str, str]) -> None:
    """Raises ConfigError for what cannot be, with these categories and their levels."""
    choose(LEVEL_WEIGHTS, settings.level_mode, f"{PATH}.level_mode")
    for level, *weights in settings.levels:
        choose(dict.fromkeys(LEVELS), level, f"{PATH}.levels")
        if min(weights) < 0:
            raise ConfigError(f"{PATH}.levels: weights of {level!r} must be 0 or more.")
    for name in ("chinese", "prior", "decay", "floor", "useless_decay"):
        if not 0 <= getattr(settings, name) <= 1:
            raise ConfigError(f"{PATH}.{name} = {getattr(settings, name)} must be 0 … 1.")
    for name, lowest in (
        ("window", 1),
        ("level_tasks", 1),
        ("max_oversampling", 1),
        ("floor", 1e-6),
    ):
        if getattr(settings, name) < lowest:
            raise ConfigError(
                f"{PATH}.{name} = {getattr(settings, name)} must be {lowest} or more."
            )
    if not 0 <= settings.mastery[0] < settings.mastery[1] <= 1:
        raise ConfigError(f"{PATH}.mastery = {settings.mastery} must rise within 0 … 1.")
    if not levels or not settings.difficulties or not set(settings.difficulties) <= {*DIFFICULTIES}:
        raise ConfigError(f"{PATH}: no categories, or difficulties beyond {list(DIFFICULTIES)}.")
    _check_quotas(settings, levels)


def _check_quotas(settings: CurriculumSettings, levels: Mapping[str, str]) -> None:
    for glob, least, most in settings.quotas:
        if not any(fnmatch.fnmatchcase(name, glob) for name in levels):
            raise ConfigError(unknown(f"{PATH}.quotas: {glob!r}", glob, levels))
        if not 0 <= least <= most <= 1:
            raise ConfigError(f"{PATH}.quotas: {glob!r} has {least} … {most}, of 0 … 1.")


def quota_of(settings: CurriculumSettings, category: str) -> tuple[float, float]:
    """Least and greatest share of a category."""
    fits = (q for q in settings.quotas if fnmatch.fnmatchcase(category, q[0]))
    _, least, most = next(fits, ("", 0.0, 1.0))
    return least, most


def read_offline(path: str, cells: Sequence[str]) -> dict[str, float]:
    """Pass rates from a file.

    Raises:
        ConfigError: it is not there, or has a cell or rate that cannot be.
    """
    where = f"{PATH}.offline = {path!r}"
    try:
        rates = json.loads(Path(path).read_text())
    except (OSError, ValueError) as problem:
        raise ConfigError(f"{where}: {problem}") from problem
    if not isinstance(rates, dict):
        raise ConfigError(f"{where} is no object of pass rates.")
    for name, rate in rates.items():
        if name not in cells:
            raise ConfigError(unknown(f"{where}: cell {name!r}", name, cells))
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1:
            raise ConfigError(f"{where}: {name} = {rate!r} must be 0 … 1.")
    return {name: float(rate) for name, rate in rates.items()}
