"""Continuous batching on the host: requests come, take a free row, and leave when done.

What is computed for a row depends on nothing in the other rows, and neither do its random numbers;
so the order of requests and the number of rows change completions by no more than the rounding of
other matrix shapes does.
"""

import dataclasses
from collections import deque
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmtp.generation import completions, packing
from mmtp.generation import prefill as prefills
from mmtp.generation import requests as asked
from mmtp.generation import step as steps
from mmtp.generation.pool import Pool
from mmtp.generation.requests import Completion, Request
from mmtp.generation.sampling import GENERATOR
from mmtp.generation.settings import EngineSettings, check_settings
from mmtp.generation.state import Prefixes, Record, State, new_state
from mmtp.models.vlm import VLM

MANY_STEPS = 2**30
RUNNING = ("continue", "recompute", "finish")


_prefill = jax.jit(prefills.prefill, static_argnums=(0, 1), donate_argnums=3)
_seat = jax.jit(prefills.seat, static_argnums=0, donate_argnums=1)
_refresh = jax.jit(prefills.refresh, donate_argnums=0)
_decode = jax.jit(steps.decode, static_argnums=(0, 1), donate_argnums=3)


class Engine:
    """Rows of requests in progress, and a queue of those that wait.

    Example:
        engine = Engine(model, params, EngineSettings(num_draft=2))
        completions = engine.generate([make_request(0, prompt, max_new_tokens=64)])

    Attributes:
        version: of the parameters that new requests begin with.
        num_prefills: prompts that were read.
        num_shared: requests that began from a prompt which was read for another one.
    """

    def __init__(self, model: VLM, params: Any, settings: EngineSettings, version: int = 0) -> None:
        check_settings(model, settings)
        self.model, self.settings, self.version = model, settings, version
        self.num_prefills = self.num_shared = 0
        self._params = {version: params}
        self._rows: list[Request | None] = [None] * settings.rows
        self._row_versions = [version] * settings.rows
        self._waiting: deque[tuple[Request, bytes]] = deque()
        self._pool = Pool(settings.pool)
        self._prefixes, self._state = self._new_state()
        self._record: Record | None = None  # on the host, as long as it is that of the state

    @property
    def params(self) -> Any:
        """Of the newest version."""
        return self._params[self.version]

    def check(self, request: Request) -> None:
        """Raises RequestError for a request that cannot be served."""
        s = self.settings
        asked.check(request, s.max_length, s.vision_length, s.num_stops)
        asked.check_placeholders(request.prompt, self.model.image_token)

    def add(self, request: Request) -> None:
        """Queues a request; it begins at the next `advance` that has a row for it."""
        self.check(request)
        self._waiting.append((request, asked.digest(request)))

    def cancel(self, request: Request) -> Completion | None:
        """Drops a request, this very object, wherever it is; `advance` tells no more of it.

        Returns:
            its completion so far, which a request may go on from (`Request.done`); None where the
            request is not here.
        """
        for row, present in enumerate(self._rows):
            if present is request:
                completion = self._read(row)
                self._rows[row] = None
                return dataclasses.replace(completion, finish_reason="cancelled")
        waiting = [entry for entry in self._waiting if entry[0] is not request]
        if len(waiting) == len(self._waiting):
            return None
        self._waiting = deque(waiting)
        nothing = completions.nothing(self.settings.top_logprobs)
        return dataclasses.replace(request.done or nothing, finish_reason="cancelled")

    @property
    def busy(self) -> bool:
        """Whether requests wait or are in progress."""
        return bool(self._waiting) or any(r is not None for r in self._rows)

    @property
    def num_running(self) -> int:
        """Requests in progress."""
        return sum(r is not None for r in self._rows)

    @property
    def num_held(self) -> int:
        """Versions of parameters in memory: the newest, and those that rows finish with."""
        return len(self._params)

    def set_params(self, params: Any, version: int, running: str = "continue") -> None:
        """Other parameters of the same shapes, for all that is drawn from now on.

        Args:
            params: not given away to anything else: a training step that donates its state needs
                a copy made here first.
            version: of the tokens that they draw.
            running: what becomes of requests in progress. "continue": they go on with the new
                parameters from the keys of the old ones. "recompute": they do so after their
                tokens were read anew. "finish": they end with the parameters that they began with,
                which stay in memory until then.

        Raises:
            ValueError: `running` is none of these, or the version is not newer.
        """
        if running not in RUNNING:
            raise ValueError(f"running = {running!r} must be one of {', '.join(RUNNING)}.")
        if version <= self.version:
            raise ValueError(f"version {version} must be above {self.version}, the present one.")
        self._params[version], self.version = params, version
        self._pool.clear()
        if running != "finish":
            self._row_versions = [version] * self.settings.rows
        if running == "recompute":
            self._read_anew()
        self._forget_params()

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Completions of all requests, in their order."""
        for request in requests:
            self.check(request)
        self._waiting.extend((r, asked.digest(r)) for r in requests)
        done: dict[int, Completion] = {}
        while self.busy:
            for request, completion in self.advance(partial=False):
                done[id(request)] = completion
        return [done[id(r)] for r in requests]

    def advance(
        self, max_steps: int = MANY_STEPS, partial: bool = True
    ) -> list[tuple[Request, Completion]]:
        """Starts what waits and decodes: `max_steps` steps, or until a row is free for another.

        Returns:
            every request in progress with its completion so far; those whose `finish_reason` is
            set have left their row. Only those without `partial`.
        """
        self._start()
        running = [row for row, request in enumerate(self._rows) if request is not None]
        for version in sorted({self._row_versions[row] for row in running}):
            chosen = np.zeros(self.settings.rows, np.bool_)
            chosen[[row for row in running if self._row_versions[row] == version]] = True
            self._state = _decode(
                self.model,
                self.settings,
                self._params[version],
                self._state,
                chosen,
                np.int32(version),
                np.int32(max_steps),
                np.bool_(bool(self._waiting)),
            )
        self._record = None
        active = np.asarray(self._state.record.active)
        progress = []
        for row in running:
            if partial or not active[row]:
                progress.append((self._rows[row], self._read(row)))
            if not active[row]:
                self._rows[row] = None
        self._forget_params()
        return progress

    def _read(self, row: int) -> Completion:
        """The completion of a row so far."""
        request = self._rows[row]
        assert request is not None
        record = self._record = self._record or jax.device_get(self._state.record)
        return completions.join(request.done, completions.read(record, row, request.num_done))

    def _start(self) -> None:
        """Waiting requests take free rows, as many at a time as the pool holds prompts of."""
        free = deque(row for row, request in enumerate(self._rows) if request is None)
        while free and self._waiting:
            begun: list[tuple[int, Request, bytes]] = []
            while free and self._waiting and len(begun) < self.settings.pool:
                request, digest = self._waiting.popleft()
                begun.append((free.popleft(), request, digest))
            places = self._prefill([(request, digest) for _, request, digest in begun])
            self._seat([(row, request) for row, request, _ in begun], places)

    def _seat(self, begun: list[tuple[int, Request]], places: list[int]) -> None:
        """Begins completions in their rows, from prompts at places of the pool."""
        for row, request in begun:
            self._rows[row], self._row_versions[row] = request, self.version
        s, size = self.settings, 1 if len(begun) == 1 else self.settings.pool
        self._state = _seat(
            s,
            self._state,
            self._prefixes,
            _padded(places, size, 0),
            packing.wishes([request for _, request in begun], size, s.num_stops),
            _padded([row for row, _ in begun], size, s.rows),
            np.int32(self.version),
        )
        self._record = None

    def _prefill(self, requests: list[tuple[Request, bytes]]) -> list[int]:
        """Places of the pool that hold the requests' prompts, which are read where none does."""
        places, missing = self._pool.places([digest for _, digest in requests])
        self.num_prefills += len(missing)
        self.num_shared += len(requests) - len(missing)
        buckets: dict[int, list[int]] = {}
        for index in missing:
            buckets.setdefault(self._bucket(requests[index][0]), []).append(index)
        for length, group in buckets.items():
            # Few sizes are compiled: one by one, unless padding would be the smaller part.
            size = self.settings.pool if 2 * len(group) > self.settings.pool else 1
            for first in range(0, len(group), size):
                part = group[first : first + size]
                self._prefixes = _prefill(
                    self.model,
                    self.settings,
                    self.params,
                    self._prefixes,
                    self._pack([requests[i][0] for i in part], size, length),
                    _padded([places[i] for i in part], size, self.settings.pool),
                )
        return places

    def _read_anew(self) -> None:
        """Keys of all rows by the newest parameters; the newest token has none yet."""
        running = [row for row, request in enumerate(self._rows) if request is not None]
        size = self.settings.pool
        for first in range(0, len(running), size):
            rows = running[first : first + size]
            requests = []
            for row in rows:
                request, done = self._rows[row], completions.without_last(self._read(row))
                assert request is not None
                requests.append(dataclasses.replace(request, done=done))
            places = self._prefill([(r, asked.digest(r)) for r in requests])
            self._state = _refresh(
                self._state,
                self._prefixes,
                _padded(places, size, 0),
                _padded(rows, size, self.settings.rows),
            )

    def _forget_params(self) -> None:
        """Lets go of parameters that no row and no new request will use."""
        running = (row for row, request in enumerate(self._rows) if request is not None)
        used = {self.version, *(self._row_versions[row] for row in running)}
        self._params = {version: self._params[version] for version in sorted(used)}

    def _bucket(self, request: Request) -> int:
        num = request.num_read
        fitting = (n for n in sorted(self.settings.buckets) if num <= n <= self.settings.max_length)
        return next(fitting, self.settings.max_length)

    def _pack(self, requests: Sequence[Request], rows: int, length: int) -> packing.Prompts:
        return packing.pack(requests, rows, length, self.settings.vision_length)

    def _new_state(self) -> tuple[Prefixes, State]:
        s = self.settings

        def make(
            params: Any, prompts: packing.Prompts, wishes: packing.Wishes
        ) -> tuple[Prefixes, State]:
            part = prefills.read(self.model, s, params, prompts)
            return part, new_state(part, wishes, s)

        def zeros(rows: int) -> tuple[Prefixes, State]:
            prompts, wishes = self._pack([], rows, s.slots), packing.wishes([], rows, s.num_stops)
            return jax.tree.map(_zeros, jax.eval_shape(make, self.params, prompts, wishes))

        return zeros(s.pool)[0], zeros(s.rows)[1]


def _padded(values: Sequence[int], size: int, filler: int) -> np.ndarray:
    return np.array([*values, *[filler] * (size - len(values))], np.int32)


def _zeros(x: jax.ShapeDtypeStruct) -> jax.Array:
    if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
        return jax.random.split(jax.random.key(0, impl=GENERATOR), x.shape)
    return jnp.zeros(x.shape, x.dtype)
