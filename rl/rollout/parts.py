"""What a run's rollouts are made of: tasks, episodes, an engine, rewards, batches, a log."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from mmtp.data.encoded import Encoded
from rl.rollout.episodes import Episode
from rl.rollout.events import Command, Fact, SampleId
from rl.rollout.protocol import RolloutEngine
from rl.rollout.schedule_state import Group
from rl.types import Rollout, Task, Verdict


@dataclass(frozen=True)
class Parts:
    """What the driver does not know how to do itself.

    Attributes:
        draw: number of prompts -> as many picks (JSON).
        open: pick -> its task and its prompt; in a thread.
        episode: (task, prompt) -> an episode at its beginning; in a thread.
        engine: makes the rollout engine, given (version, parameters), as `RolloutEngine.publish`
            takes them; it mends itself (`rl.rollout.pool`).
        close: what is to be closed besides the engine, at the end.
        judge: an episode -> its verdict.
        build: (step, groups, episodes) -> a batch for the trainer, any object; in a thread.
        announce: called with the step when its batch has been decided, before it is built.
        settled: called with a group when it is trained or dropped, for a curriculum.
        record: writes events to the log.
    """

    draw: Callable[[int], list[Any]]
    open: Callable[[Any], tuple[Task, Encoded]]
    episode: Callable[[Task, Encoded], Episode]
    engine: Callable[[int, Any], RolloutEngine]
    close: Callable[[], Awaitable[None]]
    judge: Callable[[Rollout], Awaitable[Verdict]]
    build: Callable[[int, list[Group], dict[SampleId, Episode]], Any]
    announce: Callable[[int], None]
    settled: Callable[[Group], None]
    record: Callable[[Fact | Command], None]
