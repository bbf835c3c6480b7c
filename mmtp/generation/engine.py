"""Continuous batching on the host: requests come, take a free row, and leave when done.

What is computed for a row depends on nothing in the other rows, and neither do its random numbers;
so the order of requests and the number of rows change completions by no more than the rounding of
other matrix shapes does.
"""

import functools
from collections import deque
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmtp.generation import requests as asked
from mmtp.generation import step as steps
from mmtp.generation.requests import Completion, Request
from mmtp.generation.sampling import GENERATOR
from mmtp.generation.state import EngineSettings, Record, State
from mmtp.models.vlm import VLM

MANY_STEPS = 2**30
DRAFTS = ("greedy", "sampled")


def check_settings(model: VLM, settings: EngineSettings) -> None:
    """Raises ValueError for settings that the model cannot serve."""
    if settings.num_draft and not model.mtp.depth:
        raise ValueError(
            f"num_draft = {settings.num_draft}: the model has no MTP layer to draft with; train "
            "with config.mmtp.depth >= 1, or set num_draft = 0."
        )
    if settings.draft not in DRAFTS:
        raise ValueError(f"draft = {settings.draft!r} must be one of {', '.join(DRAFTS)}.")
    if settings.vision_length % 4 or settings.vision_length < 4:
        raise ValueError(f"vision_length = {settings.vision_length} must be a multiple of 4.")
    if settings.rows < 1 or settings.num_draft < 0 or settings.max_length < 2:
        raise ValueError(
            f"rows = {settings.rows} must be at least 1, num_draft = {settings.num_draft} at least "
            f"0 and max_length = {settings.max_length} at least 2."
        )


_prefill = jax.jit(steps.prefill, static_argnums=(0, 1), donate_argnums=3)
_decode = jax.jit(steps.decode, static_argnums=(0, 1), donate_argnums=3)


@functools.partial(jax.jit, donate_argnums=0)
def _stop(state: State, row: jax.Array) -> State:
    active = state.record.active.at[row].set(False)
    return state._replace(record=state.record._replace(active=active))


class Engine:
    """Rows of requests in progress, and a queue of those that wait.

    Example:
        engine = Engine(model, params, EngineSettings(num_draft=2))
        completions = engine.generate([make_request(0, prompt, max_new_tokens=64)])
    """

    def __init__(self, model: VLM, params: Any, settings: EngineSettings) -> None:
        check_settings(model, settings)
        self.model, self.params, self.settings = model, params, settings
        self._rows: list[Request | None] = [None] * settings.rows
        self._waiting: deque[Request] = deque()
        self._state = self._new_state()

    def check(self, request: Request) -> None:
        """Raises RequestError for a request that cannot be served."""
        s = self.settings
        asked.check(request, s.max_length, s.vision_length, s.num_stops)
        asked.check_placeholders(request.prompt, self.model.image_token)

    def add(self, request: Request) -> None:
        """Queues a request; it begins at the next `advance` that has a row for it."""
        self.check(request)
        self._waiting.append(request)

    def cancel(self, request: Request) -> None:
        """Drops a request, this very object, wherever it is; nothing more is told of it."""
        self._waiting = deque(r for r in self._waiting if r is not request)
        for row, present in enumerate(self._rows):
            if present is request:
                self._rows[row] = None
                self._state = _stop(self._state, jnp.int32(row))

    @property
    def busy(self) -> bool:
        """Whether requests wait or are in progress."""
        return bool(self._waiting) or any(r is not None for r in self._rows)

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Completions of all requests, in their order."""
        for request in requests:
            self.check(request)
        self._waiting.extend(requests)
        done: dict[int, Completion] = {}
        while self.busy:
            for request, completion in self.advance():
                if completion.finish_reason:
                    done[id(request)] = completion
        return [done[id(r)] for r in requests]

    def advance(self, max_steps: int = MANY_STEPS) -> list[tuple[Request, Completion]]:
        """Starts what waits and decodes: `max_steps` steps, or until a row is free for another.

        Returns:
            every request in progress with its completion so far; those whose `finish_reason` is
            set have left their row.
        """
        self._start()
        self._state = _decode(
            self.model,
            self.settings,
            self.params,
            self._state,
            jnp.int32(max_steps),
            jnp.asarray(bool(self._waiting)),
        )
        record = jax.device_get(self._state.record)
        progress = []
        for row, request in enumerate(self._rows):
            if request is None:
                continue
            completion = read(record, row)
            progress.append((request, completion))
            if completion.finish_reason:
                self._rows[row] = None
        return progress

    def _start(self) -> None:
        """Prefills waiting requests into free rows, those of one padded length together."""
        free = [row for row, request in enumerate(self._rows) if request is None]
        begun: dict[int, list[tuple[int, Request]]] = {}
        for row in free:
            if not self._waiting:
                break
            request = self._waiting.popleft()
            self._rows[row] = request
            begun.setdefault(self._bucket(request), []).append((row, request))
        for length, group in begun.items():
            size = 1 if len(group) == 1 else self.settings.rows
            rows = [row for row, _ in group] + [self.settings.rows] * (size - len(group))
            prompts = self._pack([request for _, request in group], size, length)
            self._state = _prefill(
                self.model,
                self.settings,
                self.params,
                self._state,
                prompts,
                jnp.asarray(rows, jnp.int32),
            )

    def _bucket(self, request: Request) -> int:
        num = len(request.prompt.tokens)
        fitting = (n for n in sorted(self.settings.buckets) if num <= n <= self.settings.max_length)
        return next(fitting, self.settings.max_length)

    def _pack(self, requests: Sequence[Request], rows: int, length: int) -> asked.Prompts:
        s = self.settings
        prompts = asked.pack(requests, rows, length, s.vision_length, s.num_stops)
        return jax.tree.map(jnp.asarray, prompts)

    def _new_state(self) -> State:
        s = self.settings
        prompts = self._pack([], s.rows, s.slots)
        shapes = jax.eval_shape(functools.partial(steps.begin, self.model, s), self.params, prompts)
        return jax.tree.map(_zeros, shapes)


def _zeros(x: jax.ShapeDtypeStruct) -> jax.Array:
    if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
        return jax.random.split(jax.random.key(0, impl=GENERATOR), x.shape)
    return jnp.zeros(x.shape, x.dtype)


def read(record: Record, row: int) -> Completion:
    """The completion of one row, from a record on the host."""
    first, stop = int(record.prompt[row]), int(record.place[row]) + 1
    span = slice(first, stop)
    begun = np.flatnonzero(record.drafted[row, span])
    steps_ = [begun, record.drafted[row, span][begun], record.accepted[row, span][begun]]
    reason = "" if record.active[row] else "stop" if record.stopped[row] else "length"
    return Completion(
        tokens=np.asarray(record.tokens[row, span]),
        logprobs=np.asarray(record.logprobs[row, span]),
        raw_logprobs=np.asarray(record.raw_logprobs[row, span]),
        top_tokens=np.asarray(record.top_tokens[row, span]),
        top_logprobs=np.asarray(record.top_logprobs[row, span]),
        drafts=np.stack(steps_, axis=1).astype(np.int32),
        finish_reason=reason,
    )
