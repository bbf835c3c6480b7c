"""Figures of the runs of `mmtp_ablation.py`, their paired differences, and the tables of both."""

import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from benchmarks.ablations import Run
from cogvit_jax.metrics import read_jsonl
from configs.ablations.mmtp import VARIANTS
from mmtp.evals import mismatch

BASE = "image_token"  # what the others are compared with
SERVING = "serving.json"  # in the workdir of a run
SPIKE_WINDOW, SPIKE_SIGMAS = 25, 3.0
NORMAL_MAD = 1.4826  # standard deviations of a normal distribution in a median absolute deviation
CONFIDENCE = 0.95

# Figure of a run -> (what tables call it, digits).
TITLES = {
    "loss/main": ("loss, main head", 3),
    "loss/mtp_1": ("loss, depth 1", 3),
    "loss/mtp_2": ("loss, depth 2", 3),
    "heldout/loss/main": ("held-out loss, main head", 3),
    "spikes": ("loss spikes", 2),
    "grad_norm/p50": ("gradient norm, median", 3),
    "grad_norm/p95": ("95%", 3),
    "grad_norm/p99": ("99%", 3),
    "grad_norm/max_over_median": ("max / median", 2),
    "cosine/decoder": ("gradient cosine, decoder", 3),
    "cosine/projector": ("projector", 3),
    "cosine/vision": ("vision", 3),
    "heldout/acceptance/mtp_1": ("teacher-forced, depth 1", 3),
    "heldout/acceptance/mtp_2": ("depth 2", 3),
    "heldout/acceptance/prefix_2": ("both", 3),
    "heldout/acceptance/length": ("teacher-forced length", 3),
    "length": ("acceptance length", 3),
    "image_row": ("norm of the image row", 3),
}
TABLES = (
    ("loss/main", "loss/mtp_1", "loss/mtp_2", "heldout/loss/main"),
    ("spikes", *(name for name in TITLES if name.startswith("grad_norm/"))),
    (*(name for name in TITLES if name.startswith("cosine/")), "image_row"),
    (*(name for name in TITLES if name.startswith("heldout/acceptance/")), "length"),
)


class Difference(NamedTuple):
    """Mean of paired differences, and half the width of its interval (NaN for one pair)."""

    mean: float
    half: float


def spikes(losses: Sequence[float]) -> int:
    """Steps whose loss lies far above those before it.

    Far: more than SPIKE_SIGMAS standard deviations above the median of the SPIKE_WINDOW steps
    before, the deviation estimated as NORMAL_MAD times their median absolute deviation. The first
    SPIKE_WINDOW steps are not judged. The loss falls, so the window lies a little too high, more so
    early on; that is the same for all arms.
    """
    values, count = np.asarray(losses), 0
    for step in range(SPIKE_WINDOW, len(values)):
        before = values[step - SPIKE_WINDOW : step]
        middle = np.median(before)
        sigma = NORMAL_MAD * np.median(np.abs(before - middle))
        count += bool(values[step] > middle + SPIKE_SIGMAS * sigma)
    return count


def figures(run: Run) -> dict[str, float]:
    """The figures of TITLES that a complete run has."""
    rows = read_jsonl(run.workdir / "metrics.jsonl")
    trained = [row for row in rows if "loss" in row]
    last = trained[-len(trained) // 4 :]
    found = {n: statistics.mean(row[n] for row in last) for n in TITLES if n.startswith("loss/")}
    found["spikes"] = spikes([row["loss"] for row in trained])
    warm = run.config.optim.groups.language.warmup_steps
    found |= tails([row["grad_norm"] for row in trained[warm:] or trained])
    ends = {name: value for row in rows for name, value in row.items()}
    for name in TITLES:
        if name.startswith("heldout/"):
            found[name] = statistics.mean(_of_sources(ends, name.removeprefix("heldout/")))
        elif name.startswith("cosine/"):
            found[name] = ends[f"interference/{name}"]
    if (run.workdir / SERVING).exists():
        served = json.loads((run.workdir / SERVING).read_text("utf-8"))
        own = serving_arm(run.variant)
        found |= {"length": served["length"][own], "image_row": served["image_row"]}
    return found


def tails(norms: Sequence[float]) -> dict[str, float]:
    """How far the largest gradients are from the usual one, after the warm-up."""
    middle, high, highest = np.percentile(norms, (50, 95, 99))
    values = (middle, high, highest, max(norms) / middle)
    names = ("p50", "p95", "p99", "max_over_median")
    return {f"grad_norm/{n}": float(v) for n, v in zip(names, values, strict=True)}


def serving_arm(variant: str) -> str:
    """What a training arm is served as if nobody chooses otherwise."""
    return variant.removesuffix("_frozen")


def _of_sources(ends: Mapping[str, Any], metric: str) -> list[float]:
    """Values of heldout/<source>/<metric>."""
    parts = {name: name.split("/", 2) for name in ends}
    return [ends[n] for n, p in parts.items() if p[0] == "heldout" and p[2:] == [metric]]


def summarise(runs: Sequence[Run]) -> dict[str, dict[str, dict[int, float]]]:
    """{arm: {figure: {seed: value}}} of complete runs of seeds that have all arms of `runs`."""
    arms = [arm for arm in VARIANTS if any(run.variant == arm for run in runs)]
    done = [run for run in runs if run.is_complete]
    paired = {s for s in {r.seed for r in done} if sum(r.seed == s for r in done) == len(arms)}
    found: dict[str, dict[str, dict[int, float]]] = {arm: {} for arm in arms}
    for run in done:
        if run.seed in paired:
            for name, value in figures(run).items():
                found[run.variant].setdefault(name, {})[run.seed] = value
    return found


def matrix(runs: Sequence[Run]) -> dict[str, dict[str, list[float]]]:
    """{trained arm: {served arm: acceptance length of each seed}}."""
    found: dict[str, dict[str, list[float]]] = {}
    for run in runs:
        if (run.workdir / SERVING).exists():
            served = json.loads((run.workdir / SERVING).read_text("utf-8"))["length"]
            for arm, value in served.items():
                found.setdefault(run.variant, {}).setdefault(arm, []).append(value)
    return found


def difference(one: Sequence[float], other: Sequence[float]) -> Difference:
    """`one` minus `other`, pair by pair, with Student's t interval of the mean."""
    values = np.subtract(one, other)
    if len(values) < 2:
        return Difference(float(values.mean()), float("nan"))
    factor = stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)
    return Difference(
        float(values.mean()), float(factor * values.std(ddof=1) / np.sqrt(len(values)))
    )


def differences(summary: Mapping[str, Mapping[str, Mapping[int, float]]], name: str) -> Any:
    """{arm: Difference to BASE} of one figure."""
    base = summary[BASE].get(name, {})
    return {
        arm: difference([values[name][s] for s in base], list(base.values()))
        for arm, values in summary.items()
        if arm != BASE and base
    }


def markdown(runs: Sequence[Run]) -> str:
    """Tables of values, of paired differences, and of what is trained against what is served."""
    summary = summarise(runs)
    seeds = sorted(next(iter(summary[BASE].values()), {}))
    parts = [f"{len(seeds)} paired seeds ({', '.join(map(str, seeds))}); mean ± standard deviation"]
    for names in TABLES:
        shown = [n for n in names if n in summary[BASE]]
        rows = [["trained with", *(TITLES[n][0] for n in shown)]]
        rows += [
            [arm, *(spread_of(v[n], TITLES[n][1]) for n in shown)] for arm, v in summary.items()
        ]
        parts.append(table(rows))
    parts.append(f"Difference to `{BASE}`, paired, with a {CONFIDENCE:.0%} interval of the mean:")
    for names in TABLES:
        shown = [n for n in names if n in summary[BASE]]
        found = {n: differences(summary, n) for n in shown}
        rows = [["minus " + BASE, *(TITLES[n][0] for n in shown)]]
        rows += [
            [a, *(signed(found[n][a], TITLES[n][1]) for n in shown)] for a in summary if a != BASE
        ]
        parts.append(table(rows))
    lengths = matrix(runs)
    if lengths:
        parts += ["Acceptance length, what was trained against what is served:", square(lengths)]
        parts += ["The same, minus that of what was trained:", square(lengths, relative=True)]
    return "\n\n".join(parts) + "\n"


def square(lengths: Mapping[str, Mapping[str, Sequence[float]]], relative: bool = False) -> str:
    """The table of `matrix`; relative: paired differences to serving what was trained."""
    rows = [["trained \\ served", *mismatch.SERVED]]
    for arm, row in lengths.items():
        if relative:
            found = [signed(difference(row[s], row[serving_arm(arm)]), 3) for s in mismatch.SERVED]
        else:
            found = [spread_of(dict(enumerate(row[s])), 3) for s in mismatch.SERVED]
        rows.append([arm, *found])
    return table(rows)


def spread_of(values: Mapping[int, float], digits: int) -> str:
    """Mean ± standard deviation over seeds."""
    mean = statistics.mean(values.values())
    deviation = f" ± {statistics.stdev(values.values()):.{digits}f}" if len(values) > 1 else ""
    return f"{mean:.{digits}f}{deviation}"


def signed(found: Difference, digits: int) -> str:
    """A difference and its interval; bold where the interval leaves out zero."""
    text = f"{found.mean:+.{digits}f} ± {found.half:.{digits}f}"
    return f"**{text}**" if abs(found.mean) > found.half else text


def table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first row is the header."""
    header, *rest = rows
    lines = [header, ["---"] * len(header), *rest]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
