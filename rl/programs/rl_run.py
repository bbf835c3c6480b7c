"""A run's rollouts beside its training: the driver in a thread, and batches for the engine.

The trainer's thread takes batches, scores them under reference and teachers, and hands weights
over; everything else happens on the event loop of the driver's thread.

Of several processes that train, the first one has the driver. All of them make the same calls in
the same order: what they compute together (scoring, publishing, steps) they just do, what needs the
driver goes through `Plan.lead`.
"""

import asyncio
import concurrent.futures
import dataclasses
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from absl import logging

from cogvit_jax import processes
from cogvit_jax.program import BatchArrays, Interrupted, TrainState
from cogvit_jax.settings import ConfigError
from rl.lead import ALONE, Lead
from rl.programs.rl_batch import Built
from rl.resident import Visits, visit
from rl.rollout import schedule, schedule_checks, schedule_json
from rl.rollout.driver import Driver
from rl.rollout.event_log import EventLog
from rl.rollout.parts import Parts
from rl.rollout.sampling import SamplingSettings
from rl.rollout.schedule_settings import RolloutSettings
from rl.rollout.schedule_state import State
from rl.scoring import Score
from rl.spans import Span, Spans

Loop = asyncio.AbstractEventLoop
POLL = 0.5  # seconds between two looks at whether a signal has come
CLOSE_SECONDS = 300.0  # for engines that compile, the last weights, and what hangs
SETTLE_SECONDS = 30.0  # for tasks that were cancelled


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a run is made of.

    Attributes:
        settings, sampling, seed: of the rollouts.
        parts: (saved curriculum or None) -> what the driver works with, and a function that gives
            the curriculum to save.
        log: number of events -> the event log, cut off behind so many.
        put: (what `parts` packed, its outline) -> arrays on the devices, and figures for the log;
            see `rl.delivery`.
        score: log-probabilities of a batch.
        recompute: whether the loss asks for those of the policy before the step.
        residents: parameters that training starts from -> name for the log -> those that score
            each batch.
        inspect: (batch on the host, parameters before the step, batch on the devices) -> figures;
            stops a run that should not go on.
        publish: (version, parameters) -> what engines are given; called by all processes.
        leave: ends what `publish` uses, in a process without a driver.
        spans: of the stages.
        save_spans: writes them to where they can be looked at.
        lead: who has the driver.
        updates: steps of the engine on every batch, which make one version.
        weights: the policy's parameters, as it plays and scores with them, of a state.
    """

    settings: RolloutSettings
    sampling: SamplingSettings
    seed: int
    parts: Callable[[Any], tuple[Parts, Callable[[], Any]]]
    log: Callable[[int], EventLog]
    put: Callable[[Any, Any], tuple[BatchArrays, dict[str, float]]]
    score: Score
    recompute: bool
    residents: Callable[[Any], Mapping[str, Visits]]
    inspect: Callable[[Built, Any, dict[str, Any]], dict[str, float]]
    publish: Callable[[int, Any], Any]
    leave: Callable[[], None]
    spans: Spans
    save_spans: Callable[[], object]
    lead: Lead = ALONE
    updates: int = 1
    weights: Callable[[TrainState], Any] = lambda state: state.params


class Run:
    """Shared by the program's functions; nothing runs before `batches` and `begin`."""

    def __init__(self, plan: Plan) -> None:
        self._plan, self._lead = plan, plan.lead
        self._visits: Mapping[str, Visits] = {}
        self._driver: Driver | None = None
        self._last: Any = ()
        self._params: Any = None
        self._running: concurrent.futures.Future[None] | None = None
        self._built: Built | None = None
        self._arrays: BatchArrays = {}
        self._left = 0
        self._interrupted = False
        self._told: dict[str, float] = {}
        self._taken = self._ended = 0.0
        self._watcher = concurrent.futures.ThreadPoolExecutor(1, "train")

    def batches(self, saved: dict[str, Any] | None) -> "Run":
        """Makes the driver, where `saved` says it was; see `cogvit_jax.program.Batches`."""
        self._lead.do(lambda: self._open(saved or {}))
        return self

    def begin(self, state: TrainState) -> None:
        """Starts the rollouts with the weights that training starts with."""
        self._params = self._plan.weights(state)
        self._visits = self._plan.residents(self._params)
        version, left = divmod(int(state.step), self._plan.updates)
        if left:
            raise ConfigError(
                f"config.algorithm.updates = {self._plan.updates}: the checkpoint of step "
                f"{int(state.step)} is in the middle of a batch. Set it to what it was."
            )
        self._offer(version, self._params)
        if self._driver is not None:
            self._driver.start(version)
            self._thread.start()
            self._running = asyncio.run_coroutine_threadsafe(self._driver.run(), self._loop)

    def hook(self, step: int, state: TrainState, metrics: dict[str, Any]) -> None:
        """After the last step on a batch, tells the driver of it and hands its weights over."""
        self._last = metrics["loss"]
        self._params = self._plan.weights(state)  # valid until the next step is given them
        if self._lead.first:
            names = tuple(name.rpartition("/")[2] for name in self.ids)  # as engines call samples
            label = f"step {(step - 1) // self._plan.updates}"
            self._watcher.submit(self._watch, label, self._taken, self._last, names)
        version, left = divmod(step, self._plan.updates)
        if not left:
            self._offer(version, self._params)
            self._call(lambda driver: driver.trained(version - 1))

    def __next__(self) -> BatchArrays:
        """The batch of the step before while it has updates left, else the next one."""
        if not self._left:
            self._arrays, self._left = self._next_scored(), self._plan.updates
        self._left -= 1
        arrays = self._arrays
        if not self._left:
            self._arrays = {}
        return arrays

    def _next_scored(self) -> BatchArrays:
        """The next batch, scored by the policy as it is now; waits for its rollouts."""
        told = self._lead.tell(self._take)
        if told is None:
            raise Interrupted
        built = self._built if self._lead.first else Built(told["step"], None, (), {})
        assert built is not None
        if self._lead.several:
            self._prefetch()  # here rather than when it is announced: in the same order on all
        arrays, figures = self._plan.put(built.cargo, told["outline"])
        self._told |= figures
        if self._plan.recompute:
            arrays["old_logprobs"] = self._plan.score(self._params, arrays)
        arrays |= visit(list(self._visits.values()), arrays, after=self._last)
        self._told |= self._plan.inspect(built, self._params, arrays)
        return arrays

    @property
    def ids(self) -> Sequence[str]:
        """Of the samples of the batch handed out last."""
        return self._built.ids if self._built else ()

    def stats(self) -> dict[str, float]:
        """Of the batch handed out last, and of the run; only process 0 tells them."""
        return self._lead.do(self._figures) or {}

    def get_state(self) -> dict[str, Any]:
        """All that a resumed run needs: the schedule, the curriculum, the place in the log.

        Only process 0, which writes it, has it.
        """

        async def save() -> dict[str, Any]:
            assert self._driver is not None
            self._log.flush(sync=True)
            return {
                "schedule": schedule_json.to_json(self._driver.state),
                "curriculum": self._curriculum(),
                "log": self._log.num_events,
            }

        return self._lead.do(lambda: self._wait(save())) or {}

    def close(self) -> None:
        """Ends the rollouts and the thread."""
        self._lead.end(sys.exception())
        if self._driver is None:
            self._plan.leave()
            return
        if self._running is None:
            self._thread.start()  # what the rollouts would have used is there, and is closed
        try:
            asyncio.run_coroutine_threadsafe(self._end(self._driver), self._loop).result()
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._watcher.shutdown()
        self._log.close()
        self._loop.close()

    async def _end(self, driver: Driver) -> None:
        """Ends the rollouts and all that they use; does not wait for ever for what hangs."""
        if self._running is not None:
            self._running.cancel()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await driver.close()
        except TimeoutError:
            logging.warning("rollouts were not closed within %.0f s", CLOSE_SECONDS)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=SETTLE_SECONDS)

    def _open(self, saved: dict[str, Any]) -> None:
        plan = self._plan
        parts, self._curriculum = plan.parts(saved.get("curriculum"))
        state = schedule_json.from_json(saved["schedule"]) if saved else State()
        self._log = plan.log(saved.get("log", 0))
        began = time.monotonic() - state.time
        announce = (lambda step: None) if self._lead.several else (lambda step: self._prefetch())
        self._driver = Driver(
            plan.settings,
            plan.sampling,
            plan.seed,
            state,
            dataclasses.replace(parts, record=self._record, announce=announce),
            lambda: time.monotonic() - began,
            plan.spans,
        )
        self._loop: Loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="rollouts", daemon=True)

    def interrupt(self) -> None:
        """Ends waiting for rollouts, which takes minutes: see `cogvit_jax.program.Program`.

        Of several processes none is told so; they look at `processes.preempted`.
        """
        self._interrupted = True

    def _take(self) -> dict[str, Any] | None:
        """Waits for a batch, and gives what all processes need to know of it; None: they stop."""

        async def take() -> Built:
            assert self._driver is not None
            return await self._driver.batches.get()

        try:
            built: Built = self._wait(take(), self._is_to_stop)
        except Interrupted:
            return None
        self._built, self._taken = built, self._plan.spans.clock()
        return {"step": built.step, "outline": built.outline}

    def _figures(self) -> dict[str, float]:
        figures = dict(self._built.figures) if self._built else {}
        figures |= self._told
        self._told = {}
        for name, visits in self._visits.items():
            for resident in visits.residents:
                figures |= resident.copies.figures(name)
        self._plan.save_spans()
        return figures | self._wait(self._measure())

    def _watch(self, label: str, taken: float, done: Any, ids: tuple[str, ...]) -> None:
        """The trainer's span, from when it took the batch to the end of the step."""
        jax.block_until_ready(done)
        spans = self._plan.spans
        spans.add(Span("train", "trainer", max(taken, self._ended), spans.clock(), label, ids))
        self._ended = spans.clock()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _record(self, event: Any) -> None:
        self._log.append(event)

    def _prefetch(self) -> None:
        for visits in list(self._visits.values())[:1]:
            visits.residents[0].prefetch()

    def _offer(self, version: int, params: Any) -> None:
        given = self._plan.publish(version, params)
        self._call(lambda driver: driver.offer(version, given))

    def _call(self, use: Callable[[Driver], None]) -> None:
        if self._driver is not None:
            self._loop.call_soon_threadsafe(use, self._driver)

    async def _measure(self) -> dict[str, float]:
        """Of the schedule and the engine so far; how lengths trained differ from those issued."""
        assert self._driver is not None
        state = self._driver.state
        found = schedule_checks.metrics(self._plan.settings, state)
        figures = {f"rl/schedule/{name}": value for name, value in found.items()}
        for source, audit in schedule.length_audit(state).items():
            prefix = f"rl/source/{source}" if source else "rl"
            names = ("ks", "mean_issued", "mean_trained", "num_dropped")
            figures |= {f"{prefix}/lengths/{name}": audit[name] for name in names}
        engine = self._driver.engine
        told = {} if engine is None else engine.stats()
        return figures | {f"rl/engine/{name}": value for name, value in told.items()}

    def _wait(self, work: Any, interrupted: Callable[[], bool] = lambda: False) -> Any:
        """What a coroutine of the loop gives; raises what stopped the driver, or Interrupted."""
        assert self._running is not None
        asked = asyncio.run_coroutine_threadsafe(work, self._loop)
        first = concurrent.futures.FIRST_COMPLETED
        done: Any = ()
        while not done and not (interrupted() and self._fine()):
            done, _ = concurrent.futures.wait([asked, self._running], POLL, return_when=first)
        if asked not in done:
            asked.cancel()
            if self._running not in done:
                raise Interrupted
            self._running.result()
            raise RuntimeError("the rollouts have ended")
        return asked.result()

    def _is_to_stop(self) -> bool:
        return self._interrupted or (self._lead.several and processes.preempted())

    def _fine(self) -> bool:
        """Whether the driver goes on; one that has failed is waited for, as it closes its parts."""
        return self._driver is None or self._driver.problem is None
