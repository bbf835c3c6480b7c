"""Judged groups -> a batch of the trainer: advantages, rows, figures."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmtp.data.layout import Layout
from rl import advantages, batching
from rl.balance import Cost
from rl.batch_arrays import PackingSettings
from rl.losses.settings import AlgorithmSettings
from rl.rollout.episodes import Episode
from rl.rollout.events import SampleId
from rl.rollout.schedule_state import Group


@dataclass(frozen=True)
class Built:
    """A batch on the host.

    Attributes:
        step: that it is for.
        arrays: of `rl.batching.collate`.
        ids: of its samples.
        figures: for the log.
    """

    step: int
    arrays: dict[str, Any]
    ids: tuple[str, ...]
    figures: dict[str, float]


def make_build(
    settings: AlgorithmSettings,
    packing: PackingSettings,
    layout: Layout,
    cost: Cost,
    keep: Callable[[int, list[Group], dict[SampleId, Episode], np.ndarray], None],
) -> Callable[[int, list[Group], dict[SampleId, Episode]], Built]:
    """(step, groups, episodes) -> Built.

    Args:
        settings: of the algorithm.
        packing, layout, cost: of micro-batches.
        keep: told of each batch and its advantages, such as for the sample browser.
    """

    def build(step: int, groups: list[Group], episodes: dict[SampleId, Episode]) -> Built:
        samples = [(group, sample) for group in groups for sample in group.valid]
        rewards = np.asarray([sample.reward for _, sample in samples], np.float64)
        lengths = np.asarray([sample.num_tokens for _, sample in samples])
        numbers = np.asarray([group.id for group, _ in samples])
        if settings.overlong_buffer:
            rewards = rewards + advantages.overlong_penalty(
                lengths, settings.overlong_tokens, settings.overlong_buffer
            )
        gained = advantages.ADVANTAGES[settings.advantage](rewards, numbers, lengths)
        keep(step, groups, episodes, gained)
        rows = [
            episodes[sample.id].row(float(gain))
            for (_, sample), gain in zip(samples, gained, strict=True)
        ]
        made = batching.collate(
            rows, layout, packing.microbatches, cost=cost, ladder=packing.ladder
        )
        ids = tuple(f"{group.source}/{sample.id[0]}#{sample.id[1]}" for group, sample in samples)
        return Built(step, made["arrays"], ids, made["figures"])

    return build
