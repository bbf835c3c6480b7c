"""Carries out what the schedule decides: draws tasks, plays and judges episodes, builds batches.

One event loop. Every decision of `schedule.decide` starts a task of its own, and every task ends in
a fact, which is recorded and applied; then the loop decides again. A request's reply therefore goes
on to its environment, and an episode to its reward, the moment it is there, whatever else is still
running; batches are built, and weights handed over, meanwhile.

    draw       Admit  -> Admitted           engine     Start, Abort -> Finished
    play       Step   -> Stepped            rewards    Judge        -> Rewarded
    build      Train  -> a batch to take, and Trained when the trainer says so
    publish    Publish -> Published
"""

import asyncio
import contextlib
import dataclasses
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from absl import logging

from mmtp.data.encoded import Encoded
from rl.rollout import events, schedule
from rl.rollout import replay as replay_log
from rl.rollout.episodes import Episode, replay
from rl.rollout.events import Command, Fact, SampleId
from rl.rollout.protocol import Ask, EngineDied, RolloutEngine, Told
from rl.rollout.sampling import SamplingSettings
from rl.rollout.schedule_settings import RolloutSettings
from rl.rollout.schedule_state import Group, State
from rl.rollout.tokens import Tokens
from rl.spans import Spans
from rl.types import Rollout, Task, Verdict


@dataclass(frozen=True)
class Parts:
    """What the driver does not know how to do itself.

    Attributes:
        draw: number of prompts -> as many picks (JSON).
        open: pick -> its task and its prompt; in a thread.
        episode: (task, prompt) -> an episode at its beginning; in a thread.
        engine: makes the rollout engine, given (version, parameters), as `RolloutEngine.publish`
            takes them; it mends itself (`rl.rollout.pool`).
        close: what is to be closed besides the engine, at the end.
        judge: an episode -> its verdict.
        build: (step, groups, episodes) -> a batch for the trainer, any object; in a thread.
        announce: called with the step when its batch has been decided, before it is built.
        settled: called with a group when it is trained or dropped, for a curriculum.
        record: writes events to the log.
    """

    draw: Callable[[int], list[Any]]
    open: Callable[[Any], tuple[Task, Encoded]]
    episode: Callable[[Task, Encoded], Episode]
    engine: Callable[[int, Any], RolloutEngine]
    close: Callable[[], Awaitable[None]]
    judge: Callable[[Rollout], Awaitable[Verdict]]
    build: Callable[[int, list[Group], dict[SampleId, Episode]], Any]
    announce: Callable[[int], None]
    settled: Callable[[Group], None]
    record: Callable[[Fact | Command], None]


class Driver:
    """The loop. All methods belong to its event loop.

    Args:
        settings: of the schedule.
        sampling: how replies are drawn.
        seed: of the run's random numbers.
        state: to go on from; it belongs to the driver now.
        parts: see `Parts`.
        clock: seconds from the run's start.
        spans: where the stages' times go.
    """

    def __init__(
        self,
        settings: RolloutSettings,
        sampling: SamplingSettings,
        seed: int,
        state: State,
        parts: Parts,
        clock: Callable[[], float],
        spans: Spans,
    ) -> None:
        self.settings, self.sampling, self.seed = settings, sampling, seed
        self.state, self.parts, self.clock, self.spans = state, parts, clock, spans
        self.batches: asyncio.Queue[Any] = asyncio.Queue()
        self.engine: RolloutEngine | None = None
        self._changed = asyncio.Event()
        self._problem: Exception | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._opened: dict[int, asyncio.Task[tuple[Task, Encoded]]] = {}
        self._episodes: dict[SampleId, Episode] = {}
        self._weights: tuple[int, Any] = (-1, None)
        self._arrived = asyncio.Event()

    def start(self, version: int) -> None:
        """The first event of this process: the run begins, or goes on, at the trainer's version.

        Raises:
            ScheduleError: the state that was saved is of another version.
        """
        if self.state.time or self.state.num_admitted:
            self._take(events.Resumed(version, self.clock()))
        else:
            self._take(replay_log.began(self.settings, version))

    async def run(self) -> None:
        """Until it is cancelled.

        Raises:
            Exception: whatever a part raised.
        """
        try:
            while self._problem is None:
                self._decide()
                await self._change()
            raise self._problem
        finally:
            for task in self._tasks:
                task.cancel()
            if self.engine is not None:
                await self.engine.close()
            await self.parts.close()

    def offer(self, version: int, params: Any) -> None:
        """The trainer has weights of this version; the newest ones count."""
        self._weights = version, params
        self._arrived.set()

    def trained(self, step: int) -> None:
        """The trainer has done a step."""
        self._report(events.Trained(step, self.clock()))

    def _decide(self) -> None:
        while commands := schedule.decide(self.settings, self.state, self.clock()):
            for command in commands:
                self._take(command)
                self._carry_out(command)

    def _take(self, event: Fact | Command) -> None:
        """Records and applies. A fact may be older than a decision that was taken meanwhile."""
        event = dataclasses.replace(event, time=max(event.time, self.state.time))
        self.parts.record(event)
        held = dict(self.state.groups) if isinstance(event, events.Trained | events.Drop) else {}
        schedule.apply(self.settings, self.state, event)
        for number, group in held.items():
            if number not in self.state.groups:
                self._forget(group)

    def _forget(self, group: Group) -> None:
        self.parts.settled(group)
        self._opened.pop(group.id, None)
        for sample in group.samples:
            self._episodes.pop(sample.id, None)

    async def _change(self) -> None:
        """Returns when something was reported, or it is time to decide without."""
        deadline = schedule.next_deadline(self.settings, self.state)
        wait = None if deadline is None else max(0.0, deadline - self.clock())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), wait)
        self._changed.clear()

    def _carry_out(self, command: Command) -> None:
        if isinstance(command, events.Abort):
            assert self.engine is not None
            self.engine.abort([name_of(sample) for sample in command.samples])
        elif isinstance(command, events.Admit):
            self._admit(command)
        elif not isinstance(command, events.Drop):
            self._spawn(CARRIERS[type(command)](self, command))

    def _spawn(self, work: Any) -> None:
        async def guarded() -> None:
            try:
                await work
            except asyncio.CancelledError:
                raise
            except Exception as problem:
                self._problem = self._problem or problem
                self._changed.set()

        task = asyncio.get_running_loop().create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _report(self, fact: Fact) -> None:
        """Applied at once, so that a state that is saved lacks nothing; decided on soon."""
        self._take(fact)
        self._changed.set()

    def _admit(self, command: events.Admit) -> None:
        first = self.state.num_admitted
        for number, pick in enumerate(self.parts.draw(command.count), first):
            version = self.state.published
            self._report(events.Admitted(number, pick["category"], pick, version, self.clock()))

    def _task_of(self, number: int) -> "asyncio.Task[tuple[Task, Encoded]]":
        """The group's task and prompt, made once for all of its samples."""
        if number not in self._opened:
            pick = self.state.groups[number].pick
            opening = asyncio.to_thread(self.parts.open, pick)
            self._opened[number] = asyncio.get_running_loop().create_task(opening)
        return self._opened[number]

    async def _episode(self, sample: SampleId) -> Episode:
        """The sample's episode; after a restart it is played again up to where it was."""
        if sample not in self._episodes:
            task, prompt = await self._task_of(sample[0])
            episode = await asyncio.to_thread(self.parts.episode, task, prompt)
            known = self.state.sample(sample)
            finished = len(known.results)  # the turns that the environment has acted on
            await replay(
                episode, list(zip(known.turns[:finished], known.reasons[:finished], strict=True))
            )
            self._episodes[sample] = episode
        return self._episodes[sample]

    async def _start(self, command: events.Start) -> None:
        episode = await self._episode(command.sample)
        known = self.state.sample(command.sample)
        partial = known.partial
        request = command.sample, command.turn, command.attempt, partial.num
        if known.status == "aborting":  # before the engine was asked
            self._report(events.Finished(*request, Tokens(), "abort", self.clock()))
            return
        assert self.engine is not None
        ask = ask_of(
            self.sampling,
            self.seed,
            name_of(command.sample),
            str(command.sample[0]),
            command.turn,
            command.attempt,
            episode.prompt,
            partial,
        )
        try:
            with self.spans.record("rollout", "row *", ask.sample, (ask.sample,)):
                told = await self.engine.generate(ask)
        except EngineDied as problem:
            logging.warning("%s is lost: %s", ask.sample, problem)
            lost = (events.Lost(*request, Tokens()),)
            self._report(events.EngineDied("engine", lost, self.clock()))
            return
        tokens = tokens_of(told).after(partial.num)
        reason = told.finish_reason if is_finite(told) else "error"
        self._report(events.Finished(*request, tokens, reason, self.clock()))

    async def _step(self, command: events.Step) -> None:
        episode = await self._episode(command.sample)
        known = self.state.sample(command.sample)
        with self.spans.record("environment", "environment *", ids=(name_of(command.sample),)):
            done = await episode.take(known.turns[command.turn], known.reasons[command.turn])
        self._report(events.Stepped(command.sample, command.turn, done, None, self.clock()))

    async def _judge(self, command: events.Judge) -> None:
        episode = await self._episode(command.sample)
        with self.spans.record("reward", "reward *", ids=(name_of(command.sample),)):
            verdict = await self.parts.judge(episode.rollout)
        details = {"reason": verdict.reason, **verdict.details}
        self._report(
            events.Rewarded(
                command.sample,
                command.judging,
                verdict.kind,
                verdict.value,
                details,
                self.clock(),
            )
        )

    async def _train(self, command: events.Train) -> None:
        self.parts.announce(command.step)
        groups = [self.state.groups[g] for g in (*command.groups, *command.reused)]
        episodes = {s.id: await self._episode(s.id) for group in groups for s in group.valid}
        names = [name_of(sample) for sample in episodes]
        with self.spans.record("batch", "batch *", f"step {command.step}", names):
            built = await asyncio.to_thread(self.parts.build, command.step, groups, episodes)
        self.batches.put_nowait(built)

    async def _publish(self, command: events.Publish) -> None:
        while self._weights[0] < command.version:
            self._arrived.clear()
            await self._arrived.wait()
        version, params = self._weights
        with self.spans.record("publish", "publish", f"version {version}"):
            if self.engine is None:
                self.engine = self.parts.engine(version, params)
            else:
                await self.engine.publish(version, params)
        self._report(events.Published(command.version, self.clock()))


CARRIERS: dict[type, Callable[[Driver, Any], Any]] = {
    events.Start: Driver._start,
    events.Step: Driver._step,
    events.Judge: Driver._judge,
    events.Train: Driver._train,
    events.Publish: Driver._publish,
}


def ask_of(
    sampling: SamplingSettings,
    seed: int,
    name: str,
    group: str,
    turn: int,
    attempt: int,
    prompt: Encoded,
    partial: Tokens,
) -> Ask:
    """What an engine is asked; it goes on from `partial` where that is not empty."""
    done = None
    if partial.num:
        versions = partial.token_versions
        words = (partial.ids, partial.logprobs, partial.raw_logprobs, versions)
        done = Told(name, turn, attempt - 1, *words, finish_reason="abort")
    room = sampling.max_length - len(prompt.tokens)
    return Ask(
        sample=name,
        turn=turn,
        attempt=attempt,
        prompt=prompt,
        group=group,
        max_new_tokens=max(1, min(sampling.max_new_tokens, room)),
        temperature=sampling.temperature,
        top_k=sampling.top_k,
        top_p=sampling.top_p,
        stop=sampling.stop,
        seed=seed,
        done=done,
    )


def name_of(sample: SampleId) -> str:
    """What engines call a sample."""
    return f"{sample[0]}#{sample[1]}"


def tokens_of(told: Told) -> Tokens:
    """What was said, as the schedule keeps it; nothing where a number is not finite."""
    if not is_finite(told):
        return Tokens()
    return Tokens.of(told.tokens, told.logprobs, told.versions, told.raw_logprobs)


def is_finite(told: Told) -> bool:
    """Whether every log-probability is a number, which an engine of others may fail to give."""
    return all(map(math.isfinite, (*told.logprobs, *told.raw_logprobs)))
