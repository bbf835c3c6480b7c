"""How many verdicts a second each rule gives, and whether a hung call delays the others.

    python -m benchmarks.verifiers [--seconds=0.5] [--json=FILE] [--markdown]

Answers are realistic: of tasks of all difficulties, right ones, near misses, degenerate ones and
blind guesses, whole replies that are taken apart first. Rules that leave this process (sympy by
math-verify, a policy's code) pay for that. Then a call that never ends is made beside others: their
latencies, alone and beside it, in turns.
"""

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from rl.envs import CATEGORIES
from rl.evals.audit import draw, episode
from rl.rewards import isolate
from rl.rewards.rules import boxes, math_equal, text
from rl.types import VerifierFailed

Call = tuple[Callable[..., float], tuple[Any, ...]]

# rule -> a category whose answers it judges
RULES = {
    "boxes.box": "referring",
    "boxes.detection": "detection",
    "differences.differences": "spot_difference",
    "polygons.polygon": "segmentation",
    "points.on_each": "pointing",
    "points.free_place": "free_space",
    "boxes3d.box_3d": "box_3d",
    "metric.measured": "metric_distance",
    "counts.count": "counting",
    "choice.choice": "illusions",
    "text.exact": "attributes",
    "text.transcription": "printed_words",
    "latex.formula": "formulas",
    "short.short": "chart_value",
    "tables.mapping_f1": "chart_to_csv",
    "tables.teds": "table_to_html",
    "layout.layout": "page_layout",
    "fields.field_f1": "receipt_fields",
    "fields.cited": "page_lookup",
    "math_equal.exact": "plane_geometry",
    "math_equal.values": "function_graph",
    "units.quantity": "physics_diagram",
    "graphs.edges, isomorphic": "graph_structure",
    "formulas.formula": "molecule_formula",
    "moves.path": "maze_path",
    "order.permutation": "event_order",
    "tracks.track": "object_tracking",
    "intervals.interval, several": "temporal_grounding",
    "gui_actions.point_in_box": "gui_grounding",
    "gui_actions.step": "gui_step",
    "tool_calls.tool_calls": "function_calls",
    "constraints.constraints": "constraints",
    "pictures.svg": "svg_to_code",
    "pictures.page": "ui_to_html",
    "code_tests.code_tests": "text_coding",
}
# (answer, right one): none of them can be decided without sympy
SYMBOLIC = (
    ("sin(pi/6)", "1/2"),
    ("1-sin(x)^2", "cos(x)^2"),
    ("sin(x)", "cos(x)"),
    ("2*sin(x)*cos(x)", "sin(2*x)"),
    ("log(8)/log(2)", "3"),
    ("log(9)/log(2)", "3"),
    ("cos(pi/3)+1", "3/2"),
    ("exp(log(5))", "5"),
)
ELSEWHERE = ("math_equal.equivalent", "code_tests.code_tests")  # in processes of their own
GOAL = {"boxes.box": 10_000, "math_equal.equivalent": 200}  # verdicts a second


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=float, default=0.5, help="of each rule")
    parser.add_argument("--rounds", type=int, default=6, help="of calls beside a hung one")
    parser.add_argument("--json", help="write everything to this file")
    parser.add_argument("--markdown", action="store_true", help="print tables for a document")
    args = parser.parse_args()
    console = Console(stderr=True)
    rates = {
        rule: rate(rollouts(name), args.seconds)
        for rule, name in track(RULES.items(), "rules", console=console)
    }
    rates |= {name: rate(calls, args.seconds) for name, calls in plain_calls().items()}
    hung = asyncio.run(latencies(args.rounds))
    rows = [
        (
            rule,
            RULES.get(rule, ""),
            f"{each:.0f}",
            "" if rule in ELSEWHERE else f"{busy:.0f}",
            str(GOAL.get(rule, "")),
        )
        for rule, (each, busy) in sorted(rates.items(), key=lambda item: -item[1][0])
    ]
    show(("rule", "answers of", "a second", "a second of processor", "goal"), rows, args.markdown)
    show(
        ("calls of", "", "median", "p99", "slowest of a round", "slowest of all"),
        [(name, how, *(f"{1000 * x:.2f} ms" for x in figures(rounds)))
         for name, both in hung.items() for how, rounds in both.items()],
        args.markdown,
    )  # fmt: skip
    for name, both in hung.items():
        added = [b - a for a, b in zip(*(figures(one) for one in both.values()), strict=True)]
        print(f"{name}: a hung call adds {', '.join(f'{1000 * x:+.2f}' for x in added)} ms")
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump({"rates": rates, "latencies": hung}, file, indent=1)


def rollouts(name: str, seeds: int = 20) -> list[Call]:
    """Calls of a category's score on right, nearly right, degenerate and guessed replies."""
    category, found = CATEGORIES[name], []
    for seed in range(seeds):
        task = draw(category, seed)
        rng = np.random.default_rng(seed)
        replies = [category.oracle(task), *(category.guess(task, rng) for _ in range(2))]
        replies += list(category.distractors(task))[:5]
        found += [(category.score, (task, episode(category, task, each))) for each in replies]
    return found


def plain_calls() -> Mapping[str, list[Call]]:
    """Of rules that no category has."""
    said = ("red boat", "a red boat", "boat", "the blue boat", "")
    return {
        "math_equal.equivalent": [
            (math_equal.equivalent, (answer, {"answer": gold})) for answer, gold in SYMBOLIC
        ],
        "text.alias": [(text.alias, (one, {"answers": ["red boat"]})) for one in said],
        "text.anls": [(text.anls, (one, {"answers": ["red boat"]})) for one in said],
    }


def rate(calls: Sequence[Call], seconds: float) -> tuple[float, float]:
    """Calls a second, by the clock and by this thread's processor time."""
    for function, arguments in calls[:8]:  # imports, and a process where one is needed
        function(*arguments)
    count, started, busy = 0, time.perf_counter(), time.thread_time()
    while time.perf_counter() - started < seconds:
        for function, arguments in calls:
            function(*arguments)
        count += len(calls)
    return count / (time.perf_counter() - started), count / (time.thread_time() - busy)


async def latencies(rounds: int) -> dict[str, dict[str, list[list[float]]]]:
    """Of calls alone, and beside one that never ends, in turns: seconds by round."""
    box = ("[100,100,300,300]", {"box": [110, 100, 300, 310]})
    kinds: dict[str, Callable[[], Any]] = {
        "math in a worker": lambda: isolate.acall(
            "rl.rewards.rules.math_equal:exact", "6/sqrt(2)", {"answer": "3*sqrt(2)"}, seconds=30.0
        ),
        "boxes in a thread": lambda: asyncio.to_thread(boxes.box, *box),
        "the event loop": lambda: asyncio.sleep(0.001),
    }
    pool = isolate.pool()
    await asyncio.to_thread(pool.warm, "rl.rewards.rules.math_equal:exact", 3)
    found = {name: {"alone": [], "beside a hung call": []} for name in kinds}
    for number in track(range(2 * rounds), "hung calls", console=Console(stderr=True)):
        hung = asyncio.create_task(_hang()) if number % 2 else None
        await asyncio.sleep(0.3)  # the hung call runs, and the spare worker has been started
        for name, call in kinds.items():
            times: list[float] = []
            found[name]["beside a hung call" if hung else "alone"].append(times)
            for _ in range(100):
                started = time.perf_counter()
                await call()
                times.append(time.perf_counter() - started)
        if hung is not None:
            assert not hung.done(), "the hung call ended too early: the machine is too busy"
            await hung
            await asyncio.to_thread(pool.warm, "rl.rewards.rules.math_equal:exact", 3)
    return found


async def _hang() -> None:
    """A power that would take hours, in a worker that is killed."""
    try:
        await isolate.acall("builtins:pow", 3, 10**9, seconds=6.0)
    except VerifierFailed:
        return
    raise AssertionError("it came back")


def figures(rounds: Sequence[Sequence[float]]) -> tuple[float, float, float, float]:
    """Median, 99th percentile, longest of a round (the median of the rounds), longest of all."""
    ordered = sorted(time for times in rounds for time in times)
    longest = [max(times) for times in rounds]
    late = ordered[int(0.99 * (len(ordered) - 1))]
    return statistics.median(ordered), late, statistics.median(longest), ordered[-1]


def show(head: Sequence[str], rows: Sequence[Sequence[str]], markdown: bool) -> None:
    """A table."""
    if markdown:
        lines = [f"| {' | '.join(line)} |" for line in (head, ("---",) * len(head), *rows)]
    else:
        lines = ["  ".join(line) for line in (head, *rows)]
    print("\n".join(lines), end="\n\n")


if __name__ == "__main__":
    main()
