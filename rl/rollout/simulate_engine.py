"""A model of rollout engines: how long a request takes, given all others.

Decoding reads the weights once per step for all rows, so that a step takes the same time up to some
number of rows, and in proportion to their number above it: `step_seconds`. Prefill stops an
engine's decoding for its time. Rows of an engine advance together, so an engine needs one number,
the tokens that a row has decoded since the start, and each request the number at which it ends.
"""

import heapq
from dataclasses import dataclass, field

from rl.rollout.events import SampleId
from rl.rollout.tokens import Tokens


@dataclass(frozen=True)
class EngineModel:
    """What engines are like.

    Attributes:
        num_engines: each takes `rows` requests at a time.
        rows: places of one engine.
        step: seconds of a decode step with few rows.
        knee: rows above which a step takes longer, in proportion.
        prefill: tokens per second of one engine.
        prompt: tokens of a prompt; read once per group.
        running: what becomes of replies in progress when weights are published: "continue",
            "recompute" or "finish", as `config.engine.running`.
    """

    num_engines: int = 8
    rows: int = 64
    step: float = 0.006
    knee: int = 64
    prefill: float = 8000.0
    prompt: int = 512
    running: str = "recompute"

    def step_seconds(self, rows: int) -> float:
        """Seconds in which each of so many rows gets a token."""
        return self.step * max(1.0, rows / self.knee)


@dataclass
class Request:
    """A running request.

    Attributes:
        sample, turn, attempt: of its `Start`.
        begin, end: what `Engine.decoded` was and will be, tokens.
        version: of the weights that decode it now.
        told: tokens under earlier weights.
        before: tokens known before it began.
    """

    sample: SampleId
    turn: int
    attempt: int
    begin: float
    end: float
    version: int
    told: Tokens
    before: int

    def tokens(self, decoded: float) -> Tokens:
        """What it has said when the engine has decoded so many tokens."""
        said = min(int(decoded - self.begin + 1e-6), round(self.end - self.begin))
        return self.told + Tokens.counted(max(0, said - self.told.num), self.version)


@dataclass
class Engine:
    """One engine; times in seconds never go back."""

    model: EngineModel
    decoded: float = 0.0
    time: float = 0.0
    stalled: float = 0.0  # until then it prefills, or loads weights
    requests: dict[SampleId, Request] = field(default_factory=dict)
    ends: list[tuple[float, SampleId, int]] = field(default_factory=list)

    def advance(self, now: float) -> None:
        """Decodes until `now`."""
        seconds = now - max(self.time, self.stalled)
        if seconds > 0 and self.requests:
            self.decoded += seconds / self.model.step_seconds(len(self.requests))
        self.time = now

    def stall(self, now: float, seconds: float) -> None:
        """Decodes nothing for so long, after what it does already."""
        self.advance(now)
        self.stalled = max(self.stalled, now) + seconds

    def start(
        self, now: float, key: tuple[SampleId, int, int], length: int, version: int, before: int
    ) -> None:
        """Begins a request that will say `length` more tokens after `before`."""
        sample, turn, attempt = key
        self.advance(now)
        request = Request(
            sample,
            turn,
            attempt,
            self.decoded,
            self.decoded + length,
            version,
            Tokens(),
            before,
        )
        self.requests[sample] = request
        heapq.heappush(self.ends, (request.end, sample, attempt))

    def stop(self, now: float, sample: SampleId) -> tuple[Request, Tokens] | None:
        """Ends a request early; None if it has ended."""
        self.advance(now)
        request = self.requests.pop(sample, None)
        return request and (request, request.tokens(self.decoded))

    def update(self, now: float, version: int, recompute: bool) -> None:
        """Goes on under new weights; `recompute`: reads again what was said, for its cache."""
        self.advance(now)
        known = 0
        for request in self.requests.values():
            request.told = request.tokens(self.decoded)
            request.version = version
            known += request.before + request.told.num
        if recompute:
            self.stall(now, known / self.model.prefill)

    def finish(self, now: float) -> list[tuple[Request, Tokens]]:
        """Takes out the requests that have ended by now."""
        self.advance(now)
        ended = []
        while self.ends and self.ends[0][0] <= self.decoded + 1e-6:
            end, sample, attempt = heapq.heappop(self.ends)
            request = self.requests.get(sample)
            if request is not None and (request.end, request.attempt) == (end, attempt):
                del self.requests[sample]
                ended.append((request, request.tokens(end)))
        return ended

    def next_end(self) -> float | None:
        """When the next request ends if nothing else happens."""
        while self.ends:
            end, sample, attempt = self.ends[0]
            request = self.requests.get(sample)
            if request is not None and (request.end, request.attempt) == (end, attempt):
                left = max(0.0, end - self.decoded)
                seconds = left * self.model.step_seconds(len(self.requests))
                return max(self.time, self.stalled) + seconds
            heapq.heappop(self.ends)
        return None
