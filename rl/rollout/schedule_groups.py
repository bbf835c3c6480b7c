"""How groups end: judged, dropped, formed into batches, trained."""

from rl.rollout import length_audit
from rl.rollout.events import Train
from rl.rollout.schedule_settings import RolloutSettings
from rl.rollout.schedule_state import (
    SETTLED,
    Batch,
    Group,
    State,
    insert,
    move,
    remove,
    waited,
)


def settle(settings: RolloutSettings, state: State, group: Group, time: float) -> None:
    """If all samples of a group are settled: it is judged again, ready, or to be dropped."""
    if any(sample.status not in SETTLED for sample in group.samples):
        return
    if len(group.valid) < settings.min_valid:
        if not _judge_again(settings, state, group, time):
            _to_drop(state, group, _fault(group))
    elif settings.dynamic_sampling and _equal(group) and _may_drop(settings, state):
        state.equal_drops += 1
        _to_drop(state, group, "equal")
    else:
        group.status, group.settled = "ready", time
        insert(state.ready, group.id)
        state.wave.completed += 1
        state.changed = True


def throw_away(state: State, number: int, reason: str) -> None:
    """A group ends untrained."""
    group = state.groups.pop(number)
    remove(state.dropping, number)
    remove(state.others, number)
    state.dropped[reason] += 1
    state.changed = True
    for sample in group.samples:
        state.counts["wasted"] += sample.num_tokens
        length_audit.count(state.audit, group.source, "dropped", sample.num_tokens)


def form(state: State, event: Train) -> None:
    """Hands groups to the trainer; the wave is over."""
    for number in event.groups:
        group = state.groups[number]
        group.status = "training"
        remove(state.ready, number)
        remove(state.others, number)
        waited(state, "ready", event.time - group.settled)
    for number in event.reused:
        state.groups[number].status = "training"
        remove(state.spent, number)
    state.batches.append(Batch(event.step, event.groups, event.reused))
    state.formed += 1
    state.equal_drops = 0
    state.wave.open = False
    state.changed = True


def unform(state: State) -> None:
    """Takes back what the trainer did not finish."""
    for batch in state.batches:
        for number in batch.groups:
            state.groups[number].status = "ready"
            insert(state.ready, number)
            insert(state.others, number)
        for number in batch.reused:
            state.groups[number].status = "spent"
            insert(state.spent, number)
    state.formed -= len(state.batches)
    state.batches = []


def finish_training(settings: RolloutSettings, state: State, batch: Batch) -> None:
    """Counts what a step has trained on, and keeps what may be used again."""
    for number in (*batch.groups, *batch.reused):
        group = state.groups[number]
        state.staleness[batch.step - group.version] += 1
        if not group.uses:
            _count_trained(state, group, batch.step)
        else:
            state.counts["reused_groups"] += 1
        group.uses += 1
        if group.uses <= settings.reuse:
            group.status = "spent"
            insert(state.spent, number)
        else:
            del state.groups[number]
    state.changed = True


def _count_trained(state: State, group: Group, step: int) -> None:
    state.counts["trained_groups"] += 1
    for sample in group.samples:
        valid = sample.status == "value"
        kind = "trained" if valid else "left_out"
        length_audit.count(state.audit, group.source, kind, sample.num_tokens)
        state.counts["trained" if valid else "wasted"] += sample.num_tokens
        state.counts[f"{kind}_samples"] += 1
        for reply in sample.turns if valid else ():
            for version, num in reply.versions:
                state.token_age[step - version] += num


def _judge_again(settings: RolloutSettings, state: State, group: Group, time: float) -> bool:
    again = [
        sample
        for sample in group.samples
        if sample.status == "error" and sample.judgings < settings.max_judgings
    ]
    for sample in again:
        move(state, sample, "to_judge", time)
    state.counts["judged_again"] += len(again)
    return bool(again)


def _to_drop(state: State, group: Group, reason: str) -> None:
    group.status, group.reason = "dropping", reason
    insert(state.dropping, group.id)


def _fault(group: Group) -> str:
    kinds = {sample.status for sample in group.samples}
    return "unjudged" if "error" in kinds else "lost" if "lost" in kinds else "abstained"


def _equal(group: Group) -> bool:
    return len({sample.reward for sample in group.valid}) == 1


def _may_drop(settings: RolloutSettings, state: State) -> bool:
    if state.equal_drops < (settings.oversampling - 1) * settings.batch_groups:
        return True
    state.counts["kept_equal"] += 1
    return False
