"""What happens beside a step: plain functions `hook(step, state, metrics)`, run in order.

`step` counts finished steps. Metrics are replicated device arrays: fetching one needs no other
host, but it waits for its step. So hooks tell `Later` what they want to know, and it fetches that
when the next step is under way.
"""

import contextlib
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from absl import logging
from etils import epath
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cogvit_jax import plots, settings
from cogvit_jax.checkpoint import Checkpointer
from cogvit_jax.metrics import StepTimer, Writer, is_remote, memory_stats, write_atomically
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


class Later:
    """Numbers on their way from the device, and what waits for them.

    `add` starts copying and returns at once; `deliver` hands everything over, in order. Called when
    the next step is dispatched, it waits for the step before while the device works.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[Mapping[str, jax.Array], Callable[[Metrics], None]]] = []

    def add(self, arrays: Mapping[str, jax.Array], use: Callable[[Metrics], None]) -> None:
        """Calls `use({name: float})` at the next `deliver`."""
        for array in arrays.values():
            array.copy_to_host_async()
        self._waiting.append((arrays, use))

    def deliver(self) -> None:
        """Fetches all there is, and waits where it must."""
        while self._waiting:
            arrays, use = self._waiting.pop(0)
            use({name: float(array) for name, array in arrays.items()})


def settle(later: Later, due: Callable[[int], bool]) -> Hook:
    """Delivers at once after the steps that are `due`, whose numbers hooks after this one need."""

    def run(step: int, state: TrainState, metrics: Metrics) -> None:
        if due(step):
            later.deliver()

    return run


class Guard:
    """Stops a run whose loss or gradient is not finite (the step itself never applies it).

    Attributes:
        skipped: steps left out so far, those before a resume included.

    Args:
        policy: "stop" at the first, or "skip" up to `max_skips` steps in all.
        max_skips: for "skip".
        skipped: where the count begins.
        batches: names the records of the bad batch.
        saved: names the last good checkpoint.
        later: brings the numbers.
    """

    def __init__(
        self,
        policy: str,
        max_skips: int,
        skipped: int,
        batches: Batches,
        saved: Checkpointer,
        later: Later,
    ):
        choices = {"stop": 0, "skip": max_skips}
        self._allowed = settings.choose(choices, policy, "config.train.nonfinite")
        self._batches, self._saved, self._later = batches, saved, later
        self.skipped = skipped

    def __call__(self, step: int, state: TrainState, metrics: Metrics) -> None:
        ids = tuple(self._batches.ids)

        def verify(values: Metrics) -> None:
            if not values["finite"]:
                self._count(step, ids)

        self._later.add({"finite": metrics["finite"]}, verify)

    def _count(self, step: int, ids: tuple[str, ...]) -> None:
        self.skipped += 1
        logging.warning("step %d: loss or gradient not finite; update skipped.", step)
        if self.skipped > self._allowed:
            raise NonFiniteLoss(
                f"step {step}: the loss or a gradient is NaN or infinite (skipped {self.skipped}, "
                f"allowed {self._allowed}). Last good checkpoint: {self._saved.latest_step}. "
                "Records of the batch on this host: "
                f"{', '.join(ids[:16])}{' …' if len(ids) > 16 else ''}. "
                "Lower config.optim.groups.*.lr, or set config.train.nonfinite='skip' and "
                "config.train.max_skips."
            )


def log(
    writer: Writer,
    timer: StepTimer,
    schedules: Mapping[str, optax.Schedule],
    show: Callable[[int, Metrics], None],
    batches: Batches,
    guard: Guard,
    later: Later,
    startup: dict[str, float],
) -> Hook:
    """Writes metrics, learning rates, throughput, memory and data figures; `startup` once."""

    def run(step: int, state: TrainState, metrics: Metrics) -> None:
        # Dispatched here: a schedule that is evaluated later would queue behind the next step.
        rates = {f"lr/{name}": jnp.asarray(fn(step - 1)) for name, fn in schedules.items()}
        lap, figures = timer.lap(), batches.stats()

        def write(values: Metrics) -> None:
            if values.get("finite", 1.0):  # then NaN stands for nothing to average over
                values = {name: x for name, x in values.items() if not math.isnan(x)}
            values |= {"skipped": float(guard.skipped)} | timer.read(lap) | memory_stats()
            values |= figures | startup
            startup.clear()
            writer.write(step, values)
            show(step, values)

        later.add({**metrics, **rates}, write)

    return run


def evaluate(
    evaluators: Mapping[str, Evaluator], writer: Writer, timer: StepTimer, console: Console
) -> Hook:
    """Runs every evaluator on the current parameters."""

    def run(step: int, state: TrainState, metrics: Metrics) -> None:
        jax.block_until_ready(metrics)
        with timer.paused():
            params = state.params
            if state.statistics is not None:
                params = {**params, "statistics": state.statistics}
            values = run_evaluators(evaluators, params, console, f"step {step:>6}")
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


def save(checkpointer: Checkpointer, batches: Batches, timer: StepTimer, writer: Writer) -> Hook:
    """Starts an asynchronous checkpoint; the metrics up to it are written first."""

    def run(step: int, state: TrainState, metrics: Metrics) -> None:
        with timer.paused():
            writer.flush()
            checkpointer.save(step, state, batches.get_state())

    return run


def plot(workdir: str, writer: Writer) -> Hook:
    """Draws the run's curves so far into `workdir/curves.png`."""
    folder: Any = epath.Path(workdir)

    def run(step: int, state: TrainState, metrics: Metrics) -> None:
        if jax.process_index() > 0:
            return
        writer.flush()
        with tempfile.TemporaryDirectory() as local:
            drawn = Path(local) / "curves.png"
            plots.curves(folder / "metrics.jsonl", drawn)
            if drawn.exists():
                write_atomically(folder / "curves.png", drawn.read_bytes())

    return run


@contextlib.contextmanager
def profile(workdir: str, first: int, last: int, done: int) -> Iterator[Hook]:
    """Traces steps first+1 … last into `workdir/profile` (open with xprof or Perfetto).

    A run that begins (after `done` steps) or ends between them traces those it takes.
    """
    tracing = False
    target = epath.Path(workdir) / "profile"
    # Remote traces are copied there at the end.
    folder = Path(tempfile.mkdtemp() if is_remote(workdir) else target)

    def begin(step: int) -> None:
        nonlocal tracing
        if first <= step < last and not tracing:
            jax.profiler.start_trace(str(folder))
            tracing = True

    def end() -> None:
        nonlocal tracing
        if not tracing:
            return
        jax.profiler.stop_trace()
        tracing = False
        for file in folder.rglob("*") if is_remote(workdir) else ():
            if file.is_file():
                copy = target / str(file.relative_to(folder))
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(file.read_bytes())

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
