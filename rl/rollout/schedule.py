"""The schedule of asynchronous reinforcement learning, as a machine without clock or randomness.

    state = State()
    apply(settings, state, Began(asdict(settings), version=0, time=0.0))
    while not finished(settings, state):
        for command in decide(settings, state, now):  # until it says nothing more
            log, apply and carry out
        log and apply the next fact; next_deadline says when to decide without one

One and the same machine runs real training, simulations on a virtual clock, replay of a log and
resumption. Its semantics are those of `RolloutSettings`; why staleness is bounded is in
`schedule_batches`; what each event changes is in `schedule_apply`.

A sample waits, is run by an engine, steps in its environment, waits for its next turn or is judged;
it is judged when it ends, whatever the rest of its group does. A group whose samples all are judged
is ready, or dropped. Ready groups make batches, oldest first. What is aborted or lost with an
engine waits again, before all that was not begun.
"""

from collections.abc import Mapping

from rl.rollout import length_audit as audit
from rl.rollout.events import (
    Abort,
    Admit,
    Command,
    Drop,
    Event,
    Judge,
    Publish,
    Start,
    Step,
    Train,
)
from rl.rollout.schedule_apply import HANDLERS
from rl.rollout.schedule_batches import capacity, expired, next_batch
from rl.rollout.schedule_settings import RolloutSettings
from rl.rollout.schedule_state import ScheduleError, State, remove


def apply(settings: RolloutSettings, state: State, event: Event) -> None:
    """Changes the state by an event. Costs little, whatever the state holds.

    Late facts, such as the reply of a request that was lost with its engine, are counted and
    change nothing else.

    Raises:
        ScheduleError: the event cannot follow; the state is not to be used any more.
    """
    _pass_time(state, event.time)
    HANDLERS[type(event)](settings, state, event)
    if state.changed:
        for group in expired(settings, state):
            remove(state.spent, group)
            del state.groups[group]
        state.batch = next_batch(settings, state)
        state.changed = False
    wave = state.wave
    if not wave.open and state.batch is None and _may_generate(settings, state):
        wave.number, wave.started, wave.completed, wave.open = wave.number + 1, event.time, 0, True


def decide(settings: RolloutSettings, state: State, now: float) -> tuple[Command, ...]:
    """What to do next, in order; () = wait for an event, or for `next_deadline`.

    The same state and time give the same commands. Apply each one, then ask again: there may be
    more that follows from them.
    """
    for rule in (_drops, _abort, _train, _publish):
        commands = rule(settings, state, now)
        if commands:
            return commands
    return _work(settings, state, now)


def next_deadline(settings: RolloutSettings, state: State) -> float | None:
    """When to decide again even if nothing happens, in seconds from the start; None = never."""
    if settings.abort_seconds and state.wave.open and state.batch is not None:
        return state.wave.started + settings.abort_seconds
    return None


def finished(settings: RolloutSettings, state: State) -> bool:
    """All steps of the run are done, and their weights published."""
    return 0 < settings.num_steps <= min(state.version, state.published)


def length_audit(state: State) -> Mapping[str, Mapping[str, float]]:
    """Lengths of issued and trained samples per source; see `rl.rollout.length_audit.report`."""
    return audit.report(state.audit)


def _pass_time(state: State, time: float) -> None:
    seconds = time - state.time
    if not seconds >= 0:
        raise ScheduleError(f"time went back from {state.time} to {time} s")
    spent = state.seconds
    spent["slots"] = spent.get("slots", 0.0) + seconds * len(state.running)
    for name, so in (
        ("trainer_idle", not state.batches),
        ("engine_idle", not state.running),
        ("publishing", state.publishing),
    ):
        spent[name] = spent.get(name, 0.0) + seconds * so
    state.time = time


def _drops(settings: RolloutSettings, state: State, now: float) -> tuple[Command, ...]:
    return tuple(Drop(group, state.groups[group].reason, now) for group in state.dropping)


def _abort(settings: RolloutSettings, state: State, now: float) -> tuple[Command, ...]:
    wave = state.wave
    if not wave.open or state.batch is None:
        return ()
    deadline = next_deadline(settings, state)
    enough = 0 < settings.abort_count <= wave.completed
    if not enough and (deadline is None or now < deadline):
        return ()
    running = (key for key in state.running if state.sample(key).status == "running")
    return (Abort(tuple(running), now),)


def _train(settings: RolloutSettings, state: State, now: float) -> tuple[Command, ...]:
    if state.batch is None or len(state.batches) > settings.batches_ahead:
        return ()
    if settings.colocated and state.running:
        return ()
    if 0 < settings.num_steps <= state.formed:
        return ()
    return (Train(state.formed, *state.batch, now),)


def _publish(settings: RolloutSettings, state: State, now: float) -> tuple[Command, ...]:
    news = state.published < state.version or not state.serving
    return (Publish(state.version, now),) if news and not state.publishing else ()


def _work(settings: RolloutSettings, state: State, now: float) -> tuple[Command, ...]:
    """Steps, judgements, admissions and requests; none of them stands in another's way."""
    commands: list[Command] = [Step(key, state.sample(key).turn, now) for key in state.to_step]
    commands += [Judge(key, state.sample(key).judgings + 1, now) for key in state.to_judge]
    if _may_start(settings, state):
        free = settings.concurrency - len(state.running)
        unused = free - len(state.waiting) - settings.group_size * state.admitting
        wanted = min(-(-unused // settings.group_size), capacity(settings, state))
        if wanted > 0:
            commands.append(Admit(wanted, now))
        for _, key in state.waiting[: max(0, free)]:
            sample = state.sample(key)
            commands.append(Start(key, sample.turn, sample.attempt + 1, now))
    return tuple(commands)


def _may_generate(settings: RolloutSettings, state: State) -> bool:
    """Whether the accelerators are free for rollouts."""
    return state.serving and (not settings.colocated or state.formed == state.published)


def _may_start(settings: RolloutSettings, state: State) -> bool:
    if not _may_generate(settings, state):
        return False
    if settings.abort_count or settings.abort_seconds:
        return state.wave.open
    return not settings.colocated or state.batch is None
