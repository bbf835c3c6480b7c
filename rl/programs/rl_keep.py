"""What is kept of every batch: its rollouts on disk, and figures of its sources."""

from pathlib import Path

import numpy as np

from rl import store
from rl.rewards.metrics import summary
from rl.rewards.statistics import Statistics
from rl.rollout.episodes import Episode
from rl.rollout.events import SampleId
from rl.rollout.schedule_state import Group
from rl.types import TrainingSample, Verdict

KEEP_FILES = 50  # of the newest batches


class Kept:
    """Writes `step_000041.jsonl` of every batch and remembers the figures of the newest."""

    def __init__(self, folder: Path, every: int = 1) -> None:
        self._folder, self._every = folder, every
        self._figures: dict[str, float] = {}

    def keep(
        self,
        step: int,
        groups: list[Group],
        episodes: dict[SampleId, Episode],
        advantages: np.ndarray,
    ) -> None:
        """Takes a batch; `advantages` of its valid samples, in order."""
        statistics = Statistics()
        items: list[store.Item] = []
        gained = iter(advantages.tolist())
        for group in groups:
            for sample in group.valid:
                episode, advantage = episodes[sample.id], next(gained)
                details = dict(sample.details or {})
                verdict = Verdict("value", sample.reward, "reward", details=details)
                statistics.add(episode.rollout, verdict, str(group.id))
                items += [episode.rollout, verdict, _row(group, episode, sample.reward, advantage)]
        self._figures = summary(statistics)
        if step % self._every == 0:
            store.write(self._folder / f"step_{step:06d}.jsonl", items)
            for old in sorted(self._folder.glob("step_*.jsonl"))[:-KEEP_FILES]:
                old.unlink()

    def figures(self) -> dict[str, float]:
        """Of the newest batch, by source and level."""
        return self._figures


def _row(group: Group, episode: Episode, reward: float | None, advantage: float) -> TrainingSample:
    row = episode.row(advantage)
    return TrainingSample(
        task_id=episode.task.id,
        source=group.source,
        group=str(group.id),
        tokens=tuple(row.document.tokens.tolist()),
        trained=tuple(row.trained.tolist()),
        logprobs=tuple(row.logprobs.tolist()),
        versions=tuple(row.versions.tolist()),
        reward=float(reward or 0.0),
        advantage=advantage,
    )
