"""The stages that the schedule starts: each takes a command and ends in a fact, or in a batch."""

import asyncio
from collections.abc import Callable
from typing import Any

from absl import logging

from rl.rollout import events
from rl.rollout.asking import ask_of, ending, name_of, reason_of, tokens_of
from rl.rollout.events import Fact
from rl.rollout.in_flight import InFlight
from rl.rollout.parts import Parts
from rl.rollout.protocol import EngineDied, RolloutEngine
from rl.rollout.sampling import SamplingSettings
from rl.rollout.schedule_state import State
from rl.rollout.tokens import Tokens
from rl.spans import Spans

SECONDS = 5  # between warnings; an engine that is gone has one for each of its samples


class Stages:
    """What works on groups in flight, and stands between them and the trainer. Of one event loop.

    Args:
        sampling: how replies are drawn.
        seed: of the run's random numbers.
        state: of the schedule, which only the driver changes.
        parts: of the run.
        report: takes facts.
        clock: seconds from the run's start.
        spans: where the stages' times go.

    Attributes:
        in_flight: tasks and episodes.
        batches: that are built.
        engine: None before the first weights are there.
        problem: the newest fault of an engine or a judge, in words; "" = there was none.
    """

    def __init__(
        self,
        sampling: SamplingSettings,
        seed: int,
        state: State,
        parts: Parts,
        report: Callable[[Fact], None],
        clock: Callable[[], float],
        spans: Spans,
    ) -> None:
        self._sampling, self._seed, self._state, self._parts = sampling, seed, state, parts
        self._report, self._clock, self._spans = report, clock, spans
        self.in_flight = InFlight(state, parts)
        self.batches: asyncio.Queue[Any] = asyncio.Queue()
        self.engine: RolloutEngine | None = None
        self.problem = ""
        self._weights: tuple[int, Any] = (-1, None)
        self._arrived = asyncio.Event()
        self._building = asyncio.Lock()  # whose waiters go in their order

    def offer(self, version: int, params: Any) -> None:
        """The trainer has weights of this version; the newest ones count."""
        self._weights = version, params
        self._arrived.set()

    def admit(self, command: events.Admit) -> None:
        """Draws prompts and reports them, at once."""
        first = self._state.num_admitted
        for number, pick in enumerate(self._parts.draw(command.count), first):
            version = self._state.published
            self._report(events.Admitted(number, pick["category"], pick, version, self._clock()))

    def abort(self, command: events.Abort) -> None:
        """Tells the engine; what it was asked ends in a fact of its own."""
        assert self.engine is not None
        self.engine.abort([name_of(sample) for sample in command.samples])

    async def start(self, command: events.Start) -> None:
        """Asks the engine for a turn's words, and reports them."""
        episode = await self.in_flight.episode(command.sample)
        known = self._state.sample(command.sample)
        partial = known.partial
        request = command.sample, command.turn, command.attempt, partial.num
        if known.status == "aborting":  # before the engine was asked
            self._report(events.Finished(*request, Tokens(), "abort", self._clock()))
            return
        assert self.engine is not None
        ask = ask_of(
            self._sampling,
            self._seed,
            name_of(command.sample),
            str(command.sample[0]),
            command.turn,
            command.attempt,
            episode.prompt,
            partial,
        )
        if reason := ending(ask):
            self._report(events.Finished(*request, Tokens(), reason, self._clock()))
            return
        try:
            with self._spans.record("rollout", "row *", ask.sample, (ask.sample,)):
                told = await self.engine.generate(ask)
        except EngineDied as problem:
            self._note(f"{ask.sample} is lost: {problem}")
            lost = (events.Lost(*request, Tokens()),)
            self._report(events.EngineDied("engine", lost, self._clock()))
            return
        if told.error:
            self._note(f"{ask.sample} is refused: {told.error}")
        tokens = tokens_of(told).after(partial.num)
        self._report(events.Finished(*request, tokens, reason_of(told), self._clock()))

    async def step(self, command: events.Step) -> None:
        """Lets the environment act on a reply."""
        episode = await self.in_flight.episode(command.sample)
        known = self._state.sample(command.sample)
        with self._spans.record("environment", "environment *", ids=(name_of(command.sample),)):
            done = await episode.take(known.turns[command.turn], known.reasons[command.turn])
        self._report(events.Stepped(command.sample, command.turn, done, None, self._clock()))

    async def judge(self, command: events.Judge) -> None:
        """Asks for an episode's reward."""
        episode = await self.in_flight.episode(command.sample)
        with self._spans.record("reward", "reward *", ids=(name_of(command.sample),)):
            verdict = await self._parts.judge(episode.rollout)
        if verdict.kind != "value":
            self._note(f"{name_of(command.sample)} has no reward: {verdict.kind}, {verdict.reason}")
        details = {"reason": verdict.reason, **verdict.details}
        self._report(
            events.Rewarded(
                command.sample,
                command.judging,
                verdict.kind,
                verdict.value,
                details,
                self._clock(),
            )
        )

    async def train(self, command: events.Train) -> None:
        """Builds a batch for the trainer to take; `Trained` comes when it has done the step.

        One after the other, since the trainer takes them in the order of their steps.
        """
        self._parts.announce(command.step)
        async with self._building:
            self.batches.put_nowait(await self._build(command))

    async def _build(self, command: events.Train) -> Any:
        groups = [self._state.groups[g] for g in (*command.groups, *command.reused)]
        episodes = {
            s.id: await self.in_flight.episode(s.id) for group in groups for s in group.valid
        }
        names = [name_of(sample) for sample in episodes]
        with self._spans.record("batch", "batch *", f"step {command.step}", names):
            return await asyncio.to_thread(self._parts.build, command.step, groups, episodes)

    async def publish(self, command: events.Publish) -> None:
        """Gives the engine the newest weights, once they are those asked for or newer."""
        while self._weights[0] < command.version:
            self._arrived.clear()
            await self._arrived.wait()
        version, params = self._weights
        with self._spans.record("publish", "publish", f"version {version}"):
            if self.engine is None:
                self.engine = self._parts.engine(version, params)
            else:
                await self.engine.publish(version, params)
        self._report(events.Published(command.version, self._clock()))

    def _note(self, problem: str) -> None:
        logging.log_every_n_seconds(logging.WARNING, "%s", SECONDS, problem)
        self.problem = problem
