"""What not to do: bound staleness by throwing away groups that have become too old.

A prompt with long replies is then trained on late or never, and what it has said is wasted. This
policy exists in the simulator only, as a contrast to the schedule's admission control. It has the
same engines, trainer and lengths. A prompt may be put back at the front of the queue; it then draws
new replies, which are as like its first ones as samples of a prompt are.
"""

import heapq
from collections import Counter, deque
from dataclasses import dataclass, field

from rl.rollout.length_audit import binned, ks_distance
from rl.rollout.schedule_settings import RolloutSettings
from rl.rollout.simulate_engine import Engine
from rl.rollout.simulate_model import Model, draw


@dataclass
class Try:
    """A group at work: the version and time it began with, and the samples that still run."""

    group: int
    again: int
    version: int
    open: int


@dataclass
class Discarding:
    """A run under way, or its end.

    Attributes:
        requeue: see `simulate_discarding`.
        step: trainer's steps done.
        issued, trained: group -> lengths of its first try, and of the one that was trained.
        wasted, generated: tokens.
        step_ends: seconds.
    """

    settings: RolloutSettings
    model: Model
    seed: int
    requeue: bool
    engines: list[Engine]
    step: int = 0
    now: float = 0.0
    busy_until: float | None = None
    next_group: int = 0
    tries: dict[int, Try] = field(default_factory=dict)
    ready: list[int] = field(default_factory=list)
    training: list[int] = field(default_factory=list)
    back: deque[tuple[int, int]] = field(default_factory=deque)
    issued: dict[int, list[int]] = field(default_factory=dict)
    trained: dict[int, list[int]] = field(default_factory=dict)
    wasted: int = 0
    generated: int = 0
    discarded: int = 0
    step_ends: list[float] = field(default_factory=list)


def simulate_discarding(
    settings: RolloutSettings, model: Model, seed: int = 0, requeue: bool = True
) -> Discarding:
    """Runs `settings.num_steps` steps in which groups older than max_staleness are discarded.

    `requeue`: their prompts are put back; otherwise others are drawn instead.

    (max_staleness + 1) · batch_groups groups are at work at a time, as many as the schedule admits;
    judging takes no time.
    """
    engines = [Engine(model.engine) for _ in range(model.engine.num_engines)]
    run = Discarding(settings, model, seed, requeue, engines)
    while run.step < settings.num_steps:
        _issue(run)
        _train(run)
        ends = [(end, n) for n, e in enumerate(engines) if (end := e.next_end()) is not None]
        end, number = min(ends) if ends else (float("inf"), -1)
        if run.busy_until is not None and run.busy_until <= end:
            run.now = run.busy_until
            _trained(run)
        else:
            run.now = end
            _ended(run, number)
    return run


def ks(run: Discarding) -> float:
    """Distance between issued and trained lengths, of the prompts of the first half.

    Hardly any of them is still at work at the end.
    """
    half = [group for group in run.issued if group < run.next_group // 2]
    issued = Counter(binned(length) for group in half for length in run.issued[group])
    trained = Counter(binned(length) for group in half for length in run.trained.get(group, ()))
    return ks_distance(issued, trained)


def _lengths(run: Discarding, group: int, again: int) -> tuple[int, ...]:
    """Of the samples of a try: the first samples of a larger group, then the next ones."""
    return draw(run.settings, run.model, run.seed, group, again).lengths


def _issue(run: Discarding) -> None:
    """As many groups at work as may be: those that were put back first."""
    most = (run.settings.max_staleness + 1) * run.settings.batch_groups
    while len(run.tries) < most:
        if run.back:
            group, again = run.back.popleft()
        else:
            group, again = run.next_group, 0
            run.next_group += 1
            run.issued[group] = list(_lengths(run, group, 0))
        run.tries[group] = Try(group, again, run.step, run.settings.group_size)
        for index, length in enumerate(_lengths(run, group, again)):
            engine = min(run.engines, key=lambda e: len(e.requests))
            engine.start(run.now, ((group, index), 0, again), length, run.step, 0)


def _train(run: Discarding) -> None:
    if run.busy_until is not None or len(run.ready) < run.settings.batch_groups:
        return
    run.training = [heapq.heappop(run.ready) for _ in range(run.settings.batch_groups)]
    tokens = 0
    for group in run.training:
        lengths = _lengths(run, group, run.tries[group].again)
        run.trained[group] = list(lengths)
        tokens += sum(lengths)
    run.busy_until = run.now + run.model.train_seconds + tokens / run.model.train_tokens


def _trained(run: Discarding) -> None:
    """A step is done: what is now too old goes back into the queue."""
    run.step += 1
    run.step_ends.append(run.now)
    run.busy_until = None
    for group in run.training:
        del run.tries[group]
    for engine in run.engines:
        engine.stall(run.now, run.model.publish_seconds)
    old = [t for t in run.tries.values() if run.step - t.version > run.settings.max_staleness]
    for late in old:
        _discard(run, late)


def _discard(run: Discarding, late: Try) -> None:
    del run.tries[late.group]
    run.discarded += 1
    if run.requeue:
        run.back.append((late.group, late.again + 1))
    if late.group in run.ready:
        run.ready.remove(late.group)
        heapq.heapify(run.ready)
    lengths = _lengths(run, late.group, late.again)
    for index, length in enumerate(lengths):
        said = length
        for engine in run.engines:
            stopped = engine.stop(run.now, (late.group, index))
            if stopped is not None:
                said = stopped[1].num
                run.generated += said
        run.wasted += said


def _ended(run: Discarding, number: int) -> None:
    for request, tokens in run.engines[number].finish(run.now):
        run.generated += tokens.num
        group = run.tries[request.sample[0]]
        group.open -= 1
        if not group.open:
            heapq.heappush(run.ready, group.group)
