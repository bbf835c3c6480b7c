"""Held-out tasks played with the policy that is trained, and with pictures taken from it."""

import asyncio
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cogvit_jax import plots, settings
from cogvit_jax.data.assets import FONT_PATH
from cogvit_jax.data.transforms import decode_image
from cogvit_jax.program import Evaluator
from cogvit_jax.settings import ConfigError
from mmtp.data.encoded import Encoded
from mmtp.data.records import Image, Text
from mmtp.evals.heldout import spread
from mmtp.programs.vlm_statistics import with_router_bias
from rl.counterfactual import blanked
from rl.envs import CATEGORIES
from rl.lead import ALONE, Lead
from rl.programs.rl_engines import make_engine, to_engine
from rl.programs.rl_settings import Read
from rl.programs.rl_tasks import EVALUATED, TaskSettings, chosen, held_out
from rl.rewards import reward_settings
from rl.rewards.system import RewardSystem
from rl.rollout.playing import play_all
from rl.types import Rollout, Task, Verdict


@dataclass(frozen=True)
class EvalSettings:
    """`config.evals`.

    Attributes:
        tasks: of each category, held out: their seeds are far from those that are trained on.
        temperature: of the replies; 0 = greedy.
        blank: the same tasks with all pictures grey, too: what can be had without looking.
        shown: replies in a picture; 0 = none.
        categories: names or globs that are asked, whether they are trained on or not; () = those
            that are.
    """

    tasks: int = 64
    temperature: float = 1.0
    blank: bool = True
    shown: int = 24
    categories: tuple[str, ...] = ()


def make_evaluators(found: Read, lead: Lead = ALONE) -> dict[str, Evaluator]:
    """`heldout` and `blank`, each with `reward` and `reward/CATEGORY`."""
    options = settings.read(EvalSettings, found.config.evals, "config.evals")
    if options.temperature < 0 or options.tasks < 0:
        raise ConfigError(
            f"config.evals.temperature = {options.temperature} and tasks = {options.tasks} must be "
            "0 or more."
        )
    if not options.tasks:
        return {}
    chosen(TaskSettings(options.categories), EVALUATED)  # refused now rather than later
    tasks = functools.cache(lambda: held_out(found.config, options.tasks, options.categories))
    evaluators = {"heldout": make_evaluator(found, options, tasks, lambda prompt: prompt, lead)}
    if options.blank:

        def seen() -> list[Task]:
            return [task for task in tasks() if pictures_of(task)]

        evaluators["blank"] = make_evaluator(found, options, seen, blanked, lead)
    return evaluators


def make_evaluator(
    found: Read,
    options: EvalSettings,
    tasks: Callable[[], Sequence[Task]],
    change: Callable[[Encoded], Encoded],
    lead: Lead = ALONE,
) -> Evaluator:
    """params -> mean rewards of these tasks, which are drawn when they are needed.

    Of several processes the first one plays, and the others get nothing.
    """

    def evaluate(params: Any) -> dict[str, Any]:
        weights = {name: value for name, value in params.items() if name != "statistics"}
        given = to_engine(found, with_router_bias(weights, params.get("statistics")))
        return lead.do(lambda: measure(given)) or {}

    def measure(given: Any) -> dict[str, Any]:
        played = asyncio.run(_play(found, options, tasks(), change, given))
        by_source: dict[str, list[float]] = {}
        for rollout, verdict in played:
            if verdict.value is not None:
                by_source.setdefault(rollout.task.source, []).append(verdict.value)
        means = {f"reward/{name}": float(np.mean(v)) for name, v in sorted(by_source.items())}
        shown = {"replies": panel(played, options.shown)} if options.shown else {}
        return {"reward": float(np.mean(list(means.values() or [0.0])))} | means | shown

    return evaluate


async def _play(
    found: Read,
    options: EvalSettings,
    tasks: Sequence[Task],
    change: Callable[[Encoded], Encoded],
    given: Any,
) -> "_Played":
    engine = make_engine(found, 0, given)
    rewards = RewardSystem(reward_settings.read(found.config.rewards, "config.rewards"))
    sampling = replace(found.sampling, temperature=options.temperature)
    pairs = [(CATEGORIES[task.category], task) for task in tasks]
    try:
        return _Played(
            await play_all(pairs, found.encoder, engine, sampling, rewards.score, 0, change)
        )
    finally:
        await engine.close()
        await rewards.close()


class _Played(list[tuple[Rollout, Verdict]]):
    """Has a short repr: asyncio (3.11) spells out what its main task gave, pictures too."""

    def __repr__(self) -> str:
        return f"{len(self)} rollouts"


def panel(played: Sequence[tuple[Rollout, Verdict]], num_shown: int) -> np.ndarray:
    """First pictures, questions, and replies with their rewards, evenly spread over the tasks."""
    seen = [(r, v) for r, v in played if pictures_of(r.task)]
    pictures, captions = [], []
    for place in spread(len(seen), num_shown):
        rollout, verdict = seen[place]
        parts = rollout.task.observation.parts
        question = " ".join(part.text for part in parts if isinstance(part, Text))
        worth = "none" if verdict.value is None else f"{verdict.value:.2f}"
        said = " ".join(rollout.reply.replace("\ufffd", "?").split())
        pictures.append(pictures_of(rollout.task)[0])
        captions.append([(question, False), (f"> {said} = {worth}", verdict.value == 1)])
    if not pictures:
        return np.full((64, 64, 3), 255, np.uint8)
    return plots.caption_grid(pictures, captions, FONT_PATH, columns=6)


def pictures_of(task: Task) -> list[np.ndarray]:
    """Pictures and first frames of what is seen first."""
    shown = [p for p in task.observation.parts if not isinstance(p, Text)]
    return [decode_image(p.data if isinstance(p, Image) else p.frames[0]) for p in shown]
