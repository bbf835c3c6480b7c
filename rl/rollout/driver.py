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
from collections.abc import Awaitable, Callable
from typing import Any

from absl import logging

from rl.rollout import events, schedule
from rl.rollout import replay as replay_log
from rl.rollout.events import Command, Fact
from rl.rollout.parts import Parts
from rl.rollout.protocol import RolloutEngine
from rl.rollout.sampling import SamplingSettings
from rl.rollout.schedule_settings import RolloutSettings
from rl.rollout.schedule_state import State
from rl.rollout.stages import Stages
from rl.spans import Spans


class Unanswered(RuntimeError):
    """`rollout.max_unanswered` groups in a row had no answers, or no verdicts with a reward."""


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
        self.state = state
        self._settings, self._parts, self._clock = settings, parts, clock
        self._stages = Stages(sampling, seed, state, parts, self._report, clock, spans)
        self._changed = asyncio.Event()
        self._problem: Exception | None = None
        self._closing: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._num_unanswered = 0

    @property
    def batches(self) -> asyncio.Queue[Any]:
        """That are built, for the trainer to take."""
        return self._stages.batches

    @property
    def engine(self) -> RolloutEngine | None:
        """None before the first weights are there."""
        return self._stages.engine

    @property
    def problem(self) -> Exception | None:
        """What ended the run, or is about to: `run` raises it once all is closed."""
        return self._problem

    def start(self, version: int) -> None:
        """The first event of this process: the run begins, or goes on, at the trainer's version.

        Raises:
            ScheduleError: the state that was saved is of another version.
        """
        if self.state.time or self.state.num_admitted:
            self._take(events.Resumed(version, self._clock()))
        else:
            self._take(replay_log.began(self._settings, version))

    async def run(self) -> None:
        """Until it is cancelled; `close` ends what it used, also where `run` was never called.

        Raises:
            Unanswered: nothing comes of what is asked.
            Exception: whatever a part raised.
        """
        try:
            while self._problem is None:
                self._decide()
                await self._change()
            raise self._problem
        finally:
            await self.close()

    async def close(self) -> None:
        """Ends the engine and the parts, once; who is cancelled meanwhile does not cut that short.

        Where `run` is not over it is to be cancelled first.
        """
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        for what in (self.engine, self._parts):
            try:
                if what is not None:
                    await what.close()
            except Exception:  # what ended the run is told, not what its end met
                logging.exception("closing the rollouts")

    def offer(self, version: int, params: Any) -> None:
        """The trainer has weights of this version; the newest ones count."""
        self._stages.offer(version, params)

    def trained(self, step: int) -> None:
        """The trainer has done a step."""
        try:
            self._report(events.Trained(step, self._clock()))
        except Exception as problem:  # nobody awaits this: the run learns of it
            self._fail(problem)

    def _decide(self) -> None:
        while commands := schedule.decide(self._settings, self.state, self._clock()):
            for command in commands:
                self._take(command)
                self._carry_out(command)

    def _take(self, event: Fact | Command) -> None:
        """Records and applies. A fact may be older than a decision that was taken meanwhile."""
        event = dataclasses.replace(event, time=max(event.time, self.state.time))
        self._parts.record(event)
        ends = isinstance(event, events.Train | events.Trained | events.Drop)
        held = dict(self.state.groups) if ends else {}
        schedule.apply(self._settings, self.state, event)
        self._count_unanswered(event)
        for number, group in held.items():
            if number not in self.state.groups:
                self._parts.settled(group)
                self._stages.in_flight.forget(group)

    def _count_unanswered(self, event: Fact | Command) -> None:
        """Ends a run of which nothing would come but prompts that are used up."""
        if isinstance(event, events.Rewarded):
            group = self.state.groups.get(event.sample[0])
            if group is not None and group.status == "ready":
                self._num_unanswered = 0
        if not isinstance(event, events.Drop) or event.reason == "equal":
            return
        self._num_unanswered += 1
        if self._num_unanswered == self._settings.max_unanswered:
            self._problem = Unanswered(
                f"the last {self._num_unanswered} groups were dropped without enough rewards "
                f"({event.reason}); the newest problem: {self._stages.problem or 'none'}. Mend it "
                "and run the same command again, or raise config.rollout.max_unanswered."
            )

    async def _change(self) -> None:
        """Returns when something was reported, or it is time to decide without."""
        deadline = schedule.next_deadline(self._settings, self.state)
        wait = None if deadline is None else max(0.0, deadline - self._clock())
        # Not `wait_for`, which before Python 3.12 forgets that it was cancelled where both happen.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await self._changed.wait()
        self._changed.clear()

    def _carry_out(self, command: Command) -> None:
        if isinstance(command, events.Abort):
            self._stages.abort(command)
        elif isinstance(command, events.Admit):
            self._stages.admit(command)
        elif not isinstance(command, events.Drop):
            self._spawn(CARRIERS[type(command)], command)

    def _spawn(self, carrier: Callable[[Stages, Any], Awaitable[None]], command: Command) -> None:
        async def guarded() -> None:
            try:
                await carrier(self._stages, command)
            except asyncio.CancelledError:
                raise
            except Exception as problem:
                self._fail(problem)

        task = asyncio.get_running_loop().create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _fail(self, problem: Exception) -> None:
        self._problem = self._problem or problem
        self._changed.set()

    def _report(self, fact: Fact) -> None:
        """Applied at once, so that a state that is saved lacks nothing; decided on soon."""
        self._take(fact)
        self._changed.set()


CARRIERS: dict[type, Callable[[Stages, Any], Awaitable[None]]] = {
    events.Start: Stages.start,
    events.Step: Stages.step,
    events.Judge: Stages.judge,
    events.Train: Stages.train,
    events.Publish: Stages.publish,
}
