"""What can happen in a run: facts that its parts report, and decisions of the schedule.

A decision is recorded, applied and only then carried out; a fact is recorded and applied when it is
reported. Both are frozen dataclasses with a `time`, in seconds from the run's start, that whoever
makes them gives: nothing here looks at a clock. JSON and back is exact.

    decision    answered by the fact
    Admit       Admitted, once per group
    Start       Finished; before that Progressed; or EngineDied
    Abort       Finished with the reason "abort", once per sample
    Step        Stepped
    Judge       Rewarded
    Train       Trained
    Publish     Published
    Drop        nothing: the group's rewards may inform a curriculum
"""

import typing
from dataclasses import dataclass
from typing import Any, TypeAlias

from rl.rollout.tokens import Tokens

Json = Any
SampleId: TypeAlias = tuple[int, int]  # number of the group, number within it


@dataclass(frozen=True)
class Began:
    """First of a run: its `RolloutSettings` as a dict, and the trainer's version."""

    settings: Json
    version: int
    time: float


@dataclass(frozen=True)
class Admitted:
    """A prompt was drawn. Groups are numbered from 0 in the order of admission.

    Attributes:
        group: its number.
        source: data-source tag.
        pick: whatever draws the task again; {} where nothing is needed.
        version: of the weights that the engine had when it was drawn (`State.published`).
    """

    group: int
    source: str
    pick: Json
    version: int
    time: float


@dataclass(frozen=True)
class Progressed:
    """A running request has said more.

    Attributes:
        sample, turn, attempt: of its `Start`.
        offset: tokens of this turn that were known before these.
        tokens: the ones that follow them.
    """

    sample: SampleId
    turn: int
    attempt: int
    offset: int
    tokens: Tokens
    time: float


@dataclass(frozen=True)
class Finished:
    """A request has ended: `Progressed`, and its reason: "stop", "length", "abort" or "error"."""

    sample: SampleId
    turn: int
    attempt: int
    offset: int
    tokens: Tokens
    reason: str
    time: float


@dataclass(frozen=True)
class Lost:
    """A request of an engine that died, with what it is known to have said; like `Progressed`."""

    sample: SampleId
    turn: int
    attempt: int
    offset: int
    tokens: Tokens


@dataclass(frozen=True)
class EngineDied:
    """An engine died, and with it these requests."""

    engine: str
    lost: tuple[Lost, ...]
    time: float


@dataclass(frozen=True)
class Stepped:
    """The environment has acted on a reply; `done`: the episode is over; `result`: what to keep."""

    sample: SampleId
    turn: int
    done: bool
    result: Json
    time: float


@dataclass(frozen=True)
class Rewarded:
    """A verdict on an episode.

    Attributes:
        sample, judging: of its `Judge`.
        kind: "value", "abstain" or "error".
        value: the reward; None unless kind is "value".
        details: whatever helps a reader.
    """

    sample: SampleId
    judging: int
    kind: str
    value: float | None
    details: Json
    time: float


@dataclass(frozen=True)
class Trained:
    """A trainer step is done: the trainer's version is `step + 1`."""

    step: int
    time: float


@dataclass(frozen=True)
class Published:
    """Every engine has the weights of this version, for requests that start from now on."""

    version: int
    time: float


@dataclass(frozen=True)
class Resumed:
    """The process began anew from the log; whatever was in flight is lost.

    Attributes:
        version: of the trainer's checkpoint, which must be the state's.
    """

    version: int
    time: float


@dataclass(frozen=True)
class Admit:
    """Draw so many prompts."""

    count: int
    time: float


@dataclass(frozen=True)
class Start:
    """Ask the engine for a reply, or the rest of one: after `State.sample(sample).partial`.

    Attributes:
        sample: whose.
        turn: number of the reply in the episode; at 0 the environment is at its beginning.
        attempt: number of this request among the sample's; 1 for the first.
    """

    sample: SampleId
    turn: int
    attempt: int
    time: float


@dataclass(frozen=True)
class Abort:
    """Stop these requests; the wave is over."""

    samples: tuple[SampleId, ...]
    time: float


@dataclass(frozen=True)
class Step:
    """Let the environment act on the reply of this turn."""

    sample: SampleId
    turn: int
    time: float


@dataclass(frozen=True)
class Judge:
    """Judge an episode; `judging` is 1 for the first time."""

    sample: SampleId
    judging: int
    time: float


@dataclass(frozen=True)
class Train:
    """Train on these groups, in order.

    Attributes:
        step: number of the trainer's step, and the version of the weights that it begins with.
        groups: that are trained on for the first time.
        reused: after them, that were trained on before.
    """

    step: int
    groups: tuple[int, ...]
    reused: tuple[int, ...]
    time: float


@dataclass(frozen=True)
class Publish:
    """Hand the trainer's weights to the engines."""

    version: int
    time: float


@dataclass(frozen=True)
class Drop:
    """A group ends without training: "equal", "unjudged", "abstained" or "lost"."""

    group: int
    reason: str
    time: float


Fact: TypeAlias = (
    Began
    | Admitted
    | Progressed
    | Finished
    | EngineDied
    | Stepped
    | Rewarded
    | Trained
    | Published
    | Resumed
)
Command: TypeAlias = Admit | Start | Abort | Step | Judge | Train | Publish | Drop
Event: TypeAlias = Fact | Command
COMMANDS: tuple[type, ...] = typing.get_args(Command)
