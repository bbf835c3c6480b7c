"""The gym: are right replies right and wrong ones worth nothing, and how fast is it drawn?

    python -m benchmarks.gym [--seeds=200 --hostile_seeds=20] [--categories=maze,counting]
        [--json=FILE] [--markdown]

First, two processes with different hash seeds draw every task, one of them in reverse order: the
bytes of all tasks must be equal. Then `rl.evals.audit` tries on every task the known right replies,
the known wrong ones, a blind guess, and hostile replies that are made of its right answer; on the
first `hostile_seeds` tasks of each category also the whole hostile corpus, megabytes and bombs.
Ends with status 1 where anything is not as it should be.
"""

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from typing import Any

from rich.console import Console
from rich.progress import Progress

from rl.envs import CATEGORIES
from rl.envs.category import Category
from rl.evals.audit import Report, audit, digest
from rl.evals.hostile import Attack, attacks, derived
from rl.types import Task

HEAD = (
    "category", "group", "level", "blind guess", "tasks/s", "verdicts/s", "hostile", "accepted",
    "excused",
)  # fmt: skip


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, default=200, help="tasks of each category")
    parser.add_argument("--hostile_seeds", type=int, default=20, help="of them with all attacks")
    parser.add_argument("--categories", default="", help="names with commas; '' = all")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", help="write everything to this file")
    parser.add_argument("--markdown", action="store_true", help="print the table for a document")
    args = parser.parse_args()
    names = args.categories.split(",") if args.categories else list(CATEGORIES)
    console = Console(stderr=True)
    with Progress(console=console) as progress:
        drawn, wall = draw_twice(names, args.seeds, args.processes, progress)
        reports = audit_all(names, args.seeds, args.hostile_seeds, args.processes, progress)
    unequal = [name for name in names if len({sha for sha, _ in drawn[name]}) > 1]
    draws = len(names) * args.seeds * args.processes
    busy = sum(seconds for pairs in drawn.values() for _, seconds in pairs)
    rows = [row(CATEGORIES[n], reports[n], drawn[n], args.seeds) for n in names]
    print(table(rows) if args.markdown else "\n".join("  ".join(map(str, r)) for r in rows))
    slowest = max(names, key=lambda name: sum(s for _, s in drawn[name]))
    mean = 1000 * sum(s for _, s in drawn[slowest]) / args.seeds / args.processes
    print(
        f"\n{draws} tasks in {wall:.1f} s on {args.processes} processes: {draws / wall:.0f} tasks/s"
        f"; {busy:.1f} s of processor, {args.processes * draws / busy:.0f} tasks/s of "
        f"{args.processes}; slowest: {slowest}, {mean:.1f} ms a task"
    )
    print("unequal bytes:", ", ".join(unequal) or "none")
    print(summary(list(reports.values())))
    if args.json:
        facts = {
            "seeds": args.seeds,
            "hostile_seeds": args.hostile_seeds,
            "tasks_per_s": draws / wall,
        }
        told = {name: vars(report) | {"draws": drawn[name]} for name, report in reports.items()}
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(facts | {"categories": told}, file, indent=1)
    sys.exit(bool(unequal) or not all(report.fine for report in reports.values()))


def draw_twice(
    names: Sequence[str], seeds: int, processes: int, progress: Progress
) -> tuple[dict[str, list[tuple[str, float]]], float]:
    """Each process draws all tasks; digests and seconds by category, and wall-clock seconds."""
    found: dict[str, list[tuple[str, float]]] = {name: [] for name in names}
    pools = []
    for number in range(processes):
        os.environ["PYTHONHASHSEED"] = str(number + 1)
        pools.append(_pool(1))
        pools[-1].submit(os.getpid).result()  # started, everything imported
    os.environ.pop("PYTHONHASHSEED")
    started = time.monotonic()
    waiting: dict[Future[tuple[str, float]], str] = {}
    for number, pool in enumerate(pools):
        for name in names[::-1] if number % 2 else names:
            waiting[pool.submit(drawn_all, name, seeds)] = name
    for done in _watched(waiting, "drawing", progress):
        found[waiting[done]].append(done.result())
    wall = time.monotonic() - started
    for pool in pools:
        pool.shutdown()
    return found, wall


def drawn_all(name: str, seeds: int) -> tuple[str, float]:
    """Digest of all tasks of a category, and the processor's seconds."""
    return digest(CATEGORIES[name], range(seeds))


def audit_all(
    names: Sequence[str], seeds: int, hostile_seeds: int, processes: int, progress: Progress
) -> dict[str, Report]:
    """The audit of each category."""
    with _pool(processes) as pool:
        waiting = {pool.submit(audit_one, n, seeds, hostile_seeds): n for n in names}
        done = _watched(waiting, "auditing", progress)
        return {waiting[future]: future.result() for future in done}


def audit_one(name: str, seeds: int, hostile_seeds: int) -> Report:
    """Of one category; all attacks on the first tasks, those made of the answer on the rest.

    Where a reply is dear, since a screen is drawn or a program is run, only on each tenth of them.
    """
    category = CATEGORIES[name]
    step = 10 if category.step is not None or category.group == "coding" else 1

    def tried(category: Category, task: Task) -> Iterator[Attack]:
        if task.seed < hostile_seeds // step:
            return attacks(category, task)
        return iter(()) if task.seed % step else derived(category, task)

    return audit(category, range(seeds), tried)


def row(
    category: Category, report: Report, drawn: Sequence[tuple[str, float]], seeds: int
) -> tuple[str, ...]:
    """One line of the table."""
    mean, low, high = report.baseline
    return (
        category.name,
        category.group,
        category.level,
        f"{mean:.2f} ({low:.2f} … {high:.2f})",
        f"{seeds * len(drawn) / sum(s for _, s in drawn):.0f}",
        f"{report.verdicts / report.verdict_seconds:.0f}",
        str(report.hostile),
        str(len(report.accepted)),
        str(sum(report.excused.values())),
    )


def table(rows: Sequence[Sequence[str]]) -> str:
    """For a document."""
    lines = [f"| {' | '.join(line)} |" for line in (HEAD, ("---",) * len(HEAD), *rows)]
    return "\n".join(lines)


def summary(reports: Sequence[Report]) -> str:
    """What was tried in all, and all that is wrong."""
    kinds, excused = Counter[str](), Counter[str]()
    for report in reports:
        kinds += report.kinds
        excused += report.excused
    lines = [
        f"least value of a right reply: {min(report.oracle for report in reports)}",
        f"known wrong replies: {sum(report.distractors for report in reports)}",
        f"hostile replies: {sum(report.hostile for report in reports)}",
        f"false accepts: {sum(len(report.accepted) for report in reports)}",
        f"verdicts: {dict(kinds)}",
        "slowest verdict: {0[0]:.2f} s of processor, {0[1]}".format(
            max(r.slowest for r in reports)
        ),
        *(f"excused {count}: {why}" for why, count in excused.most_common()),
        *(f"ACCEPTED {one}" for report in reports for one in report.accepted[:5]),
        *(f"PROBLEM {one}" for report in reports for one in report.problems[:5]),
    ]
    return "\n".join(lines)


def _pool(processes: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(processes, mp_context=context, initializer=_import)


def _import() -> None:
    """Before the clock runs."""
    assert CATEGORIES


def _watched(
    waiting: dict[Future[Any], str], what: str, progress: Progress
) -> Iterator[Future[Any]]:
    line = progress.add_task(what, total=len(waiting))
    for done in as_completed(waiting):
        progress.update(line, advance=1, description=f"{what}: {waiting[done]}")
        yield done


if __name__ == "__main__":
    main()
