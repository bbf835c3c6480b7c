"""Which task comes next: levels, categories and difficulties by what can be learned from.

After GLM-4.1V's reinforcement learning with curriculum sampling (arXiv:2507.01006): an offline
estimate of each cell's pass rate p, moved online; cells that are never or always solved are rare,
as a group of equal rewards teaches nothing; and more is drawn than trained on, by the share of such
groups. A cell is a category at a difficulty; its weight is max(4 p (1 − p), floor).

    share     level's weight · category's part of its level · cell's part of its category, where a
              category weighs as much as the mean of its cells
    quotas    least and greatest shares of categories; what they give or take, others lose or gain
              in proportion
    window    shares become counts of `window` tasks, of categories by largest remainder: quotas
              hold exactly in each window. Its tasks come in random order.

All functions are pure: the state is JSON, and a run that is resumed from it draws what the
uninterrupted run would have drawn.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rl import apportion
from rl.curriculum_settings import CurriculumSettings, check, quota_of, read_offline
from rl.level_weights import LEVEL_WEIGHTS
from rl.types import LANGUAGES, Json

VERSION = 1
State = dict[str, Json]


class Pick(NamedTuple):
    """What `rl.envs.make_task` draws a task from; seeds never come twice in a run."""

    category: str
    seed: int
    difficulty: int
    language: str


def start(settings: CurriculumSettings, levels: Mapping[str, str]) -> State:
    """The state before the first task.

    Args:
        settings: checked here.
        levels: category -> its level, of all that are drawn.

    Raises:
        ConfigError: a setting is out of range; the offline file names a cell that there is not.
    """
    check(settings, levels)
    cells = [cell(name, d) for name in sorted(levels) for d in settings.difficulties]
    rates = dict.fromkeys(cells, settings.prior)
    if settings.offline:
        rates |= read_offline(settings.offline, cells)
    return {
        "version": VERSION,
        "levels": dict(sorted(levels.items())),
        "drawn": 0,
        "rates": rates,
        "groups": dict.fromkeys(cells, 0),
        "useless": 0.0,
        "plan": {},
    }


def draw(settings: CurriculumSettings, state: State, count: int) -> tuple[tuple[Pick, ...], State]:
    """The next tasks, and the state after them.

    Raises:
        ValueError: the state is another version's.
    """
    if state["version"] != VERSION:
        raise ValueError(f"a curriculum's state of version {state['version']}; this is {VERSION}")
    picks, plan, drawn = [], dict(state["plan"]), state["drawn"]
    for number in range(drawn, drawn + count):
        if not plan:
            plan = make_plan(settings, state | {"drawn": number})
        rng = np.random.default_rng((settings.seed, 1, number))
        chosen = _take(plan, int(rng.integers(sum(plan.values()))))
        category, _, difficulty = chosen.rpartition("/")
        language = LANGUAGES[int(rng.random() < settings.chinese)]
        picks.append(Pick(category, number, int(difficulty), language))
    return tuple(picks), state | {"plan": plan, "drawn": drawn + count}


def observe(
    settings: CurriculumSettings,
    state: State,
    category: str,
    difficulty: int,
    rewards: Sequence[float],
) -> State:
    """The state after a group's rewards are known; errors and abstentions are left out of them."""
    if not rewards:
        return state
    name, mean = cell(category, difficulty), math.fsum(rewards) / len(rewards)
    rate = settings.decay * state["rates"][name] + (1 - settings.decay) * mean
    useless = state["useless"]
    if len(rewards) > 1:
        equal = float(min(rewards) == max(rewards))
        useless = settings.useless_decay * useless + (1 - settings.useless_decay) * equal
    return state | {
        "rates": state["rates"] | {name: rate},
        "groups": state["groups"] | {name: state["groups"][name] + 1},
        "useless": useless,
    }


def oversampling(settings: CurriculumSettings, state: State) -> float:
    """Groups to draw per group that is to be trained on: 1 / (1 − useless share), capped."""
    left = 1 - state["useless"]
    most = settings.max_oversampling
    return min(most, 1 / left) if left > 0 else most


def cell_weights(settings: CurriculumSettings, state: State) -> dict[str, float]:
    """How much can be learned from each cell: greatest where every other attempt succeeds."""
    return {name: max(4 * p * (1 - p), settings.floor) for name, p in state["rates"].items()}


def category_shares(settings: CurriculumSettings, state: State) -> dict[str, float]:
    """Shares of categories, quotas kept."""
    cells, levels = cell_weights(settings, state), state["levels"]
    mean = {
        name: math.fsum(cells[cell(name, d)] for d in settings.difficulties)
        / len(settings.difficulties)
        for name in levels
    }
    of_levels = LEVEL_WEIGHTS[settings.level_mode](settings, state)
    sums = {
        level: math.fsum(mean[name] for name in levels if levels[name] == level)
        for level in of_levels
    }
    weights = {name: of_levels[level] * mean[name] / sums[level] for name, level in levels.items()}
    quotas = {name: quota_of(settings, name) for name in levels}
    least = {name: quota[0] for name, quota in quotas.items()}
    most = {name: quota[1] for name, quota in quotas.items()}
    return apportion.within_quotas(weights, least, most)


def make_plan(settings: CurriculumSettings, state: State) -> dict[str, int]:
    """How many tasks of each cell the next window has; cells without any are left out."""
    total, shares = settings.window, category_shares(settings, state)
    quotas = {name: quota_of(settings, name) for name in shares}
    counts = apportion.largest_remainder(
        shares,
        total,
        {name: math.ceil(low * total - 1e-9) for name, (low, _) in quotas.items()},
        {name: math.floor(high * total + 1e-9) for name, (_, high) in quotas.items()},
    )
    weights = cell_weights(settings, state)
    rng = np.random.default_rng((settings.seed, 0, state["drawn"]))
    plan: dict[str, int] = {}
    for name, count in counts.items():
        mine = {cell(name, d): weights[cell(name, d)] for d in settings.difficulties}
        plan |= apportion.systematic(mine, count, float(rng.random()))
    return {name: count for name, count in sorted(plan.items()) if count}


def cell(category: str, difficulty: int) -> str:
    """The key of a cell."""
    return f"{category}/{difficulty}"


def _take(plan: dict[str, int], place: int) -> str:
    """Takes the task at a place out of a plan."""
    ends = itertools.accumulate(plan.values())
    name = next(name for name, end in zip(plan, ends, strict=True) if place < end)
    plan[name] -= 1
    if not plan[name]:
        del plan[name]
    return name
