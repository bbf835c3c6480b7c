"""Runs a suite's tasks, one after the other, and says which had no data."""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from cogvit_jax.evals.embed import Embedder
from cogvit_jax.evals.suite import local
from cogvit_jax.evals.suite.copies import Matching
from cogvit_jax.evals.suite.measure import Advance, measure
from cogvit_jax.evals.suite.results import Result
from cogvit_jax.evals.suite.tasks import Task


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of the tasks.

    Attributes:
        results: task name -> figures, earlier ones included.
        missing: task name -> the folders that were looked for.
        failed: task name -> what is wrong with its data.
    """

    results: Mapping[str, Result]
    missing: Mapping[str, str]
    failed: Mapping[str, str]


def run_tasks(
    tasks: Sequence[Task],
    data_dir: Path,
    embedder: Embedder,
    params: Any,
    earlier: Mapping[str, Result],
    save: Callable[[Mapping[str, Result]], None],
    console: Console,
) -> Outcome:
    """Evaluates every task that has data below `data_dir`.

    Args:
        tasks: in order.
        data_dir: folder of the local copies.
        embedder, params: the model.
        earlier: results that are kept, as long as their data lies where it lay.
        save: called with all results after each task.
        console: for the progress bar and a line per task.
    """
    results, missing, failed = dict(earlier), {}, {}
    for number, task in enumerate(tasks, 1):
        title = f"{number}/{len(tasks)} {task.name}"
        place = local.find(task, data_dir)
        if task.name in earlier and (
            place is None or earlier[task.name].folder == str(place.folder)
        ):
            console.print(f"{title}: {earlier[task.name].value:.4f} (from an earlier call)")
            continue
        if place is None:
            missing[task.name] = local.looked_for(task, data_dir)
            continue
        try:
            with _bar(console, title) as advance:
                results[task.name] = _run(task, place, embedder, params, advance)
        # What is wrong with one copy must not keep the others from being evaluated.
        except (ValueError, OSError) as error:
            failed[task.name] = str(error)
            console.print(f"{title}: failed: {error}", markup=False, soft_wrap=True)
            continue
        console.print(f"{title}: {task.metric} {results[task.name].value:.4f}", soft_wrap=True)
        save(results)
    return Outcome(results, missing, failed)


def show(tasks: Sequence[Task], outcome: Outcome, console: Console) -> None:
    """A table of the figures, their mean, and the tasks that did not run."""
    table = Table("task", "metric", "value", "samples", "unreadable")
    for task in (t for t in tasks if t.name in outcome.results):
        found = outcome.results[task.name]
        whole = found.num_samples == task.num_samples
        samples = f"{found.num_samples:,}" + ("" if whole else f" of {task.num_samples:,}")
        unreadable = str(found.num_unreadable or "")
        table.add_row(task.name, task.metric, f"{found.value:.4f}", samples, unreadable)
    console.print(table)
    values = [outcome.results[t.name].value for t in tasks if t.name in outcome.results]
    if values:
        mean = math.fsum(values) / len(values)
        console.print(f"mean over {len(values)} of {len(tasks)} datasets: {mean:.4f}")
    for name, folders in outcome.missing.items():
        console.print(f"no data for {name}: looked for {folders}", markup=False, soft_wrap=True)
    for name, reason in outcome.failed.items():
        console.print(f"failed: {name}: {reason}", markup=False, soft_wrap=True)


def _run(
    task: Task, place: local.Place, embedder: Embedder, params: Any, advance: Advance
) -> Result:
    copy = place.open()
    figures, unreadable = measure(embedder, params, copy, advance)
    if task.metric not in figures:
        raise ValueError(f"{place.folder}: nothing to compute {task.metric} from")
    count = len(copy.cues if isinstance(copy, Matching) else copy.pictures)
    return Result(figures[task.metric], figures, count, unreadable, str(place.folder))


@contextlib.contextmanager
def _bar(console: Console, title: str) -> Iterator[Advance]:
    """A progress bar of pictures on a terminal; nothing elsewhere."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns,
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    ) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
