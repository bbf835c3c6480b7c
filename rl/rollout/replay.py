"""A run again from its log: its state at any event, and whether the log is consistent.

python -c "from rl.rollout import replay; print(replay.verify('runs/rl/rollouts/events.jsonl'))"
"""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cogvit_jax.settings import read as read_settings
from rl.rollout.event_log import read
from rl.rollout.events import COMMANDS, Began, Event
from rl.rollout.schedule import apply, decide
from rl.rollout.schedule_settings import PATH, RolloutSettings
from rl.rollout.schedule_state import ScheduleError, State


@dataclasses.dataclass(frozen=True)
class Verified:
    """What a consistent log holds.

    Attributes:
        num_events, num_decisions: of them.
        state: after the last.
    """

    num_events: int
    num_decisions: int
    state: State


def settings_of(events: Sequence[Event]) -> RolloutSettings:
    """The settings that a run began with.

    Raises:
        ScheduleError: it has no beginning.
    """
    if not events or not isinstance(events[0], Began):
        raise ScheduleError("a log begins with Began")
    return read_settings(RolloutSettings, events[0].settings, PATH)


def began(settings: RolloutSettings, version: int, time: float = 0.0) -> Began:
    """The first event of a run."""
    return Began(dataclasses.asdict(settings), version, time)


def fold(settings: RolloutSettings, events: Iterable[Event], state: State | None = None) -> State:
    """The state after these events, from the beginning or from a state, which is changed.

    Raises:
        ScheduleError: an event cannot follow.
    """
    state = State() if state is None else state
    for event in events:
        apply(settings, state, event)
    return state


def verify(log: str | Path | Sequence[Event]) -> Verified:
    """Folds a log, and checks that each decision in it is what the state demanded at that time.

    Decisions need not be carried out at once: a log that ends, or a process that is killed, before
    all of them were, is consistent.

    Raises:
        LogError: the file is damaged.
        ScheduleError: an event cannot follow, or a decision is not the schedule's; names its place.
    """
    events = read(log).events if isinstance(log, str | Path) else log
    settings, state = settings_of(events), State()
    due: set[Any] = set()
    decisions = 0
    for number, event in enumerate(events):
        if isinstance(event, COMMANDS):
            if event not in due:
                due = set(decide(settings, state, event.time))
            if event not in due:
                raise ScheduleError(f"event {number}: {event} is not what the schedule says")
            due.remove(event)
            decisions += 1
        else:
            due = set()
        try:
            apply(settings, state, event)
        except ScheduleError as error:
            raise ScheduleError(f"event {number}: {error}") from error
    return Verified(len(events), decisions, state)
