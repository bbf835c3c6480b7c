"""Figures of the runs of `rl_ablation.py`, and their tables."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.ablations import Run, cell
from benchmarks.mmtp_ablation_tables import spikes, table
from cogvit_jax.metrics import read_jsonl

START = "start"  # the variant that is what all runs begin with
HELD_OUT, BLANK = "heldout/reward", "blank/reward"
# Figure of a run -> what tables call it.
TITLES = {
    "steps_per_second": "steps/s",
    "staleness": "staleness",
    "staleness_max": "largest",
    "wasted": "tokens wasted",
    "mismatch": "engine and trainer differ",
    "reward_std": "std of the reward",
    "spikes": "gradient spikes",
    "skipped": "skipped",
}

Summary = Mapping[str, Mapping[str, Sequence[float]]]


def figures(run: Run) -> dict[str, float]:
    """What a complete run comes to; figures that it has not are left out.

    `heldout/reward…` and `blank/reward…` are of the end. `steps_per_second` leaves the first step
    out, which compiles; it counts the wait for rollouts. `staleness` is the versions between
    drawing and training a token, `wasted` the share of drawn tokens that were never trained on,
    `mismatch` the mean |log-probability| between trainer and engine. `reward_std` is the standard
    deviation of the batches' mean rewards after the middle of the run, `spikes` the steps there and
    before whose gradient norm lies far above those before it (`mmtp_ablation_tables.spikes`).
    """
    rows = read_jsonl(run.workdir / "metrics.jsonl")
    last: dict[str, Any] = {}
    for row in rows:
        last |= row
    steps = [row for row in rows if "grad_norm" in row]
    seconds = [row["time/step_seconds"] for row in steps[1:] if "time/step_seconds" in row]
    rewards = [row["rl/reward_mean"] for row in steps[len(steps) // 2 :] if "rl/reward_mean" in row]
    found = {n: v for n, v in last.items() if n.startswith((HELD_OUT, BLANK))}
    found |= {"spikes": float(spikes([row["grad_norm"] for row in steps]))}
    found |= {"steps_per_second": 1 / statistics.mean(seconds)} if seconds else {}
    found |= {"reward_std": statistics.pstdev(rewards)} if len(rewards) > 1 else {}
    for name, metric in (("staleness", "staleness/mean"), ("mismatch", "mismatch/abs")):
        values = [row[metric] for row in steps if metric in row]
        found |= {name: statistics.mean(values)} if values else {}
    oldest = [row["rl/staleness_max"] for row in steps if "rl/staleness_max" in row]
    found |= {"staleness_max": max(oldest)} if oldest else {}
    for name, metric in (("wasted", "rl/schedule/wasted"), ("skipped", "skipped")):
        found |= {name: last[metric]} if metric in last else {}
    return {name: float(value) for name, value in found.items()}


def summarise(runs: Sequence[Run]) -> dict[str, dict[str, list[float]]]:
    """{variant: {figure: value of each seed}} of complete runs."""
    found: dict[str, dict[str, list[float]]] = {}
    for run in runs:
        if run.is_complete:
            for name, value in figures(run).items():
                found.setdefault(run.variant, {}).setdefault(name, []).append(value)
    return found


def categories(summary: Summary) -> list[str]:
    """That held-out tasks are of, by name."""
    names = {name for row in summary.values() for name in row}
    return sorted(n.rpartition("/")[2] for n in names if n.startswith(HELD_OUT + "/"))


def transfer(summary: Summary) -> dict[str, dict[str, float]]:
    """{trained on: {category: held-out reward at the end minus that at the start}}, seeds' means.

    Rows are the `single_…` variants and, as "all", `multi`; {} without `start` or such variants.
    """
    begun = summary.get(START, {})
    single = {v: v.removeprefix("single_") for v in summary if v.startswith("single_")}
    rows = {"multi": "all"} | single if begun and single else {}
    return {
        trained: {
            name: statistics.mean(summary[variant][metric]) - statistics.mean(begun[metric])
            for name in categories(summary)
            for metric in [f"{HELD_OUT}/{name}"]
        }
        for variant, trained in rows.items()
        if variant in summary
    }


def markdown(runs: Sequence[Run]) -> str:
    """The tables: held-out rewards, the runs themselves, and transfer between categories."""
    summary = summarise(runs)
    names = categories(summary)
    columns = [HELD_OUT, *(f"{HELD_OUT}/{name}" for name in names), BLANK]
    rows = [["held-out reward", "mean", *names, "mean, grey pictures"]]
    rows += [[v, *(cell(row.get(c)) for c in columns)] for v, row in summary.items()]
    trained = {v: row for v, row in summary.items() if v != START}
    shown = [name for name in TITLES if any(name in row for row in trained.values())]
    others = [["variant", *(TITLES[name] for name in shown)]]
    others += [[v, *(cell(row.get(name)) for name in shown)] for v, row in trained.items()]
    parts = [table(rows), table(others)]
    gains = transfer(summary)
    if gains:
        square = [["trained on \\ gain on", *names]]
        square += [[t, *(f"{row[n]:+.3f}" for n in names)] for t, row in gains.items()]
        parts.append(table(square))
    return "\n\n".join([*parts, note(runs)]) + "\n"


def note(runs: Sequence[Run]) -> str:
    """What the numbers are of."""
    config = runs[-1].config
    seeds = ", ".join(str(seed) for seed in sorted({run.seed for run in runs}))
    steps = max(run.config.train.steps for run in runs)
    return (
        f"Seeds {seeds}; {steps} steps of {config.rollout.batch_groups} groups of "
        f"{config.rollout.group_size}. Held-out rewards are of {config.evals.tasks} tasks of each "
        f"category, whose means have a standard error of up to "
        f"{0.5 / config.evals.tasks**0.5:.3f}. `{START}` is what all begin with."
    )
