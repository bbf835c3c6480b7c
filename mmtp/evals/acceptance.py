"""How many drafted tokens are kept: measured while generating, or predicted by teacher forcing.

Definitions differ between engines. Here the acceptance length is vLLM's, 1 + accepted / steps: mean
tokens per step of the target, the bonus token included. With p_j the share of steps that keep draft
j among those that keep all before it, it is 1 + sum_k prod_{j <= k} p_j.

Teacher forcing predicts it without generating: at each token of a text, head k is right where its
most probable token is the main head's.

Shape letters: n steps (or tokens of a text), k drafts.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mmtp.data.records import CATEGORIES
from mmtp.generation.requests import Completion, Request

NO_IMAGE = -1
# Tokens since the last visual one, upper ends of the bins; the last bin has none.
DISTANCES = (8, 32, 128, 512)


class Steps(NamedTuple):
    """Verifications, or tokens at which one is imagined.

    Attributes:
        drafted: tokens that were drafted.
        accepted: how many of them, from the first, were kept.
        category: index into `records.CATEGORIES`.
        distance: tokens from the last visual token to the first draft; NO_IMAGE = none before it.
    """

    drafted: Int[np.ndarray, " n"]
    accepted: Int[np.ndarray, " n"]
    category: Int[np.ndarray, " n"]
    distance: Int[np.ndarray, " n"]


def generated(requests: Sequence[Request], completions: Sequence[Completion]) -> Steps:
    """All verifications of some completions."""
    parts = []
    for request, completion in zip(requests, completions, strict=True):
        place, drafted, accepted = completion.drafts.T
        visuals = request.prompt.visuals
        stop = max((v.start + v.num_tokens for v in visuals), default=0)
        distance = len(request.prompt.tokens) + place - stop + 1
        category = np.full_like(place, request.prompt.category)
        parts.append(
            Steps(drafted, accepted, category, distance if visuals else np.full_like(place, -1))
        )
    return Steps(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def teacher_forced(
    matches: Bool[np.ndarray, "n k"],
    valid: Bool[np.ndarray, "n k"],
    category: Int[np.ndarray, " n"],
    distance: Int[np.ndarray, " n"],
) -> Steps:
    """What verification would do at every token of a text.

    Args:
        matches: head k's most probable token is the one that the main head finds k tokens later.
        valid: that place is in the same document and its token is text.
        category: of each token.
        distance: as in `Steps`.
    """
    drafted = np.cumprod(valid, axis=1).sum(axis=1)
    accepted = np.cumprod(valid & matches, axis=1).sum(axis=1)
    kept = drafted > 0
    return Steps(drafted[kept], accepted[kept], category[kept], distance[kept])


def distances(visual: Bool[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Tokens from the last visual token to the one after each token of a document."""
    place = np.arange(len(visual))
    last = np.maximum.accumulate(np.where(visual, place, NO_IMAGE))
    return np.where(last >= 0, place + 1 - last, NO_IMAGE)


def summarise(steps: Steps) -> dict[str, float]:
    """Figures of some steps.

    Returns:
        `steps`; `length`, the acceptance length; `rate/j`, the share of steps with a draft j that
        keep it and all before it; `conditional/j`, the same among steps that keep all before it.
        Empty without steps.
    """
    if not len(steps.drafted):
        return {}
    figures = {
        "steps": float(len(steps.drafted)),
        "length": 1 + float(steps.accepted.sum() / len(steps.drafted)),
    }
    for j in range(1, int(steps.drafted.max()) + 1):
        has = steps.drafted >= j
        reached = has & (steps.accepted >= j - 1)
        kept = (steps.accepted >= j).sum()
        figures[f"rate/{j}"] = float(kept / has.sum())
        if reached.any():
            figures[f"conditional/{j}"] = float(kept / reached.sum())
    return figures


def by_category(steps: Steps) -> dict[str, dict[str, float]]:
    """`summarise` for each category that occurs."""
    present = [i for i in range(len(CATEGORIES)) if np.any(steps.category == i)]
    return {CATEGORIES[i]: summarise(_where(steps, steps.category == i)) for i in present}


def by_distance(steps: Steps, edges: Sequence[int] = DISTANCES) -> dict[str, dict[str, float]]:
    """`summarise` for each bin of tokens since the last visual one that occurs."""
    bins = np.searchsorted(edges, steps.distance)
    names = [f"up to {edge}" for edge in edges] + [f"over {edges[-1]}"]
    picked = {"no picture": steps.distance == NO_IMAGE}
    picked |= {n: (bins == i) & (steps.distance != NO_IMAGE) for i, n in enumerate(names)}
    return {name: summarise(_where(steps, mask)) for name, mask in picked.items() if mask.any()}


def flat(steps: Steps, prefix: str = "acceptance") -> dict[str, float]:
    """All figures as one level of names, for metrics."""
    figures = {f"{prefix}/{name}": value for name, value in summarise(steps).items()}
    for kind, groups in (("category", by_category(steps)), ("distance", by_distance(steps))):
        for group, summary in groups.items():
            name = f"{prefix}/{kind}/{group.replace(' ', '_')}"
            figures[f"{name}/length"] = summary["length"]
    return figures


def draw(steps: Steps, target: Path | str) -> None:
    """Bars of the rates by place, and of the acceptance length by category and by distance."""
    figure = Figure(figsize=(13, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    rates, categories, bins = figure.subplots(1, 3)
    total = summarise(steps)
    _bars(
        rates,
        {n.removeprefix("rate/"): v for n, v in total.items() if n.startswith("rate/")},
        "draft kept, by place",
    )
    for ax, groups, title in (
        (categories, by_category(steps), "acceptance length, by category"),
        (bins, by_distance(steps), "acceptance length, by tokens since a picture"),
    ):
        _bars(ax, {name: s["length"] for name, s in groups.items()}, title)
        ax.axhline(1, color="grey", linewidth=0.8)
    figure.savefig(target, dpi=110)


def _bars(ax: Axes, values: dict[str, float], title: str) -> None:
    bars = ax.bar(list(values), list(values.values()))
    ax.bar_label(bars, fmt="%.2f", fontsize=8)
    ax.set_title(title, fontsize=10)
    ax.tick_params(axis="x", rotation=30, labelsize=8)


def _where(steps: Steps, mask: Bool[np.ndarray, " n"]) -> Steps:
    return Steps(*(column[mask] for column in steps))
