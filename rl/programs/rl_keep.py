"""What is kept of every batch: its rollouts on disk, and figures of its sources."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from rl import metrics, store
from rl.rollout.episodes import Episode
from rl.rollout.events import SampleId
from rl.rollout.schedule_state import Group, Sample
from rl.types import TrainingSample, Verdict

KEEP_FILES = 50  # of the newest batches


Keep = Callable[[int, list[Group], dict[SampleId, Episode], np.ndarray], dict[str, float]]


def make_keep(folder: Path) -> Keep:
    """(step, groups, episodes, advantages of its valid samples in order) -> figures of the batch.

    Writes `step_000041.jsonl` of every batch into the folder; figures are those of `rl.metrics`.
    """

    def keep(
        step: int,
        groups: list[Group],
        episodes: dict[SampleId, Episode],
        advantages: np.ndarray,
    ) -> dict[str, float]:
        items: list[store.Item] = []
        gained = iter(advantages.tolist())
        for group in groups:
            for sample in group.valid:
                episode = episodes[sample.id]
                verdict = Verdict("value", sample.reward, "reward", details=sample.details or {})
                items += [episode.rollout, verdict, _row(group, episode, sample, next(gained))]
        store.write(folder / f"step_{step:06d}.jsonl", items)
        for old in sorted(folder.glob("step_*.jsonl"))[:-KEEP_FILES]:
            store.remove(old)
        return metrics.measure(_rows(step, groups))

    return keep


def _rows(step: int, groups: list[Group]) -> metrics.Rows:
    """All samples of the groups, those without a reward too."""
    pairs = [(group, sample) for group in groups for sample in group.samples]
    rewards = [np.nan if s.reward is None else s.reward for _, s in pairs]
    return metrics.Rows(
        sources=[group.source for group, _ in pairs],
        groups=[str(group.id) for group, _ in pairs],
        rewards=np.asarray(rewards, np.float64),
        lengths=np.asarray([s.num_tokens for _, s in pairs]),
        truncated=np.asarray(["length" in s.reasons for _, s in pairs]),
        staleness=np.asarray([step - _oldest(group, s) for group, s in pairs]),
    )


def _oldest(group: Group, sample: Sample) -> int:
    """Version of the sample's oldest token."""
    versions = [version for turn in sample.turns for version, _ in turn.versions]
    return min(versions, default=group.version)


def _row(group: Group, episode: Episode, sample: Sample, advantage: float) -> TrainingSample:
    row = episode.row(advantage)
    return TrainingSample(
        task_id=episode.task.id,
        source=group.source,
        group=str(group.id),
        tokens=tuple(row.document.tokens.tolist()),
        trained=tuple(row.trained.tolist()),
        logprobs=tuple(row.logprobs.tolist()),
        versions=tuple(row.versions.tolist()),
        reward=float(sample.reward or 0.0),
        advantage=advantage,
    )
