"""Tasks and episodes of the groups that a run works on, made once each."""

import asyncio

from mmtp.data.encoded import Encoded
from rl.rollout.episodes import Episode, replay
from rl.rollout.events import SampleId
from rl.rollout.parts import Parts
from rl.rollout.schedule_state import Group, State
from rl.types import Task


class InFlight:
    """What belongs to groups that are neither trained nor dropped. Of one event loop.

    Args:
        state: of the schedule.
        parts: of the run.
    """

    def __init__(self, state: State, parts: Parts) -> None:
        self._state, self._parts = state, parts
        self._opened: dict[int, asyncio.Task[tuple[Task, Encoded]]] = {}
        self._episodes: dict[SampleId, Episode] = {}

    async def episode(self, sample: SampleId) -> Episode:
        """The sample's episode; after a restart it is played again up to where it was."""
        made, known = self._episodes.get(sample), self._state.sample(sample)
        if made is None or len(made.said) > len(known.turns):  # it begins again: partial = restart
            task, prompt = await self._task_of(sample[0])
            episode = await asyncio.to_thread(self._parts.episode, task, prompt)
            finished = len(known.results)  # the turns that the environment has acted on
            await replay(
                episode, list(zip(known.turns[:finished], known.reasons[:finished], strict=True))
            )
            self._episodes[sample] = episode
        return self._episodes[sample]

    def forget(self, group: Group) -> None:
        """The group has been trained or dropped."""
        self._opened.pop(group.id, None)
        for sample in group.samples:
            self._episodes.pop(sample.id, None)

    def _task_of(self, number: int) -> "asyncio.Task[tuple[Task, Encoded]]":
        """The group's task and prompt, made once for all of its samples."""
        if number not in self._opened:
            pick = self._state.groups[number].pick
            opening = asyncio.to_thread(self._parts.open, pick)
            self._opened[number] = asyncio.get_running_loop().create_task(opening)
        return self._opened[number]
