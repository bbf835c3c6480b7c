"""Judged groups -> a batch of the trainer: advantages, rows, figures."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rl import advantages
from rl.batching import Packed
from rl.delivery import Pack
from rl.losses.settings import AlgorithmSettings
from rl.programs.rl_keep import Keep
from rl.rollout.episodes import Episode
from rl.rollout.events import SampleId
from rl.rollout.schedule_state import Group

# Further arrays of a batch, at trained tokens: the number of the source, and the policy's version
# when the batch is trained on. Steps that were not finite make versions, but are not counted by
# what the engine counts.
EXTRA = ("source", "version")


@dataclass(frozen=True)
class Built:
    """A batch on the host.

    Attributes:
        step: that it is for.
        cargo: its samples, packed by `rl.delivery`.
        ids: of its samples.
        figures: for the log.
        outline: of the cargo, for the trainer's other processes.
    """

    step: int
    cargo: Any
    ids: tuple[str, ...]
    figures: dict[str, float]
    outline: Any = None


def make_build(
    settings: AlgorithmSettings,
    pack: Pack,
    keep: Keep,
    sources: Sequence[str] = (),
) -> Callable[[int, list[Group], dict[SampleId, Episode]], Built]:
    """(step, groups, episodes) -> Built.

    Args:
        settings: of the algorithm.
        pack: of `rl.delivery.Delivery`.
        keep: told of each batch and its samples' advantages, gives figures for the log.
        sources: that the array `source` numbers from 1; other samples have 0.
    """
    numbered = {name: number for number, name in enumerate(sources, 1)}

    def build(step: int, groups: list[Group], episodes: dict[SampleId, Episode]) -> Built:
        samples = [(group, sample) for group in groups for sample in group.valid]
        rewards = np.asarray([sample.reward for _, sample in samples], np.float64)
        lengths = np.asarray([sample.num_tokens for _, sample in samples])
        compared = np.asarray([group.id for group, _ in samples])
        if settings.overlong_buffer:
            rewards = rewards + advantages.overlong_penalty(
                lengths, settings.overlong_tokens, settings.overlong_buffer
            )
        gained = advantages.per_token(
            settings.advantage, rewards, compared, lengths, settings.gamma
        )
        means = [float(np.mean(gain)) if len(gain) else 0.0 for gain in gained]
        figures = keep(step, groups, episodes, np.asarray(means))
        rows = [
            _row(episodes[sample.id], gain, numbered.get(group.source, 0), step)
            for (group, sample), gain in zip(samples, gained, strict=True)
        ]
        parcel = pack(rows)
        ids = tuple(f"{group.source}/{sample.id[0]}#{sample.id[1]}" for group, sample in samples)
        return Built(step, parcel.cargo, ids, figures | parcel.figures, parcel.outline)

    return build


def _row(episode: Episode, gains: np.ndarray, source: int, version: int) -> Packed:
    """An episode with what each of its drawn tokens gained, and EXTRA."""
    row = episode.row(0.0)
    gained = np.zeros(len(row.trained), np.float32)
    gained[row.trained] = gains
    numbers = dict(zip(EXTRA, (source, version), strict=True))
    extra = {name: np.full(len(gained), number, np.float32) for name, number in numbers.items()}
    return dataclasses.replace(row, advantages=gained, extra=extra)
