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
from absl import logging
from jax.experimental import multihost_utils
from rich.console import Console

from cogvit_jax import hooks, metrics, optim, settings
from cogvit_jax.checkpoint import Checkpointer, require_writable
from cogvit_jax.program import Batches, Hook, Program, TrainState
from cogvit_jax.train_step import StepFn, init_state, make_step, state_shapes, state_shardings


@dataclasses.dataclass(frozen=True)
class TrainSettings:
    """`config.train`.

    Attributes:
        steps: where training ends.
        log_every, eval_every, save_every: in steps; 0 = never. All also happen at the last step.
        keep_last, keep_every: checkpoints kept: the newest, and each multiple of `keep_every`.
        microbatches: the batch is taken in this many parts, one after the other.
        nonfinite: on a NaN or infinite loss "stop", or "skip" the update up to `max_skips` times.
        profile_start, profile_stop: steps traced into workdir/profile; 0, 0 = none.
    """

    steps: int
    log_every: int = 50
    eval_every: int = 0
    save_every: int = 1000
    keep_last: int = 2
    keep_every: int = 0
    microbatches: int = 1
    nonfinite: str = "stop"
    max_skips: int = 0
    profile_start: int = 0
    profile_stop: int = 0


def run(program: Program, config: Any, workdir: str, console: Console | None = None) -> TrainState:
    """Trains to `config.train.steps` and returns the final state.

    Args:
        program: what to train.
        config: with sections `train`, `optim`, `mesh` and the number `seed`.
        workdir: metrics, plots and checkpoints go here; an earlier run there is continued.
        console: where progress is shown.

    Raises:
        ConfigError: a field is wrong.
        NonFiniteLoss: the loss became NaN or infinite.
        CheckpointError: the workdir's checkpoint cannot be used.
    """
    options = settings.read(TrainSettings, config.train, "config.train")
    check_microbatches(options.microbatches, program)
    require_writable(workdir)
    console = console if console is not None else Console(quiet=jax.process_index() > 0)
    started = time.perf_counter()
    with contextlib.ExitStack() as stack:
        saved = Checkpointer(workdir, options.keep_last, options.keep_every)
        stack.callback(saved.close)
        setup = prepare(program, config, options, console)
        state, data_state = start(setup, saved, config.seed, console)
        first = int(state.step)
        batches = stack.enter_context(contextlib.closing(program.batches(data_state)))
        writer = stack.enter_context(contextlib.closing(metrics.Writer(workdir, first)))
        timer = metrics.StepTimer()
        bar, show = hooks.progress(console, first, options.steps)
        stack.enter_context(bar)
        each_step = standard_hooks(
            setup, options, workdir, saved, batches, writer, timer, show, console
        )
        profile = hooks.profile(workdir, options.profile_start, options.profile_stop, first)
        each_step.append(stack.enter_context(profile))
        stopping = stack.enter_context(stop_on_signal(console))
        for step in range(first + 1, options.steps + 1):
            began = time.perf_counter()
            batch = next(batches)
            waited = time.perf_counter() - began
            state, step_metrics = setup.step_fn(state, program.frozen, batch)
            if step == first + 1:
                jax.block_until_ready(step_metrics)
                logging.info("First step done after %.1f s.", time.perf_counter() - started)
            timer.add(program.num_examples(batch), program.step_flops(batch), waited)
            for hook in each_step:
                hook(step, state, step_metrics)
            if stopping(step):
                saved.save(step, state, batches.get_state())
                console.print(f"Stopped at step {step}; run the same command to go on.")
                break
        saved.wait()
    return state


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
    optimizer = optim.build(config.optim, params, options.steps)
    console.print(optimizer.table, width=max(console.width, 120), soft_wrap=True)
    shapes = state_shapes(program, optimizer.transform, config.seed)
    shardings = state_shardings(program, config.mesh.rules, shapes)
    step_fn = make_step(
        program, optimizer.transform, optimizer.groups, shardings, options.microbatches
    )
    return Setup(program, optimizer, shapes, shardings, step_fn)


def start(
    setup: Setup, saved: Checkpointer, seed: int, console: Console
) -> tuple[TrainState, dict[str, Any] | None]:
    """The newest checkpoint's state and data state, or a fresh state and None."""
    if saved.latest_step is None:
        return init_state(setup.program, setup.optimizer.transform, seed, setup.shardings), None
    state, data_state = saved.restore(setup.shapes, setup.shardings)
    console.print(f"Resuming {saved.directory} from step {int(state.step)}.")
    return state, data_state


def standard_hooks(
    setup: Setup,
    options: TrainSettings,
    workdir: str,
    saved: Checkpointer,
    batches: Batches,
    writer: metrics.Writer,
    timer: metrics.StepTimer,
    show: Callable[..., None],
    console: Console,
) -> list[Hook]:
    """What every run does beside its steps, in order."""
    last, program = options.steps, setup.program
    log = hooks.log(writer, timer, setup.optimizer.schedules, show, batches)
    evaluate = hooks.evaluate(program.evaluators, writer, timer, console)

    def settle(step: int) -> bool:
        return step == last or (options.save_every > 0 and step % options.save_every == 0)

    return [
        hooks.guard(options.nonfinite, options.max_skips, batches, saved, settle),
        hooks.every(options.log_every, log, last),
        hooks.every(options.eval_every, evaluate, last),
        hooks.every(options.eval_every, hooks.plot(workdir), last),
        hooks.every(options.save_every, hooks.save(saved, batches, timer), last),
    ]


def check_microbatches(num: int, program: Program) -> None:
    """Raises ConfigError where the program's loss cannot be split that far."""
    if not 1 <= num <= program.max_microbatches:
        raise settings.ConfigError(
            f"config.train.microbatches = {num}: this program allows 1 to "
            f"{program.max_microbatches}. A contrastive loss needs its whole batch at once; save "
            "memory with config.vision.remat or config.loss.chunk_size instead."
        )


@contextlib.contextmanager
def stop_on_signal(console: Console) -> Iterator[Callable[[int], bool]]:
    """Yields `stopping(step)`: whether SIGTERM or Ctrl-C has come and the run should save and end.

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
        console.print("Stopping after this step; the run is saved.")

    if threading.current_thread() is threading.main_thread():
        previous = {n: signal.signal(n, handle) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda step: bool(received)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
