"""Timelines of a run: a picture of its last seconds, and a trace for https://ui.perfetto.dev.

Each lane of `rl.spans` is a line, coloured by stage, with the share of the time in which it was
idle. In a trace, arrows lead from a sample's rollout to its reward and on to its batch.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from rl.spans import STAGES, Span
from rl.types import Json

COLOURS = dict(
    zip(
        STAGES,
        ("#4c72b0", "#64b5cd", "#55a868", "#ccb974", "#da8bc3", "#c44e52", "#8172b3", "#dddddd"),
        strict=True,
    )
)
MOST_LANES = 12  # of a stage, in a picture: a run may have hundreds of rows
HEIGHT = 0.22  # inches of a lane
MICRO = 1e6  # of a trace's unit in a second


def lanes(spans: Iterable[Span]) -> dict[str, list[Span]]:
    """The spans of each lane by time; lanes by their first stage, then by name, 2 before 10."""
    found: dict[str, list[Span]] = {}
    for span in sorted(spans, key=lambda span: (span.start, span.stop)):
        found.setdefault(span.lane, []).append(span)
    order = list(STAGES)
    return dict(
        sorted(found.items(), key=lambda item: (order.index(item[1][0].stage), _natural(item[0])))
    )


def busy_seconds(spans: Iterable[Span], start: float, stop: float) -> dict[str, float]:
    """Stage -> seconds between two moments, of all spans; waiting is not counted."""
    found: dict[str, float] = {}
    for span in spans:
        seconds = min(span.stop, stop) - max(span.start, start)
        if span.stage != "wait" and seconds > 0:
            found[span.stage] = found.get(span.stage, 0.0) + seconds
    return found


def idle_shares(spans: Iterable[Span], start: float, stop: float) -> dict[str, float]:
    """Lane -> share of the time between two moments in which it did nothing, or waited."""
    length = max(stop - start, 1e-12)
    return {
        lane: 1 - sum(busy_seconds(own, start, stop).values()) / length
        for lane, own in lanes(spans).items()
    }


def window(spans: Sequence[Span], seconds: float = float("inf")) -> tuple[float, float]:
    """First and last moment of the last seconds of all spans."""
    stop = max((span.stop for span in spans), default=0.0)
    first = min((span.start for span in spans), default=0.0)
    return max(first, stop - seconds), stop


def draw(spans: Sequence[Span], seconds: float = float("inf")) -> Figure:
    """The last seconds, lane by lane."""
    start, stop = window(spans, seconds)
    shown = lanes(span for span in spans if span.stop > start)
    idle = idle_shares(spans, start, stop)
    names = _some(shown)
    figure = Figure(figsize=(12, 1.4 + HEIGHT * max(1, len(names))), layout="constrained")
    axes = figure.subplots()
    for place, name in enumerate(names):
        own = [span for span in shown[name] if span.stop > start]
        pieces = [(max(s.start, start) - start, s.stop - max(s.start, start)) for s in own]
        colours = [COLOURS[span.stage] for span in own]
        axes.broken_barh(pieces, (place - 0.4, 0.8), facecolors=colours, linewidth=0)
    axes.set_yticks(range(len(names)), [f"{n}  {idle[n]:.0%} idle" for n in names], fontsize=7)
    axes.set(xlim=(0, max(stop - start, 1e-9)), ylim=(len(names) - 0.4, -0.6), xlabel="seconds")
    axes.grid(axis="x", alpha=0.3)
    stages = [s for s in STAGES if any(s == span.stage for own in shown.values() for span in own)]
    patches = [Patch(color=COLOURS[stage], label=stage) for stage in stages]
    figure.legend(handles=patches, loc="outside upper right", ncols=len(STAGES), fontsize=7)
    if len(names) < len(shown):
        title = f"{len(names)} of {len(shown)} lanes, the first {MOST_LANES} of each stage"
        axes.set_title(title, fontsize=8, loc="left")
    return figure


def _some(shown: Mapping[str, Sequence[Span]]) -> list[str]:
    """The first lanes of each stage, in their order."""
    seen: Counter[str] = Counter()
    names = []
    for name, own in shown.items():
        seen[own[0].stage] += 1
        if seen[own[0].stage] <= MOST_LANES:
            names.append(name)
    return names


def trace(spans: Sequence[Span]) -> dict[str, Json]:
    """Chrome's trace format, as Perfetto reads it.

    Spans are complete events ("ph": "X") in microseconds from the first one; lanes are threads.
    Spans that name the same id are joined by a flow ("s", "t", "f"), from the end of the first.
    """
    first, _ = window(spans)
    threads = {lane: number for number, lane in enumerate(lanes(spans), 1)}
    events: list[dict[str, Json]] = [
        {"ph": "M", "pid": 1, "tid": 0, "name": "process_name", "args": {"name": "rl"}}
    ]
    for lane, thread in threads.items():
        about = {"ph": "M", "pid": 1, "tid": thread}
        events.append(about | {"name": "thread_name", "args": {"name": lane}})
        events.append(about | {"name": "thread_sort_index", "args": {"sort_index": thread}})
    for span in sorted(spans, key=lambda span: (span.start, span.stop)):
        ids = {"ids": list(span.ids)} if span.ids else {}
        events.append(
            {
                "ph": "X",
                "pid": 1,
                "tid": threads[span.lane],
                "name": span.label or span.stage,
                "cat": span.stage,
                "ts": (span.start - first) * MICRO,
                "dur": span.seconds * MICRO,
                "args": {"stage": span.stage} | ids,
            }
        )
    return {"traceEvents": events + _flows(spans, threads, first), "displayTimeUnit": "ms"}


def write_trace(spans: Sequence[Span], path: str | Path) -> None:
    """A file to be opened in https://ui.perfetto.dev or chrome://tracing."""
    Path(path).write_text(json.dumps(trace(spans), ensure_ascii=False), encoding="utf-8")


def _flows(spans: Sequence[Span], threads: dict[str, int], first: float) -> list[dict[str, Json]]:
    """An arrow from each span of a sample to the next."""
    followed: dict[str, list[Span]] = {}
    for span in sorted(spans, key=lambda span: (span.start, span.stop)):
        for name in span.ids:
            followed.setdefault(name, []).append(span)
    events = []
    for number, (name, own) in enumerate(sorted(followed.items()), 1):
        for place, span in enumerate(own if len(own) > 1 else ()):
            last = place == len(own) - 1
            # An event belongs to the span that is open at its time: just before its end.
            end = span.start + 0.999 * span.seconds
            event: dict[str, Json] = {
                "ph": "f" if last else "t" if place else "s",
                "pid": 1,
                "tid": threads[span.lane],
                "name": name,
                "cat": "sample",
                "id": number,
                "ts": ((span.start if place else end) - first) * MICRO,
            }
            events.append(event | ({"bp": "e"} if last else {}))
    return events


def _natural(name: str) -> list[tuple[int, str]]:
    """Numbers in a name compare as numbers."""
    return [(int(part or 0), "") if part.isdigit() else (-1, part) for part in _pieces(name)]


def _pieces(name: str) -> list[str]:
    return re.findall(r"[0-9]+|[^0-9]+", name)
