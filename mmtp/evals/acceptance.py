"""How many drafted tokens are kept: measured while generating, or predicted by teacher forcing.

Definitions differ between engines. Here the acceptance length is vLLM's, 1 + accepted / steps: mean
tokens per step of the target, the bonus token included. With p_j the share of steps that keep draft
j among those that keep all before it, it is 1 + sum_k prod_{j <= k} p_j.

Teacher forcing predicts it without generating: at token i of a text, head k is right where its most
probable token is the one that the main head finds at token i + k, which would verify it.

Shape letters: n steps (or tokens of a text), k drafts, b rows, h heads, t tokens of a row.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cogvit_jax import plots
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


def foreseen(
    predicted: Int[np.ndarray, "b h t"], rows: Mapping[str, Int[np.ndarray, "..."]]
) -> Steps:
    """`teacher_forced` of a batch, at every token of it.

    Args:
        predicted: most probable token of the main head and of each depth.
        rows: of the batch, groups joined: `weights` `[b, h, t]`, `mtp_sources` `[b, h - 1, t]`,
            `visual`, `segments`, `order`, `category` `[b, t]`, as in `data.layout.ARRAYS`.
    """
    num_depths = predicted.shape[1] - 1
    # The newest known token i + 1 is the model's own too: nothing is drafted inside of a prompt.
    sources, valid = rows["mtp_sources"], rows["weights"][:, 1:] * rows["weights"][:, :1] > 0
    main = np.take_along_axis(predicted[:, :1], sources, axis=2)
    matches = predicted[:, 1:] == main
    # At token i the newest known one is i + 1, and the first draft comes after it.
    distance = np.take_along_axis(
        distances(rows["visual"] > 0, rows["segments"], rows["order"]), sources[:, 0], axis=1
    )
    flat = [np.moveaxis(x, 1, 2).reshape(-1, num_depths) for x in (matches, valid)]
    return teacher_forced(flat[0], flat[1], rows["category"].ravel(), distance.ravel())


def distances(
    visual: Bool[np.ndarray, "b t"],
    segments: Int[np.ndarray, "b t"],
    order: Int[np.ndarray, "b t"],
) -> Int[np.ndarray, "b t"]:
    """Tokens from the last visual token of a document to the one after each of its tokens.

    Args:
        visual: which tokens are visual.
        segments: of the documents in a row.
        order: place of each token in its row before any reordering.
    """
    laid_out = np.argsort(order, axis=1)
    visual, segments = (np.take_along_axis(x, laid_out, axis=1) for x in (visual, segments))
    place = np.broadcast_to(np.arange(visual.shape[1]), visual.shape)
    begins = np.diff(segments, axis=1, prepend=-1) != 0
    first = np.maximum.accumulate(np.where(begins, place, 0), axis=1)
    last = np.maximum.accumulate(np.where(visual, place, -1), axis=1)
    found = np.where(last >= first, place + 1 - last, NO_IMAGE)
    return np.take_along_axis(found, order, axis=1)


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


def flat(steps: Steps) -> dict[str, float]:
    """All figures as one level of names, for metrics."""
    found = dict(summarise(steps))
    for kind, groups in (("category", by_category(steps)), ("distance", by_distance(steps))):
        for group, summary in groups.items():
            found[f"{kind}/{group.replace(' ', '_')}/length"] = summary["length"]
    return found


def figures(steps: Steps) -> dict[str, Any]:
    """What an evaluator returns: `flat`, and `picture`; nothing without steps."""
    if not len(steps.drafted):
        return {}
    return {**flat(steps), "picture": draw(steps)}


def draw(steps: Steps) -> np.ndarray:
    """Bars of the rates by place, and of the acceptance length by category and by distance.

    Returns:
        a picture `[h, w, 3]`, uint8.
    """
    figure = Figure(figsize=(13, 3.6), layout="constrained")
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
    return plots.render(figure)


def _bars(ax: Axes, values: dict[str, float], title: str) -> None:
    bars = ax.bar(list(values), list(values.values()))
    ax.bar_label(bars, fmt="%.2f", fontsize=8)
    ax.set_title(title, fontsize=10)
    ax.tick_params(axis="x", rotation=30, labelsize=8)


def _where(steps: Steps, mask: Bool[np.ndarray, " n"]) -> Steps:
    return Steps(*(column[mask] for column in steps))
