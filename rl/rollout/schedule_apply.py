"""What each event does to the schedule's state; `rl.rollout.schedule` is the door."""

from collections.abc import Callable
from typing import Any

from rl.rollout import length_audit
from rl.rollout.events import (
    Abort,
    Admit,
    Admitted,
    Began,
    Drop,
    EngineDied,
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
from rl.rollout.schedule_batches import in_time, may_join
from rl.rollout.schedule_groups import finish_training, form, settle, throw_away, unform
from rl.rollout.schedule_settings import RolloutSettings
from rl.rollout.schedule_state import (
    NOTHING,
    Group,
    Sample,
    ScheduleError,
    State,
    current,
    expect,
    insert,
    move,
    must,
)


def _began(settings: RolloutSettings, state: State, event: Began) -> None:
    must(not state.num_admitted and not state.formed, event, "the run began before")
    state.version = state.published = state.formed = event.version


def _admit(settings: RolloutSettings, state: State, event: Admit) -> None:
    state.admitting += event.count
    state.changed = True


def _admitted(settings: RolloutSettings, state: State, event: Admitted) -> None:
    must(event.group == state.num_admitted, event, f"the next group is {state.num_admitted}")
    must(event.version <= state.published, event, f"the engine has version {state.published}")
    must(state.admitting > 0, event, "no prompt was asked for")
    must(may_join(settings, state, event.version), event, "it could not be trained in time")
    samples = [
        Sample((event.group, index), since=event.time) for index in range(settings.group_size)
    ]
    state.groups[event.group] = Group(
        event.group, event.source, event.pick, event.version, event.time, samples
    )
    state.others.append(event.group)
    for sample in samples:
        insert(state.waiting, sample.key)
    state.num_admitted += 1
    state.admitting -= 1


def _start(settings: RolloutSettings, state: State, event: Start) -> None:
    sample = expect(state, event, event.sample, "waiting")
    must(
        (event.turn, event.attempt) == (sample.turn, sample.attempt + 1),
        event,
        f"the sample is at turn {sample.turn} and had {sample.attempt} attempts",
    )
    move(state, sample, "running", event.time)
    sample.attempt += 1
    state.counts["starts"] += 1
    if sample.partial.num:
        state.counts["continued"] += 1
        state.counts["continued_tokens"] += sample.partial.num


def _progressed(settings: RolloutSettings, state: State, event: Progressed) -> None:
    _heard(state, event)


def _finished(settings: RolloutSettings, state: State, event: Finished) -> None:
    sample = _heard(state, event)
    if sample is None:
        return
    if event.reason in ("stop", "length"):
        sample.turns.append(sample.partial)
        sample.reasons.append(event.reason)
        sample.partial = NOTHING
        move(state, sample, "to_step", event.time)
    elif event.reason == "abort":
        state.counts["aborted"] += 1
        _interrupt(settings, state, sample, event.time)
    elif event.reason == "error":
        _die(settings, state, sample, event.time)
    else:
        raise ScheduleError(f"{event}: the reason is none of stop, length, abort, error")


def _engine_died(settings: RolloutSettings, state: State, event: EngineDied) -> None:
    state.counts["engine_deaths"] += 1
    for lost in event.lost:
        sample = _heard(state, lost)
        if sample is not None:
            _die(settings, state, sample, event.time)


def _stepped(settings: RolloutSettings, state: State, event: Stepped) -> None:
    sample = current(state, event.sample, "stepping")
    if sample is None or sample.turn != event.turn:
        state.counts["late"] += 1
        return
    sample.results.append(event.result)
    sample.turn += 1
    if event.done:
        source = state.groups[event.sample[0]].source
        length_audit.count(state.audit, source, "issued", sample.num_tokens)
    move(state, sample, "to_judge" if event.done else "waiting", event.time)


def _step(settings: RolloutSettings, state: State, event: Step) -> None:
    sample = expect(state, event, event.sample, "to_step")
    must(event.turn == sample.turn, event, f"the sample is at turn {sample.turn}")
    move(state, sample, "stepping", event.time)


def _judge(settings: RolloutSettings, state: State, event: Judge) -> None:
    sample = expect(state, event, event.sample, "to_judge")
    must(event.judging == sample.judgings + 1, event, f"it was judged {sample.judgings} times")
    sample.judgings += 1
    move(state, sample, "judging", event.time)


def _rewarded(settings: RolloutSettings, state: State, event: Rewarded) -> None:
    sample = current(state, event.sample, "judging")
    if sample is None or sample.judgings != event.judging:
        state.counts["late"] += 1
        return
    must(event.kind in ("value", "abstain", "error"), event, "an unknown kind of verdict")
    # A reward that is no number is a failure of the verifier, not a reward.
    finite = event.value is not None and abs(event.value) < float("inf")
    kind = event.kind if finite or event.kind != "value" else "error"
    sample.reward = event.value if kind == "value" else None
    sample.details = event.details
    state.counts[f"verdicts_{kind}"] += 1
    move(state, sample, kind, event.time)
    settle(settings, state, state.groups[event.sample[0]], event.time)


def _abort(settings: RolloutSettings, state: State, event: Abort) -> None:
    for key in event.samples:
        move(state, expect(state, event, key, "running"), "aborting", event.time)
    state.wave.open = False
    state.counts["waves_cut"] += 1


def _train(settings: RolloutSettings, state: State, event: Train) -> None:
    must(event.step == state.formed, event, f"the next step is {state.formed}")
    must((event.groups, event.reused) == state.batch, event, f"the batch is {state.batch}")
    form(state, event)


def _trained(settings: RolloutSettings, state: State, event: Trained) -> None:
    must(bool(state.batches), event, "no batch is with the trainer")
    must(event.step == state.batches[0].step, event, f"it is at step {state.version}")
    finish_training(settings, state, state.batches.pop(0))
    state.version = event.step + 1


def _publish(settings: RolloutSettings, state: State, event: Publish) -> None:
    must(event.version == state.version, event, f"the trainer has version {state.version}")
    state.publishing = True


def _published(settings: RolloutSettings, state: State, event: Published) -> None:
    known = state.published <= event.version <= state.version
    must(known and state.publishing, event, f"{state.published} was, {state.version} is")
    state.published, state.publishing, state.serving = event.version, False, True
    state.changed = True


def _drop(settings: RolloutSettings, state: State, event: Drop) -> None:
    group = state.groups.get(event.group)
    given = group and (group.status, group.reason)
    must(given == ("dropping", event.reason), event, f"the group is {given}")
    throw_away(state, event.group, event.reason)


def _resumed(settings: RolloutSettings, state: State, event: Resumed) -> None:
    must(event.version == state.version, event, f"the log is at version {state.version}")
    unform(state)
    _check_settings(settings, state)
    state.admitting, state.publishing, state.serving, state.changed = 0, False, False, True
    for group in state.groups.values():
        for sample in group.samples:
            if sample.status in ("running", "aborting"):
                _interrupt(settings, state, sample, event.time)
            elif sample.status == "stepping":
                move(state, sample, "to_step", event.time)
            elif sample.status == "judging":
                sample.judgings -= 1
                move(state, sample, "to_judge", event.time)
    state.wave.open = False
    state.counts["resumes"] += 1


def _check_settings(settings: RolloutSettings, state: State) -> None:
    """That what is held can be trained on by the settings of this process, which may be new."""
    versions = [state.groups[group].version for group in state.others]
    if not in_time(settings, versions, state.formed):
        raise ScheduleError(
            f"{len(versions)} groups from before would be too old when their turn comes with "
            f"config.rollout.batch_groups = {settings.batch_groups} and max_staleness = "
            f"{settings.max_staleness}, and the run would never go on: resume with those that it "
            "had, or larger ones, or begin a new run with config.train.init_from."
        )
    most = max((len(group.samples) for group in state.groups.values()), default=0)
    if most > settings.group_size:
        raise ScheduleError(
            f"groups from before have {most} samples, and config.rollout.group_size = "
            f"{settings.group_size}: resume with that, or begin a new run with "
            "config.train.init_from."
        )


HANDLERS: dict[type, Callable[[RolloutSettings, State, Any], None]] = {
    Began: _began,
    Admit: _admit,
    Admitted: _admitted,
    Start: _start,
    Progressed: _progressed,
    Finished: _finished,
    EngineDied: _engine_died,
    Step: _step,
    Stepped: _stepped,
    Judge: _judge,
    Rewarded: _rewarded,
    Abort: _abort,
    Train: _train,
    Trained: _trained,
    Publish: _publish,
    Published: _published,
    Drop: _drop,
    Resumed: _resumed,
}


def _heard(state: State, event: Progressed | Finished | Lost) -> Sample | None:
    """Adds what is new of a request's tokens; None, and counted, if the request is not current."""
    sample = current(state, event.sample, "running", "aborting")
    if sample is None or (sample.turn, sample.attempt) != (event.turn, event.attempt):
        state.counts["late"] += 1
        state.counts["late_tokens"] += event.tokens.num
        return None
    known = sample.partial.num - event.offset
    must(known >= 0, event, f"{sample.partial.num} tokens were known: some are missing")
    tokens = event.tokens.after(known) if known else event.tokens
    sample.partial += tokens
    state.counts["generated"] += tokens.num
    return sample


def _interrupt(settings: RolloutSettings, state: State, sample: Sample, time: float) -> None:
    """A request ended before its reply did: it waits to go on, or to begin again."""
    source = state.groups[sample.id[0]].source
    length_audit.count(state.audit, source, "aborted", sample.num_tokens)
    if settings.partial == "restart":
        state.counts["wasted"] += sample.num_tokens
        state.counts["restarted"] += 1
        sample.turns, sample.reasons, sample.results = [], [], []
        sample.partial, sample.turn = NOTHING, 0
    move(state, sample, "waiting", time)


def _die(settings: RolloutSettings, state: State, sample: Sample, time: float) -> None:
    """Its engine died: it waits, unless that has happened too often."""
    sample.deaths += 1
    state.counts["deaths"] += 1
    if sample.deaths < settings.max_attempts:
        _interrupt(settings, state, sample, time)
        return
    group = state.groups[sample.id[0]]
    length_audit.count(state.audit, group.source, "issued", sample.num_tokens)
    move(state, sample, "lost", time)
    settle(settings, state, group, time)
