"""What happens beside a step: plain functions `hook(step, state, metrics)`, run in order.

`step` counts finished steps. Metrics are device arrays; fetching one waits for its step, so hooks
that run on every step look one step back.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from absl import logging
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cogvit_jax import plots, settings
from cogvit_jax.checkpoint import Checkpointer
from cogvit_jax.metrics import StepTimer, Writer, memory_stats
from cogvit_jax.program import Batches, Evaluator, Hook, TrainState

Metrics = dict[str, Any]
# What the progress bar and the log line show, where it is there.
SHOWN = ("loss", "time/examples_per_second", "time/data_wait_fraction", "time/mfu")


class NonFiniteLoss(RuntimeError):
    """The loss or a gradient became NaN or infinite."""


def every(interval: int, hook: Hook, last: int) -> Hook:
    """Runs `hook` each `interval` steps and at step `last`; never where the interval is 0."""

    def run(step: int, state: TrainState, metrics: Metrics) -> None:
        if interval and (step % interval == 0 or step == last):
            hook(step, state, metrics)

    return run


def guard(
    policy: str,
    max_skips: int,
    batches: Batches,
    saved: Checkpointer,
    settle: Callable[[int], bool],
) -> Hook:
    """Stops a run whose loss or gradient is not finite (the step itself never applies it).

    Args:
        policy: "stop" at the first, or "skip" up to `max_skips` steps in all.
        max_skips: for "skip".
        batches: names the records of the bad batch.
        saved: names the last good checkpoint.
        settle: whether a step is looked at at once: the last, and those that are saved.
    """
    allowed = settings.choose({"stop": 0, "skip": max_skips}, policy, "config.train.nonfinite")
    pending: list[tuple[int, jax.Array, jax.Array, Sequence[str]]] = []

    def check(step: int, state: TrainState, metrics: Metrics) -> None:
        # Looking one step back keeps the device busy; the copy outlives the donated state.
        pending.append((step, metrics["finite"], jnp.copy(state.skipped), tuple(batches.ids)))
        while len(pending) > (not settle(step)):
            verify(*pending.pop(0))

    def verify(step: int, finite: jax.Array, skipped: jax.Array, ids: Sequence[str]) -> None:
        if float(finite):
            return
        logging.warning("step %d: loss or gradient not finite; update skipped.", step)
        if int(skipped) > allowed:
            raise NonFiniteLoss(
                f"step {step}: the loss or a gradient is NaN or infinite (skipped {int(skipped)}, "
                f"allowed {allowed}). Last good checkpoint: {saved.latest_step}. Records of the "
                f"batch on this host: {', '.join(ids[:16])}{' …' if len(ids) > 16 else ''}. "
                "Lower config.optim.groups.*.lr, or set config.train.nonfinite='skip' and "
                "config.train.max_skips."
            )

    return check


def log(
    writer: Writer,
    timer: StepTimer,
    schedules: Mapping[str, optax.Schedule],
    show: Callable[[int, Metrics], None],
    batches: Batches,
) -> Hook:
    """Writes metrics, learning rates, throughput, memory and data figures."""

    def run(step: int, state: TrainState, metrics: Metrics) -> None:
        values = {k: float(v) for k, v in jax.device_get(metrics).items()}
        values |= {f"lr/{name}": float(jnp.asarray(fn(step - 1))) for name, fn in schedules.items()}
        values |= {"skipped": float(state.skipped)} | timer.read() | memory_stats()
        values |= batches.stats()
        writer.write(step, values)
        show(step, values)

    return run


def evaluate(
    evaluators: Mapping[str, Evaluator], writer: Writer, timer: StepTimer, console: Console
) -> Hook:
    """Runs every evaluator on the current parameters."""

    def run(step: int, state: TrainState, metrics: Metrics) -> None:
        jax.block_until_ready(metrics)
        with timer.paused():
            values = run_evaluators(evaluators, state.params, console, f"step {step:>6}")
            writer.write(step, values)

    return run


def run_evaluators(
    evaluators: Mapping[str, Evaluator], params: Any, console: Console, title: str
) -> Metrics:
    """`{evaluator/metric: value}` of all evaluators; their numbers are printed, a line each."""
    values: Metrics = {}
    for name, evaluator in evaluators.items():
        found = evaluator(params)
        values |= {f"{name}/{k}": v for k, v in found.items()}
        numbers = "  ".join(f"{k} {v:.3f}" for k, v in found.items() if isinstance(v, float))
        if numbers:
            console.print(f"{title}  {name}: {numbers}", soft_wrap=True)
    return values


def save(checkpointer: Checkpointer, batches: Batches, timer: StepTimer) -> Hook:
    """Starts an asynchronous checkpoint."""

    def run(step: int, state: TrainState, metrics: Metrics) -> None:
        with timer.paused():
            checkpointer.save(step, state, batches.get_state())

    return run


def plot(workdir: str) -> Hook:
    """Draws the run's curves so far into `workdir/curves.png`."""
    source, target = Path(workdir) / "metrics.jsonl", Path(workdir) / "curves.png"

    def run(step: int, state: TrainState, metrics: Metrics) -> None:
        if jax.process_index() == 0:
            plots.curves(source, target)

    return run


@contextlib.contextmanager
def profile(workdir: str, first: int, last: int, done: int) -> Iterator[Hook]:
    """Traces steps first+1 … last into `workdir/profile` (open with xprof or Perfetto).

    A run that begins (after `done` steps) or ends between them traces those it takes.
    """
    tracing = False

    def begin(step: int) -> None:
        nonlocal tracing
        if first <= step < last and not tracing:
            jax.profiler.start_trace(str(Path(workdir) / "profile"))
            tracing = True

    def end() -> None:
        nonlocal tracing
        if tracing:
            jax.profiler.stop_trace()
            tracing = False

    def run(step: int, state: TrainState, metrics: Metrics) -> None:
        begin(step)
        if step == last:
            jax.block_until_ready(state.params)
            end()

    begin(done)
    try:
        yield run
    finally:
        end()


def progress(console: Console, first: int, last: int) -> tuple[Progress, Callable[..., None]]:
    """A progress bar on a terminal; a line per log elsewhere. Returns (bar, show)."""
    bar = Progress(
        TextColumn("[bold]train"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[shown]}"),
        console=console,
        disable=not console.is_terminal,
    )
    task = bar.add_task("train", total=last, completed=first, shown="")

    def show(step: int, values: Metrics) -> None:
        shown = "  ".join(
            f"{k.removeprefix('time/')} {values[k]:.4g}" for k in SHOWN if k in values
        )
        bar.update(task, completed=step, shown=shown)
        if not console.is_terminal:
            console.print(f"step {step:>6}/{last}  {shown}", soft_wrap=True)

    return bar, show
