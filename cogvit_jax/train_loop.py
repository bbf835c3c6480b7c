"""The engine: a program says what differs, this loop is what does not.

    run: for each batch: state, metrics = step_fn(state, frozen, batch); for hook in hooks: hook(…)

A run continues from the newest checkpoint of its workdir: parameters, optimizer, rng and place in
the data, so that an interrupted run ends in the same parameters as an uninterrupted one.
"""

import contextlib
import dataclasses
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.experimental import multihost_utils
from rich.console import Console

from cogvit_jax import hooks, metrics, optim, settings, sharding
from cogvit_jax.checkpoint import Checkpointer, require_writable
from cogvit_jax.program import Batches, Hook, Interrupted, Program, TrainState
from cogvit_jax.train_step import StepFn, init_state, make_step, state_shapes, state_shardings
from cogvit_jax.warm_start import warm_start


@dataclasses.dataclass(frozen=True)
class TrainSettings:
    """`config.train`.

    Attributes:
        steps: where training ends.
        log_every, eval_every, save_every: in steps; 0 = never. All also happen at the last step.
        eval_start: whether a run also evaluates what it starts from, as step 0.
        keep_last, keep_every: checkpoints kept: the newest, and each multiple of `keep_every`.
        microbatches: the batch is taken in this many parts, one after the other.
        tpu_compiler_options: (name, value) pairs for XLA where the step runs on TPUs.
        nonfinite: on a NaN or infinite loss "stop", or "skip" the update up to `max_skips` times.
        profile_start, profile_stop: steps traced into workdir/profile; 0, 0 = none.
        init_from: workdir whose newest parameters a fresh run starts from; "" = none.
        init_rules: which of them and under what names, see `warm_start`.
    """

    steps: int
    log_every: int = 50
    eval_every: int = 0
    save_every: int = 1000
    eval_start: bool = False
    keep_last: int = 2
    keep_every: int = 0
    microbatches: int = 1
    tpu_compiler_options: tuple[tuple[str, str], ...] = ()
    nonfinite: str = "stop"
    max_skips: int = 0
    profile_start: int = 0
    profile_stop: int = 0
    init_from: str = ""
    init_rules: tuple[tuple[str, str], ...] = ()


def run(
    program: Program,
    config: Any,
    workdir: str,
    console: Console | None = None,
    started: float | None = None,
) -> TrainState:
    """Trains to `config.train.steps` and returns the final state.

    Args:
        program: what to train.
        config: with sections `train`, `optim`, `mesh` and the number `seed`.
        workdir: metrics, plots and checkpoints go here; an earlier run there is continued.
        console: where progress is shown.
        started: time.perf_counter() when the process began, for the start-up time; default: now.

    Raises:
        ConfigError: a field is wrong.
        NonFiniteLoss: the loss became NaN or infinite.
        CheckpointError: the workdir's checkpoint cannot be used.
    """
    options = settings.read(TrainSettings, config.train, "config.train")
    require_writable(workdir)
    console = console if console is not None else Console(quiet=jax.process_index() > 0)
    with contextlib.ExitStack() as stack:
        startup = stack.enter_context(contextlib.closing(StartUp(started)))
        saved = Checkpointer(workdir, options.keep_last, options.keep_every)
        stack.callback(saved.close)
        setup = prepare(program, config, options, console)
        frozen = program.frozen()
        state, data_state = start(setup, saved, frozen, config, options, console)
        first = int(state.step)
        batches = stack.enter_context(contextlib.closing(program.batches(data_state)))
        kept = first or -1  # nothing of an earlier try that has left no checkpoint
        writer = stack.enter_context(contextlib.closing(metrics.Writer(workdir, kept)))
        bar, show = hooks.progress(console, first, options.steps)
        stack.enter_context(bar)
        timer, later = metrics.StepTimer(), hooks.Later()
        tools = Tools(workdir, saved, frozen, batches, writer, timer, later, console)
        each_step = standard_hooks(setup, options, tools, int(state.skipped), show, startup)
        profile = hooks.profile(workdir, options.profile_start, options.profile_stop, first)
        each_step.append(stack.enter_context(profile))
        stopping = stack.enter_context(stop_on_signal(console, program.interrupt))
        if options.eval_start and not first and program.evaluators:
            hooks.evaluate(program.evaluators, writer, timer, console)(0, state, {})
        program.begin(state)
        asked = False
        for step in range(first + 1, options.steps + 1):
            try:
                state, measured = take_step(setup, state, tools)
            except Interrupted:
                leave(step - 1, state, tools)
                break
            if step == first + 1:
                startup.end(measured, console)
            tools.later.deliver()  # the numbers of the step before, while this one runs
            for hook in each_step:
                hook(step, state, measured)
            asked = asked or stopping(step)
            if asked and program.may_stop(step):
                leave(step, state, tools)
                break
        saved.wait()
    return state


def leave(step: int, state: TrainState, tools: "Tools") -> None:
    """Saves a run that was asked to stop."""
    tools.later.deliver()
    tools.writer.flush()
    tools.saved.save(step, state, tools.batches.get_state())
    tools.console.print(f"Stopped at step {step}; run the same command to go on.")


@dataclasses.dataclass(frozen=True)
class Setup:
    """What is built once, before the first step."""

    program: Program
    optimizer: optim.Optimizer
    shapes: TrainState
    shardings: TrainState
    step_fn: StepFn


def prepare(program: Program, config: Any, options: TrainSettings, console: Console) -> Setup:
    """Routes the optimizer, places the state and builds the step; nothing is computed yet."""
    params = jax.eval_shape(program.init, jax.random.key(0))
    placed = sharding.param_shardings(program.mesh, config.mesh.rules, params)
    optimizer = optim.build(config.optim, params, options.steps, placed)
    console.print(optimizer.table, width=max(console.width, 120), soft_wrap=True)
    shapes = state_shapes(program, optimizer.transform, config.seed)
    shardings = state_shardings(program, config.mesh.rules, shapes)
    on_tpu = program.mesh.devices.flat[0].platform == "tpu"
    step_fn = make_step(
        program,
        optimizer.transform,
        optimizer.groups,
        shardings,
        options.microbatches,
        dict(options.tpu_compiler_options) if on_tpu else None,
    )
    return Setup(program, optimizer, shapes, shardings, step_fn)


def start(
    setup: Setup,
    saved: Checkpointer,
    frozen: Any,
    config: Any,
    options: TrainSettings,
    console: Console,
) -> tuple[TrainState, dict[str, Any] | None]:
    """The newest checkpoint's state and data state, or a fresh state and None."""
    if saved.latest_step is not None:
        state, data_state = saved.restore(setup.shapes, setup.shardings)
        console.print(f"Resuming {saved.directory} from step {int(state.step)}.")
        return state, data_state
    program = setup.program
    state = init_state(program, setup.optimizer.transform, config.seed, setup.shardings)
    if options.init_from:
        params = warm_start(state.params, options.init_from, options.init_rules, config, console)
        state = state.replace(params=params)
    if program.statistics is not None:
        values = program.statistics.calibrate(frozen)
        state = state.replace(statistics=sharding.replicate(program.mesh, values))
    return state, None


@dataclasses.dataclass(frozen=True)
class Tools:
    """What the loop and its hooks share."""

    workdir: str
    saved: Checkpointer
    frozen: Any
    batches: Batches
    writer: metrics.Writer
    timer: metrics.StepTimer
    later: hooks.Later
    console: Console


def take_step(
    setup: Setup, state: TrainState, tools: Tools
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Dispatches one step, without waiting for it: (state, metrics)."""
    program = setup.program
    began = time.perf_counter()
    batch = next(tools.batches)
    waited = time.perf_counter() - began
    state, measured = setup.step_fn(state, tools.frozen, batch)
    tools.timer.add(program.num_examples(batch), program.step_flops(batch), waited)
    return state, measured


def standard_hooks(
    setup: Setup,
    options: TrainSettings,
    tools: Tools,
    skipped: int,
    show: Callable[..., None],
    startup: "StartUp",
) -> list[Hook]:
    """What every run does beside its steps, in order."""
    last, program, writer = options.steps, setup.program, tools.writer
    batches, saved, timer, later = tools.batches, tools.saved, tools.timer, tools.later
    guard = hooks.Guard(options.nonfinite, options.max_skips, skipped, batches, saved, later)
    schedules = setup.optimizer.schedules
    log = hooks.log(writer, timer, schedules, show, batches, guard, later, startup.figures)
    evaluate = hooks.evaluate(program.evaluators, writer, timer, tools.console)

    def due(step: int) -> bool:
        """Whether the step is evaluated or saved, by its own numbers."""
        intervals = (options.eval_every, options.save_every)
        return step == last or any(n and step % n == 0 for n in intervals)

    return [
        guard,
        *program.hooks,
        hooks.every(options.log_every, log, last),
        hooks.settle(later, due),
        hooks.every(options.eval_every, evaluate, last),
        hooks.every(options.eval_every, hooks.plot(tools.workdir, writer), last),
        hooks.every(options.save_every, hooks.save(saved, batches, timer, writer), last),
    ]


class StartUp:
    """Measures the time to the end of the first step.

    Attributes:
        figures: seconds in all, and those that JAX spent tracing, lowering, and compiling or
            loading compiled code; empty until `end`.
    """

    def __init__(self, started: float | None):
        self._started = time.perf_counter() if started is None else started
        self._compiling = 0.0
        self.figures: dict[str, float] = {}
        jax.monitoring.register_event_duration_secs_listener(self._listen)

    def end(self, measured: Any, console: Console) -> None:
        """Waits for the first step's metrics and tells how long all took."""
        jax.block_until_ready(measured)
        seconds = time.perf_counter() - self._started
        self.figures |= {
            "time/startup_seconds": seconds,
            "time/startup_compile_seconds": self._compiling,
        }
        console.print(
            f"First step done after {seconds:.1f} s, {self._compiling:.1f} s of them compiling."
        )

    def close(self) -> None:
        """Stops listening."""
        jax.monitoring.unregister_event_duration_listener(self._listen)

    def _listen(self, event: str, duration_secs: float, **_: Any) -> None:
        if event.startswith("/jax/core/compile/"):
            self._compiling += duration_secs


@contextlib.contextmanager
def stop_on_signal(
    console: Console, interrupt: Callable[[], None]
) -> Iterator[Callable[[int], bool]]:
    """Yields `stopping(step)`: whether SIGTERM or Ctrl-C has come and the run should save and end.

    `interrupt` is called when one has.

    A second Ctrl-C ends at once. With several processes JAX's preemption service decides, so that
    all of them stop at the same step.
    """
    if jax.process_count() > 1:
        yield multihost_utils.reached_preemption_sync_point
        return
    received: list[int] = []
    previous: dict[int, Any] = {}

    def handle(number: int, frame: Any) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)
        interrupt()
        console.print("Stopping after this step; the run is saved.")

    if threading.current_thread() is threading.main_thread():
        previous = {n: signal.signal(n, handle) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda step: bool(received)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
