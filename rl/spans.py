"""Who did what when: spans of a run's stages, recorded by many threads and kept as JSON lines.

    spans = Spans()
    with spans.record("train", "trainer", "step 12", ids=sample_names):
        ...
    one = spans.start("rollout", "row *", ids=(name,))     # the first free lane of "row 0", "row 1"
    spans.stop(one)
    spans.save(workdir / "spans.jsonl")                    # what is new since the last time

A lane is something that does one thing at a time, such as a row of the rollout engine or the
trainer. Spans that name the same id follow it through the run: a sample's rollout, its reward, the
batch that it is part of, the step that trains on it. `rl.viewing.timeline` shows them.
"""

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path

from cogvit_jax.settings import choose

STAGES = {
    "rollout": "a row of the engine writes a reply",
    "environment": "an action is carried out, or a task drawn",
    "reward": "a verifier or judge is at work",
    "batch": "samples are packed",
    "prefetch": "reference weights come back to the device",
    "train": "a step",
    "publish": "weights go to the rollout engine",
    "wait": "nothing can be done; counts as idle",
}
FILE = "spans.jsonl"


@dataclass(frozen=True)
class Span:
    """A stretch of time in which a lane was at one stage.

    Attributes:
        stage: key of STAGES.
        lane: what was busy; it does one thing at a time.
        start, stop: seconds of the recorder's clock.
        label: of this one, such as "step 12".
        ids: samples that it was about.
    """

    stage: str
    lane: str
    start: float
    stop: float
    label: str = ""
    ids: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.stop - self.start


def wall_clock() -> Callable[[], float]:
    """Seconds since 1970 that never go back: processes of one machine agree, clocks may be set."""
    offset = time.time() - time.perf_counter()
    return lambda: offset + time.perf_counter()


class Spans:
    """Records spans of any thread; the newest `capacity` are kept in memory."""

    def __init__(self, capacity: int = 100_000, clock: Callable[[], float] | None = None):
        """As many spans as are kept, and () -> seconds; `wall_clock` by default."""
        self.clock = clock or wall_clock()
        self._lock = threading.Lock()
        self._done: deque[Span] = deque(maxlen=capacity)
        self._open: dict[int, Span] = {}
        self._busy: dict[str, float] = {}  # lane -> end of its last span, infinite while it is open
        self._tickets = count()
        self._num_done = self._num_saved = self.num_lost = 0

    def start(self, stage: str, lane: str, label: str = "", ids: Iterable[str] = ()) -> int:
        """Begins a span; returns a ticket for `stop`.

        Args:
            stage: key of STAGES.
            lane: of the span; "*" in it stands for the least number whose lane is free.
            label: see `Span`.
            ids: see `Span`.

        Raises:
            ConfigError: there is no such stage.
            ValueError: the lane is busy.
        """
        choose(STAGES, stage, "stage")
        with self._lock:
            now = self.clock()
            if "*" in lane:
                named = (lane.replace("*", str(number)) for number in count())
                lane = next(name for name in named if self._busy.get(name, now) <= now)
            self._begin(lane, now, float("inf"))
            ticket = next(self._tickets)
            self._open[ticket] = Span(stage, lane, now, now, label, tuple(ids))
            return ticket

    def stop(self, ticket: int, label: str | None = None) -> Span:
        """Ends a span; a label may be known only now."""
        with self._lock:
            span = replace(self._open.pop(ticket), stop=self.clock())
            if label is not None:
                span = replace(span, label=label)
            self._busy[span.lane] = span.stop
            self._keep(span)
            return span

    @contextmanager
    def record(
        self, stage: str, lane: str, label: str = "", ids: Iterable[str] = ()
    ) -> Iterator[None]:
        """A span around a block, recorded where the block raises too; see `start`."""
        ticket = self.start(stage, lane, label, ids)
        try:
            yield
        finally:
            self.stop(ticket)

    def add(self, span: Span) -> None:
        """A span that was measured elsewhere, such as in another process.

        Raises:
            ConfigError: there is no such stage.
            ValueError: it ends before it starts, or starts before the lane's last one ended.
        """
        choose(STAGES, span.stage, "stage")
        if not span.start <= span.stop < float("inf"):
            raise ValueError(f"a span from {span.start} to {span.stop}")
        with self._lock:
            self._begin(span.lane, span.start, span.stop)
            self._keep(span)

    def last(self, seconds: float = float("inf")) -> list[Span]:
        """Spans of the last seconds that are still in memory; open ones end now."""
        with self._lock:
            now = self.clock()
            spans = [*self._done, *(replace(span, stop=now) for span in self._open.values())]
        return [span for span in spans if span.stop >= now - seconds]

    def save(self, path: str | Path) -> int:
        """Appends what has ended since the last time to a file; returns how many spans.

        Those that were pushed out of memory before they were saved are counted in `num_lost`.
        """
        with self._lock:
            new = self._num_done - self._num_saved
            kept = list(islice(self._done, max(0, len(self._done) - new), None))
            self._num_saved = self._num_done
            self.num_lost += new - len(kept)
        with Path(path).open("a", encoding="utf-8") as file:
            file.writelines(f"{json.dumps(vars(span), ensure_ascii=False)}\n" for span in kept)
        return len(kept)

    def _begin(self, lane: str, start: float, stop: float) -> None:
        before = self._busy.get(lane, start)
        if before > start:
            raise ValueError(f"lane {lane!r} is busy: it does one thing at a time")
        self._busy[lane] = stop

    def _keep(self, span: Span) -> None:
        self._done.append(span)
        self._num_done += 1


def read(path: str | Path) -> list[Span]:
    """Spans of a file; a last line that is cut off is left out."""
    found = []
    *lines, _ = Path(path).read_text(encoding="utf-8").split("\n")
    for line in lines:
        fields = json.loads(line)
        found.append(Span(**fields | {"ids": tuple(fields["ids"])}))
    return found
