"""A run's rollouts beside its training: the driver in a thread, and batches for the engine.

The trainer's thread takes batches, scores them under reference and teachers, and hands weights
over; everything else happens on the event loop of the driver's thread.
"""

import asyncio
import concurrent.futures
import dataclasses
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax

from cogvit_jax.program import BatchArrays, TrainState
from rl.programs.rl_batch import Built
from rl.resident import Resident
from rl.rollout import schedule, schedule_checks, schedule_json
from rl.rollout.driver import Driver, Parts
from rl.rollout.event_log import EventLog
from rl.rollout.sampling import SamplingSettings
from rl.rollout.schedule_settings import RolloutSettings
from rl.rollout.schedule_state import State
from rl.scoring import Score
from rl.spans import Span, Spans

Loop = asyncio.AbstractEventLoop


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a run is made of.

    Attributes:
        settings, sampling, seed: of the rollouts.
        parts: (saved curriculum or None) -> what the driver works with, and a function that gives
            the curriculum to save.
        log: number of events -> the event log, cut off behind so many.
        put: arrays on the host -> on the devices.
        score: log-probabilities of a batch.
        recompute: whether the loss asks for those of the policy before the step.
        residents: parameters that training starts from -> name of an array of the batch -> those
            that score it.
        inspect: (batch on the host, parameters before the step, batch on the devices) -> figures;
            stops a run that should not go on.
        publish: (version, parameters) -> what engines are given.
        spans: of the stages.
        figures: () -> more for the log.
    """

    settings: RolloutSettings
    sampling: SamplingSettings
    seed: int
    parts: Callable[[Any], tuple[Parts, Callable[[], Any]]]
    log: Callable[[int], EventLog]
    put: Callable[[dict[str, Any]], BatchArrays]
    score: Score
    recompute: bool
    residents: Callable[[Any], dict[str, Sequence[Resident]]]
    inspect: Callable[[Built, Any, dict[str, Any]], dict[str, float]]
    publish: Callable[[int, Any], Any]
    spans: Spans
    figures: Callable[[], dict[str, float]]


class Run:
    """Shared by the program's functions; nothing runs before `batches` and `begin`."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._residents: dict[str, Sequence[Resident]] = {}
        self._driver: Driver | None = None
        self._last: Any = ()
        self._params: Any = None
        self._inspected: dict[str, float] = {}
        self._taken = self._ended = 0.0
        self._watcher = concurrent.futures.ThreadPoolExecutor(1, "train")

    def batches(self, saved: dict[str, Any] | None) -> "Run":
        """Makes the driver, where `saved` says it was; see `cogvit_jax.program.Batches`."""
        plan = self._plan
        saved = saved or {}
        parts, self._curriculum = plan.parts(saved.get("curriculum"))
        state = schedule_json.from_json(saved["schedule"]) if saved else State()
        self._log = plan.log(saved.get("log", 0))
        began = time.monotonic() - state.time
        self._driver = Driver(
            plan.settings,
            plan.sampling,
            plan.seed,
            state,
            dataclasses.replace(parts, record=self._record, announce=self._prefetch),
            lambda: time.monotonic() - began,
            plan.spans,
        )
        self._loop: Loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="rollouts", daemon=True)
        self._running: concurrent.futures.Future[None] | None = None
        self._built: Built | None = None
        return self

    def begin(self, state: TrainState) -> None:
        """Starts the rollouts with the weights that training starts with."""
        self._residents = self._plan.residents(state.params)
        self._params = state.params
        self._offer(int(state.step), state.params)
        self._thread.start()
        assert self._driver is not None
        self._driver.start(int(state.step))
        self._running = asyncio.run_coroutine_threadsafe(self._driver.run(), self._loop)

    def hook(self, step: int, state: TrainState, metrics: dict[str, Any]) -> None:
        """Tells the driver of a step, and hands its weights over."""
        self._last = metrics["loss"]
        names = tuple(name.rpartition("/")[2] for name in self.ids)  # as engines call samples
        self._watcher.submit(self._watch, f"step {step - 1}", self._taken, self._last, names)
        self._params = state.params  # valid until the next step is given them
        self._offer(step, state.params)
        self._call(lambda driver: driver.trained(step - 1))

    def __next__(self) -> BatchArrays:
        """The next batch, scored; waits for its rollouts."""
        built: Built = self._wait(self._take())
        self._built = built
        self._taken = self._plan.spans.clock()
        arrays = self._plan.put(built.arrays)
        if self._plan.recompute:
            arrays["old_logprobs"] = self._plan.score(self._params, arrays)
        for name, residents in self._residents.items():
            found = [r.use(self._plan.score, arrays, after=self._last) for r in residents]
            arrays[name] = jax.numpy.stack(found, axis=-1) if name in STACKED else found[0]
        self._inspected |= self._plan.inspect(built, self._params, arrays)
        return arrays

    @property
    def ids(self) -> Sequence[str]:
        """Of the samples of the batch handed out last."""
        return self._built.ids if self._built else ()

    def stats(self) -> dict[str, float]:
        """Of the batch handed out last, and of the run."""
        figures = dict(self._built.figures) if self._built else {}
        figures |= self._inspected
        self._inspected = {}
        for name, residents in self._residents.items():
            for resident in residents:
                figures |= resident.copies.figures(name)
        return figures | self._plan.figures() | self._wait(self._measure())

    def get_state(self) -> dict[str, Any]:
        """All that a resumed run needs: the schedule, the curriculum, the place in the log."""

        async def save() -> dict[str, Any]:
            assert self._driver is not None
            self._log.flush(sync=True)
            return {
                "schedule": schedule_json.to_json(self._driver.state),
                "curriculum": self._curriculum(),
                "log": self._log.num_events,
            }

        return self._wait(save())

    def close(self) -> None:
        """Ends the rollouts and the thread."""
        if self._running is not None:
            self._running.cancel()
            asyncio.run_coroutine_threadsafe(_settled(), self._loop).result(60)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._watcher.shutdown()
        self._log.close()
        self._loop.close()

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

    def _prefetch(self, step: int) -> None:
        for residents in self._residents.values():
            residents[0].prefetch()

    def _offer(self, version: int, params: Any) -> None:
        given = self._plan.publish(version, params)
        self._call(lambda driver: driver.offer(version, given))

    def _call(self, use: Callable[[Driver], None]) -> None:
        assert self._driver is not None
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

    async def _take(self) -> Built:
        assert self._driver is not None
        return await self._driver.batches.get()

    def _wait(self, work: Any) -> Any:
        """What a coroutine of the loop gives; raises what stopped the driver."""
        assert self._running is not None
        asked = asyncio.run_coroutine_threadsafe(work, self._loop)
        done, _ = concurrent.futures.wait(
            [asked, self._running], return_when=concurrent.futures.FIRST_COMPLETED
        )
        if asked not in done:
            asked.cancel()
            self._running.result()
            raise RuntimeError("the rollouts have ended")
        return asked.result()


STACKED = ("teacher_logprobs",)


async def _settled() -> None:
    """Lets what was cancelled end."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        await asyncio.wait(others, timeout=30)
