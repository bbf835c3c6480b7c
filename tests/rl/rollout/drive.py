"""A driver whose every choice comes from outside: what happens next, and how it ends."""

import dataclasses
from collections.abc import Callable

from rl.rollout.events import (
    COMMANDS,
    Admit,
    Admitted,
    Began,
    EngineDied,
    Event,
    Finished,
    Judge,
    Lost,
    Progressed,
    Publish,
    Published,
    Resumed,
    Rewarded,
    Start,
    Step,
    Stepped,
    Train,
    Trained,
)
from rl.rollout.schedule import apply, decide
from rl.rollout.schedule_checks import check_invariants
from rl.rollout.schedule_settings import RolloutSettings
from rl.rollout.schedule_state import State
from rl.rollout.tokens import Tokens

SOURCES = ("counting", "charts")


@dataclasses.dataclass
class Drive:
    """A run: its events so far, and what is under way.

    Attributes:
        choose: number of choices, what for -> which one.
        check: invariants after every event.
    """

    settings: RolloutSettings
    choose: Callable[[int, str], int]
    check: bool = True
    state: State = dataclasses.field(default_factory=State)
    events: list[Event] = dataclasses.field(default_factory=list)
    pending: list = dataclasses.field(default_factory=list)

    def begin(self) -> None:
        self.record(Began(dataclasses.asdict(self.settings), 0, 0.0))
        self.decide()

    def record(self, event: Event) -> None:
        apply(self.settings, self.state, event)
        self.events.append(event)
        if self.check:
            check_invariants(self.settings, self.state)

    def decide(self) -> None:
        while commands := decide(self.settings, self.state, self.state.time):
            for command in commands:
                assert isinstance(command, COMMANDS)
                self.record(command)
                self._carry_out(command)

    def _carry_out(self, command) -> None:
        if isinstance(command, Admit):
            self.pending += [command] * command.count
        elif isinstance(command, Start | Step | Judge | Train | Publish):
            self.pending.append(command)

    def step(self) -> bool:
        """Lets one thing that is under way end; False if nothing is."""
        if not self.pending:
            return False
        place = self.choose(len(self.pending), "which")
        if isinstance(self.pending[place], Train):  # the trainer takes one after the other
            place = next(i for i, p in enumerate(self.pending) if isinstance(p, Train))
        command = self.pending.pop(place)
        self.record(self._fact(command, self.state.time + self.choose(3, "seconds")))
        self.decide()
        return True

    def _fact(self, command, now: float):
        if isinstance(command, Admit):
            number = self.state.num_admitted
            return Admitted(number, SOURCES[number % 2], {}, self.state.published, now)
        if isinstance(command, Start):
            return self._said(command, now)
        if isinstance(command, Step):
            last = command.turn >= 2 or self.choose(3, "done") > 0
            return Stepped(command.sample, command.turn, last, None, now)
        if isinstance(command, Judge):
            kind = ("value", "value", "value", "error", "abstain")[self.choose(5, "verdict")]
            value = float(self.choose(2, "reward")) if kind == "value" else None
            return Rewarded(command.sample, command.judging, kind, value, None, now)
        if isinstance(command, Train):
            return Trained(command.step, now)
        assert isinstance(command, Publish)
        return Published(command.version, now)

    def _said(self, start: Start, now: float) -> Event:
        sample = self.state.sample(start.sample)
        tokens = Tokens.counted(self.choose(4, "tokens"), self.state.published)
        told = (start.sample, start.turn, start.attempt, sample.partial.num, tokens)
        if sample.status == "aborting" and self.choose(4, "aborted"):
            return Finished(*told, "abort", now)
        what = self.choose(10, "end")
        if what == 0:
            return EngineDied("engine", (Lost(*told),), now)
        if what == 1:
            self.pending.append(start)
            return Progressed(*told, now)
        return Finished(*told, "length" if what == 2 else "stop", now)

    def kill(self) -> None:
        """The process dies and begins again; old replies still come in, late."""
        self.pending = []
        self.record(Resumed(self.state.version, self.state.time + 1))
        self.decide()

    def late(self) -> None:
        """A reply of before comes in once more."""
        ended = [e for e in self.events if isinstance(e, Finished | Progressed)]
        if ended:
            event = ended[self.choose(len(ended), "late")]
            self.record(dataclasses.replace(event, time=self.state.time))
            self.decide()
