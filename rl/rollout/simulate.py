"""Runs on a virtual clock: the real schedule with models of engines, judges and a trainer.

    result = simulate(RolloutSettings(max_staleness=2, num_steps=20), Model(), seed=0)

Nothing is generated: replies have lengths, requests take the time that `simulate_engine` says. The
same settings, model and seed give the same events to the last bit.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rl.rollout.events import (
    Abort,
    Admit,
    Admitted,
    Command,
    Event,
    Finished,
    Judge,
    Publish,
    Published,
    Rewarded,
    SampleId,
    Start,
    Step,
    Stepped,
    Train,
    Trained,
)
from rl.rollout.replay import began
from rl.rollout.schedule import apply, decide, finished, next_deadline
from rl.rollout.schedule_settings import RolloutSettings, check
from rl.rollout.schedule_state import State
from rl.rollout.simulate_engine import Engine, Request
from rl.rollout.simulate_model import Model, Prompt, draw
from rl.rollout.tokens import Tokens


@dataclass
class Timeline:
    """What a report needs.

    Attributes:
        steps, publications: (start, end), seconds.
        running: (time, requests that run) at each change.
        aborts: seconds.
        batches: groups of each step, and how many had been admitted by then.
    """

    steps: list[tuple[float, float]] = field(default_factory=list)
    publications: list[tuple[float, float]] = field(default_factory=list)
    running: list[tuple[float, int]] = field(default_factory=list)
    aborts: list[float] = field(default_factory=list)
    batches: list[tuple[tuple[int, ...], int]] = field(default_factory=list)


@dataclass
class Simulation:
    """A run under way; `simulate` runs one to its end.

    Attributes:
        queue: (time, order, what happens then).
        prompts: group -> what chance has in store.
        places: sample -> its engine.
        changed: engines whose next end has to be found again.
        checks: engine -> number of its latest check, which makes earlier ones void.
    """

    settings: RolloutSettings
    model: Model
    seed: int
    record: Callable[[Event], Any]
    state: State = field(default_factory=State)
    now: float = 0.0
    engines: list[Engine] = field(default_factory=list)
    queue: list[tuple[float, int, Any]] = field(default_factory=list)
    order: int = 0
    prompts: dict[int, Prompt] = field(default_factory=dict)
    places: dict[SampleId, int] = field(default_factory=dict)
    changed: set[int] = field(default_factory=set)
    checks: dict[int, int] = field(default_factory=dict)
    timeline: Timeline = field(default_factory=Timeline)

    def take(self, event: Event) -> None:
        """Records and applies."""
        self.record(event)
        apply(self.settings, self.state, event)
        running = self.timeline.running
        if not running or running[-1][1] != len(self.state.running):
            running.append((self.now, len(self.state.running)))

    def later(self, seconds: float, what: Any) -> None:
        """Puts a fact, or an engine to look at, into the queue."""
        heapq.heappush(self.queue, (self.now + seconds, self.order, what))
        self.order += 1


def simulate(
    settings: RolloutSettings,
    model: Model,
    seed: int = 0,
    record: Callable[[Event], Any] = lambda _: None,
) -> Simulation:
    """Runs `settings.num_steps` trainer steps; `record` gets every event.

    Raises:
        ConfigError: settings that cannot be, or a run without end.
        RuntimeError: nothing can happen any more, which would be an error of the schedule.
    """
    check(settings)
    if not settings.num_steps:
        raise ValueError("num_steps = 0: a simulation needs an end")
    run = Simulation(settings, model, seed, record)
    run.engines = [Engine(model.engine) for _ in range(model.engine.num_engines)]
    run.take(began(settings, 0))
    while True:
        _decide(run)
        if finished(settings, run.state):
            return run
        _wait(run)


def _decide(run: Simulation) -> None:
    while commands := decide(run.settings, run.state, run.now):
        for command in commands:
            run.take(command)
            CARRY_OUT[type(command)](run, command)
    for number in sorted(run.changed):
        end = run.engines[number].next_end()
        run.checks[number] = run.checks.get(number, 0) + 1
        if end is not None:
            run.later(max(0.0, end - run.now), (number, run.checks[number]))
    run.changed.clear()


def _wait(run: Simulation) -> None:
    """Until something happens."""
    deadline = next_deadline(run.settings, run.state)
    if deadline is not None and deadline > run.now and run.queue and deadline < run.queue[0][0]:
        run.now = deadline
        return
    if not run.queue:
        raise RuntimeError(f"nothing can happen any more at {run.now} s")
    run.now, _, what = heapq.heappop(run.queue)
    if isinstance(what, tuple):
        _look(run, *what)
    else:
        run.take(_dated(run, what))


def _look(run: Simulation, number: int, check: int) -> None:
    """At an engine some of whose requests may have ended."""
    if run.checks[number] != check:
        return
    run.changed.add(number)
    for request, tokens in run.engines[number].finish(run.now):
        del run.places[request.sample]
        key = (request.sample, request.turn, request.attempt, request.before)
        run.take(Finished(*key, tokens, "stop", run.now))


def _dated(run: Simulation, what: Callable[[float], Event]) -> Event:
    event = what(run.now)
    if isinstance(event, Trained):
        begin = run.timeline.steps.pop()[0]
        run.timeline.steps.append((begin, run.now))
    if isinstance(event, Published):
        run.timeline.publications[-1] = (run.timeline.publications[-1][0], run.now)
        _update(run, event)
    return event


def _update(run: Simulation, event: Published) -> None:
    if run.model.engine.running == "finish":
        return
    recompute = {"continue": False, "recompute": True}[run.model.engine.running]
    for number, engine in enumerate(run.engines):
        engine.update(run.now, event.version, recompute)
        run.changed.add(number)


def _admit(run: Simulation, command: Admit) -> None:
    first, sources = run.state.num_admitted, run.model.sources
    for group in range(first, first + command.count):
        run.prompts[group] = draw(run.settings, run.model, run.seed, group)
        source = sources[group % len(sources)]
        run.take(Admitted(group, source, {}, run.state.published, run.now))


def _start(run: Simulation, command: Start) -> None:
    group, index = command.sample
    number = min(range(len(run.engines)), key=lambda e: len(run.engines[e].requests))
    engine, known = run.engines[number], run.state.sample(command.sample).partial.num
    shared = run.model.engine.prompt / run.settings.group_size if not known else 0
    again = run.model.engine.prompt + known if known else 0
    engine.stall(run.now, (shared + again) / run.model.engine.prefill)
    left = run.prompts[group].lengths[index] - known
    key = (command.sample, command.turn, command.attempt)
    engine.start(run.now, key, left, run.state.published, known)
    run.places[command.sample] = number
    run.changed.add(number)


def _abort(run: Simulation, command: Abort) -> None:
    run.timeline.aborts.append(run.now)
    for sample in command.samples:
        number = run.places.pop(sample)
        stopped = run.engines[number].stop(run.now, sample)
        run.changed.add(number)
        assert stopped is not None
        run.later(0.0, _stopped(*stopped))


def _stopped(request: Request, told: Tokens) -> Callable[[float], Event]:
    key = (request.sample, request.turn, request.attempt, request.before)
    return lambda now: Finished(*key, told, "abort", now)


def _step(run: Simulation, command: Step) -> None:
    run.take(Stepped(command.sample, command.turn, True, None, run.now))


def _judge(run: Simulation, command: Judge) -> None:
    (group, index), number = command.sample, command.judging
    prompt = run.prompts[group]
    failed = prompt.fails[index] and number == 1
    kind, value = ("error", None) if failed else ("value", float((group + index) % 2))

    def verdict(now: float) -> Rewarded:
        return Rewarded((group, index), number, kind, value, None, now)

    run.later(prompt.latencies[index], verdict)


def _train(run: Simulation, command: Train) -> None:
    groups = [run.state.groups[group] for group in (*command.groups, *command.reused)]
    tokens = sum(sample.num_tokens for group in groups for sample in group.valid)
    seconds = run.model.train_seconds + tokens / run.model.train_tokens
    run.timeline.steps.append((run.now, run.now))
    run.timeline.batches.append((command.groups, run.state.num_admitted))
    run.later(seconds, lambda now: Trained(command.step, now))


def _publish(run: Simulation, command: Publish) -> None:
    run.timeline.publications.append((run.now, run.now))
    for number, engine in enumerate(run.engines):
        engine.stall(run.now, run.model.publish_seconds)
        run.changed.add(number)
    run.later(run.model.publish_seconds, lambda now: Published(command.version, now))


CARRY_OUT: dict[type[Command], Callable[[Simulation, Any], None]] = {
    Admit: _admit,
    Start: _start,
    Abort: _abort,
    Step: _step,
    Judge: _judge,
    Train: _train,
    Publish: _publish,
}
