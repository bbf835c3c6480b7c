"""The state of a run's schedule: its groups and their samples, versions, waves and counts.

`schedule_json` writes and reads it. The sorted lists at its end follow from the groups.
"""

import bisect
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from rl.rollout.events import Json, SampleId
from rl.rollout.length_audit import Audit
from rl.rollout.tokens import Tokens, total

NOTHING = Tokens()
# Of a sample: where it is on its way. The last four are ends.
SAMPLE_STATUS = ("waiting", "running", "aborting", "to_step", "stepping", "to_judge", "judging")
SETTLED = ("value", "abstain", "error", "lost")
GROUP_STATUS = ("open", "ready", "dropping", "training", "spent")


class ScheduleError(ValueError):
    """An event that cannot follow on the state: the log or its writer is wrong."""


@dataclass
class Sample:
    """One episode.

    Attributes:
        id: (group, number within it).
        status: one of SAMPLE_STATUS or SETTLED.
        since: when it got that status, seconds.
        turn: replies that are finished, or the number of the one that is being made.
        attempt: requests that were made for it.
        deaths, judgings: engines that died under it, judgements that were asked for.
        turns: finished replies.
        reasons: why each of them ended.
        results: what the environment returned after each.
        partial: what is known of the reply that is not finished.
        reward: its value; None where there is none.
        details: of the last verdict.
    """

    id: SampleId
    status: str = "waiting"
    since: float = 0.0
    turn: int = 0
    attempt: int = 0
    deaths: int = 0
    judgings: int = 0
    turns: list[Tokens] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    results: list[Json] = field(default_factory=list)
    partial: Tokens = NOTHING
    reward: float | None = None
    details: Json = None

    @property
    def num_tokens(self) -> int:
        """All that it has said, the unfinished reply included."""
        return total(self.turns) + self.partial.num

    @property
    def key(self) -> tuple[bool, SampleId]:
        """Its place among those that wait: begun ones first, of those the ones admitted first."""
        return self.attempt == 0, self.id


@dataclass
class Group:
    """The samples of one prompt.

    Attributes:
        id: number in the order of admission.
        source, pick: see `Admitted`.
        version: of the engine's weights when it was admitted.
        admitted, settled: when, seconds; `settled`: all its samples were.
        status: one of GROUP_STATUS.
        reason: why it is dropped.
        uses: times that it was trained on.
        samples: in order.
    """

    id: int
    source: str
    pick: Json
    version: int
    admitted: float
    samples: list[Sample]
    settled: float = 0.0
    status: str = "open"
    reason: str = ""
    uses: int = 0

    @property
    def valid(self) -> list[Sample]:
        """Samples that have a reward, which are the ones to train on."""
        return [sample for sample in self.samples if sample.status == "value"]


@dataclass
class Batch:
    """Groups that are with the trainer; see `Train`."""

    step: int
    groups: tuple[int, ...]
    reused: tuple[int, ...]


@dataclass
class Wave:
    """Rollouts between two batches.

    Attributes:
        number: of the present or last one, from 1.
        started: seconds.
        completed: groups whose samples were all judged in it.
        open: requests may be started.
    """

    number: int = 0
    started: float = 0.0
    completed: int = 0
    open: bool = False


@dataclass
class State:
    """Where a run is. Changed by `schedule.apply` alone.

    Attributes:
        time: of the last event, seconds.
        version: trainer steps done.
        published: version of the weights that requests start with.
        publishing: weights are on their way to the engines.
        serving: the engines have had weights since the process began.
        formed: batches that were formed; the next one is trained at this version.
        admitting: prompts that were asked for and not drawn yet.
        num_admitted: groups; the next one has this number.
        equal_drops: groups dropped for equal rewards since the last batch.
        groups: that are not trained or dropped, and those that may be trained on again.
        batches: with the trainer, in order.
        wave: the present one.
        counts: name -> events or tokens so far; see `schedule_metrics`.
        dropped: reason -> groups.
        staleness: versions between admission and training -> groups.
        token_age: versions between drawing and training -> tokens.
        waits: status of samples, "ready" of groups -> [seconds in it, times, longest].
        seconds: name -> seconds; see `schedule_metrics`.
        audit: lengths per source.
        waiting, running, to_step, to_judge, ready, dropping, spent: sorted, of samples or groups.
        others: groups not yet in a batch, sorted.
        batch: groups of the next batch (new, used before) if it can be formed now.
        changed: whether `batch` has to be found anew.
    """

    time: float = 0.0
    version: int = 0
    published: int = 0
    publishing: bool = False
    serving: bool = False
    formed: int = 0
    admitting: int = 0
    num_admitted: int = 0
    equal_drops: int = 0
    groups: dict[int, Group] = field(default_factory=dict)
    batches: list[Batch] = field(default_factory=list)
    wave: Wave = field(default_factory=Wave)
    counts: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    staleness: Counter[int] = field(default_factory=Counter)
    token_age: Counter[int] = field(default_factory=Counter)
    waits: dict[str, list[float]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    audit: Audit = field(default_factory=dict)
    waiting: list[tuple[bool, SampleId]] = field(default_factory=list)
    running: list[SampleId] = field(default_factory=list)
    to_step: list[SampleId] = field(default_factory=list)
    to_judge: list[SampleId] = field(default_factory=list)
    ready: list[int] = field(default_factory=list)
    dropping: list[int] = field(default_factory=list)
    spent: list[int] = field(default_factory=list)
    others: list[int] = field(default_factory=list)
    batch: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    changed: bool = True

    def sample(self, sample: SampleId) -> Sample:
        """One sample of a group that is still held."""
        return self.groups[sample[0]].samples[sample[1]]


def insert(items: list[Any], item: Any) -> None:
    """Into a sorted list."""
    bisect.insort(items, item)


def remove(items: list[Any], item: Any) -> None:
    """From a sorted list, which has it."""
    place = bisect.bisect_left(items, item)
    assert items[place] == item
    del items[place]


def waited(state: State, name: str, seconds: float) -> None:
    """Adds to `State.waits`."""
    numbers = state.waits.setdefault(name, [0.0, 0, 0.0])
    numbers[0] += seconds
    numbers[1] += 1
    numbers[2] = max(numbers[2], seconds)


def move(state: State, sample: Sample, status: str, time: float) -> None:
    """Gives a sample another status; the sorted lists follow."""
    leave, enter = lists(state, sample.status), lists(state, status)
    if leave is not enter:
        if leave is not None:
            remove(leave, _entry(sample, sample.status))
        if enter is not None:
            insert(enter, _entry(sample, status))
    if sample.status not in SETTLED:
        waited(state, sample.status, time - sample.since)
    sample.status, sample.since = status, time


def lists(state: State, status: str) -> list[Any] | None:
    """The sorted list that holds samples of a status."""
    if status == "waiting":
        return state.waiting
    if status in ("running", "aborting"):
        return state.running
    return {"to_step": state.to_step, "to_judge": state.to_judge}.get(status)


def _entry(sample: Sample, status: str) -> Any:
    return sample.key if status == "waiting" else sample.id


def current(state: State, key: SampleId, *status: str) -> Sample | None:
    """The sample, if it is held and has one of these statuses."""
    group = state.groups.get(key[0])
    if group is None or not 0 <= key[1] < len(group.samples):
        return None
    sample = group.samples[key[1]]
    return sample if sample.status in status else None


def expect(state: State, event: object, key: SampleId, status: str) -> Sample:
    """The sample of an event.

    Raises:
        ScheduleError: it does not have this status.
    """
    sample = current(state, key, status)
    if sample is None:
        raise ScheduleError(f"{event}: the sample is not {status}")
    return sample


def must(condition: bool, event: object, why: str) -> None:
    """Raises ScheduleError unless `condition`."""
    if not condition:
        raise ScheduleError(f"{event}: {why}")
