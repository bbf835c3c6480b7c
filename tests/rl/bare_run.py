"""A run of reinforcement learning without a model: driver, schedule, log and episodes are real.

Who calls it brings tasks, an engine, a judge and batches, and counts as the trainer.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from mmtp.data.encoded import Encoded
from rl.envs import CATEGORIES
from rl.programs.rl_parts import open_log
from rl.programs.rl_run import Plan, Run
from rl.programs.rl_tasks import task_of
from rl.prompts import Encoder
from rl.rollout.episodes import Episode
from rl.rollout.parts import Parts
from rl.rollout.sampling import SamplingSettings
from rl.rollout.schedule_settings import RolloutSettings
from rl.spans import Spans
from rl.types import Task


def bare_parts(encoder: Encoder, max_length: int, **own: Any) -> Parts:
    """Parts that play tasks of the gym and record nothing.

    Args:
        encoder: of the prompts.
        max_length: of prompt and reply, in tokens.
        **own: the other fields of `Parts`; "draw", "engine", "judge" and "build" at least.
    """

    def open_task(pick: Any) -> tuple[Task, Encoded]:
        task = task_of(pick)
        return task, encoder.first(task)

    def episode(task: Task, prompt: Encoded) -> Episode:
        return Episode(CATEGORIES[task.category], task, prompt, encoder, max_length)

    async def close() -> None:
        """Nothing to end."""

    nothing: dict[str, Any] = {
        "announce": lambda step: None,
        "settled": lambda group: None,
        "record": lambda event: None,
        "close": close,
    }
    return Parts(**{"open": open_task, "episode": episode, **nothing, **own})


def bare_run(
    folder: Path,
    settings: RolloutSettings,
    sampling: SamplingSettings,
    parts: Callable[[Any], tuple[Parts, Callable[[], Any]]],
    seed: int = 0,
) -> Run:
    """A run that trains nothing: batches stay where they are, and parameters as they are given.

    Args:
        folder: of the event log, events.jsonl.
        settings, sampling, parts, seed: see `Plan`.
    """
    plan = Plan(
        settings=settings,
        sampling=sampling,
        seed=seed,
        parts=parts,
        log=partial(open_log, folder / "events.jsonl"),
        put=lambda cargo, outline: (cargo, {}),
        score=lambda params, batch: jnp.zeros(()),
        recompute=False,
        residents=lambda params: {},
        inspect=lambda built, params, arrays: {},
        publish=lambda version, params: params,
        leave=lambda: None,
        spans=Spans(),
        save_spans=lambda: None,
    )
    return Run(plan)
