"""What is always true of the schedule's state, and its figures for a log."""

from collections import Counter

from rl.rollout.schedule_batches import in_time, next_batch
from rl.rollout.schedule_json import index
from rl.rollout.schedule_settings import RolloutSettings
from rl.rollout.schedule_state import SAMPLE_STATUS, SETTLED, ScheduleError, State


def check_invariants(settings: RolloutSettings, state: State) -> None:
    """Raises ScheduleError if something is lost, doubled, too old or out of its place.

    Prompts: admitted = trained + dropped + held. Tokens: generated = trained + wasted + held.
    Every group that is held can be in time; every one that was trained was. For tests: costs as
    much as the state is large.
    """
    held = [group for group in state.groups.values() if not group.uses]
    dropped = state.dropped.total()
    counts = state.counts
    _same("prompts", state.num_admitted, counts["trained_groups"] + dropped + len(held))
    tokens = sum(sample.num_tokens for group in held for sample in group.samples)
    _same("tokens", counts["generated"], counts["trained"] + counts["wasted"] + tokens)
    _same("versions", state.formed, state.version + len(state.batches))
    _same("trained", sum(state.token_age.values()), counts["trained"])
    _same("batch", state.batch, next_batch(settings, state))
    if not state.published <= state.version:
        raise ScheduleError(f"{state.published} is published, {state.version} trained")
    if len(state.running) > settings.concurrency:
        raise ScheduleError(f"{len(state.running)} of {settings.concurrency} samples run")
    _check_ages(settings, state)
    _check_lists(state)
    for group in state.groups.values():
        for sample in group.samples:
            if sample.status not in (*SAMPLE_STATUS, *SETTLED):
                raise ScheduleError(f"sample {sample.id} is {sample.status}")
            if len(sample.turns) != len(sample.reasons) or len(sample.turns) < sample.turn:
                raise ScheduleError(f"sample {sample.id} has {len(sample.turns)} replies")


def metrics(settings: RolloutSettings, state: State) -> dict[str, float]:
    """Figures for a log; counts, tokens and seconds are since the run's start.

    Among them: staleness/mean, /max and /k (share of trained groups that were k versions old),
    token_age/mean (versions between drawing and training a token), wasted (share of generated
    tokens that were thrown away), dropped/reason, trainer_idle and engine_idle (shares of time),
    occupancy (share of the engine's places in use), wait/… (mean seconds in each status).
    """
    figures = {f"count/{name}": float(number) for name, number in state.counts.items()}
    figures |= {f"dropped/{reason}": float(number) for reason, number in state.dropped.items()}
    figures |= _ages("staleness", state.staleness)
    figures |= {
        f"token_age/{key}": _ages("", state.token_age)[f"/{key}"] for key in ("mean", "max")
    }
    figures["wasted"] = state.counts["wasted"] / max(1, state.counts["generated"])
    time = max(state.time, 1e-9)
    for name in ("trainer_idle", "engine_idle", "publishing"):
        figures[name] = state.seconds.get(name, 0.0) / time
    figures["occupancy"] = state.seconds.get("slots", 0.0) / time / settings.concurrency
    for name, (seconds, times, longest) in state.waits.items():
        figures[f"wait/{name}"], figures[f"wait/{name}_max"] = seconds / times, longest
    figures["outstanding"] = float(len(state.others) + sum(len(b.groups) for b in state.batches))
    return figures


def _ages(name: str, ages: Counter[int]) -> dict[str, float]:
    num = max(1, ages.total())
    mean = sum(age * times for age, times in ages.items()) / num
    shares = {f"{name}/{age}": times / num for age, times in sorted(ages.items())}
    return {f"{name}/mean": mean, f"{name}/max": float(max(ages, default=0)), **shares}


def _check_ages(settings: RolloutSettings, state: State) -> None:
    versions = [state.groups[group].version for group in state.others]
    versions += [state.published] * state.admitting
    if not in_time(settings, versions, state.formed):
        raise ScheduleError(f"groups of versions {versions} will not be in time: {state.formed}")
    batches = [
        batch.step - state.groups[group].version
        for batch in state.batches
        for group in (*batch.groups, *batch.reused)
    ]
    ages = [*batches, *state.staleness, *state.token_age]
    if ages and not 0 <= min(ages) <= max(ages) <= settings.max_staleness:
        raise ScheduleError(f"ages of {min(ages)} to {max(ages)} versions")


def _check_lists(state: State) -> None:
    again = State(groups=state.groups)
    index(again)
    for name in ("waiting", "running", "to_step", "to_judge", "ready", "dropping", "spent"):
        _same(name, getattr(state, name), getattr(again, name))
    _same("others", state.others, again.others)
    training = sorted(group for group, held in state.groups.items() if held.status == "training")
    with_trainer = (group for b in state.batches for group in (*b.groups, *b.reused))
    _same("training", training, sorted(with_trainer))


def _same(what: str, first: object, second: object) -> None:
    if first != second:
        raise ScheduleError(f"{what}: {first} is not {second}")
