"""A rollout engine behind HTTP: vLLM or SGLang (`rl.rollout.dialects`).

    VLLM_SERVER_DEV_MODE=1 vllm serve MODEL
    python -m sglang.launch_server --model-path MODEL

Replies are streamed, so that what an aborted request had drawn is kept. A server says that it is
dead by breaking a connection, by an answer of 5xx or by silence: then EngineDied is raised and the
ask may be put to another one. What it refuses (4xx) is told with finish_reason "error". Both also
come within a stream that had begun well.

Equal asks get equal tokens only where the server promises that (SGLang with
--enable-deterministic-inference); a reply that goes on from a part has its distribution right, not
its tokens. Tokens are marked with the version that the server says drew them, which it says when a
reply has ended; those of an aborted one with what was published when they were heard.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from cogvit_jax.settings import ConfigError
from rl.rollout.dialects import DIALECTS, Heard
from rl.rollout.protocol import Ask, EngineDied, FinishReason, Told, joined, refused

REASONS: dict[str, FinishReason] = {"stop": "stop", "length": "length", "abort": "abort"}
TELLS = ("", "raw", "sampled")


@dataclass(frozen=True)
class ServerSettings:
    """Where a server is and what is known of it.

    Attributes:
        url: such as http://127.0.0.1:8000.
        dialect: "vllm" or "sglang".
        model: its name at the server; "" = the only one.
        logprobs: which log probabilities it tells: "raw" (the model's own), "sampled" (after
            temperature), or "" for the dialect's default.
        silence: seconds without a new token after which it counts as dead.
        retries: times that a request is sent anew because no connection came about, or the server
            said 429 or 503 before it drew anything.
        wait: seconds before the first of them, doubled each time.
        connections: most requests at a time; the others wait here, in their order.
    """

    url: str
    dialect: str = "vllm"
    model: str = ""
    logprobs: str = ""
    silence: float = 120.0
    retries: int = 3
    wait: float = 0.5
    connections: int = 256


def check(settings: ServerSettings, path: str = "rollout") -> None:
    """Raises ConfigError for settings without sense."""
    if settings.dialect not in DIALECTS:
        known = ", ".join(DIALECTS)
        raise ConfigError(f"{path}.dialect = {settings.dialect!r} must be one of {known}.")
    if settings.logprobs not in TELLS:
        raise ConfigError(f"{path}.logprobs = {settings.logprobs!r} must be raw, sampled or ''.")
    if not settings.url.startswith(("http://", "https://")):
        raise ConfigError(f"{path}.url = {settings.url!r} must begin with http:// or https://.")
    for name in ("silence", "wait", "connections"):
        if getattr(settings, name) <= 0:
            raise ConfigError(f"{path}.{name} = {getattr(settings, name)} must be above 0.")


@dataclass(eq=False)
class _Asked:
    """A request on its way."""

    ask: Ask
    name: str
    heard: Heard = field(default_factory=Heard)
    versions: list[int] = field(default_factory=list)
    task: asyncio.Task[None] | None = None
    aborted: bool = False


class ServerEngine:
    """A `RolloutEngine`; make and use it on one event loop.

    Example:
        engine = ServerEngine(ServerSettings("http://127.0.0.1:30000", "sglang"))
        told = await engine.generate(ask)
        await engine.publish(7, "/checkpoints/000700")  # a folder that the server can read

    Args:
        settings: of the server.
        version: of the weights that it has.
        transport: of httpx, for tests.
    """

    def __init__(
        self,
        settings: ServerSettings,
        version: int = 0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        check(settings)
        self._settings, self._dialect = settings, DIALECTS[settings.dialect]
        self._version, self._told, self._tokens = version, 0, 0
        self._asked: set[_Asked] = set()
        self._room = asyncio.Semaphore(settings.connections)
        self._numbers = 0
        self._spoke = 0.0  # when anything was heard
        self._closed = False
        limits = httpx.Limits(max_connections=settings.connections + 8)
        # One request may wait its turn at the server for long: see `_end_of`.
        timeout = httpx.Timeout(settings.silence, read=None, pool=None)
        self._client = httpx.AsyncClient(
            base_url=settings.url, timeout=timeout, limits=limits, transport=transport
        )

    @property
    def version(self) -> int:
        """Of the weights published last."""
        return self._version

    async def generate(self, ask: Ask) -> Told:
        """See `RolloutEngine`.

        Raises:
            ValueError: the server tells one log probability of each token, and the ask's sampling
                needs two.
        """
        self._check(ask)
        if ask.prompt.visuals and not self._can_see(ask):
            return refused(ask, f"{self._settings.dialect} takes no such pictures beside token ids")
        self._numbers += 1
        asked = _Asked(ask, f"{ask.sample}/{ask.turn}/{ask.attempt}/{self._numbers}")
        self._asked.add(asked)
        asked.task = asyncio.ensure_future(self._listen(asked))
        try:
            await self._end_of(asked.task)
            told = self._as_told(asked)
        finally:
            self._asked.discard(asked)
            asked.task.cancel()
        self._told += 1
        self._tokens += len(asked.heard.tokens)
        return joined(ask, told)

    def abort(self, samples: Iterable[str]) -> None:
        """See `RolloutEngine`; the connection is closed, which ends the request at the server."""
        names = set(samples)
        for asked in self._asked:
            if asked.ask.sample in names and asked.task is not None:
                asked.aborted = True
                asked.task.cancel()

    async def publish(self, version: int, params: Any) -> None:
        """See `RolloutEngine`; `params` is a folder of weights that the server can read.

        Args:
            version: of the weights.
            params: the folder, or a future of one that is being written.

        Raises:
            EngineDied: the server did not take them.
        """
        if isinstance(params, Future):
            params = await asyncio.shield(asyncio.wrap_future(params))
        for path, body in self._dialect.update(str(params), version):
            await self._post(path, body)
        self._version = version

    def stats(self) -> dict[str, float]:
        """Figures for the log: asks on their way, answered ones, and tokens drawn for them."""
        running = float(len(self._asked))
        return {"running": running, "told": float(self._told), "tokens": float(self._tokens)}

    async def close(self) -> None:
        """Closes all connections; what is still asked raises EngineDied."""
        self._closed = True
        for asked in list(self._asked):
            if asked.task is not None:
                asked.task.cancel()
        await self._client.aclose()

    def _check(self, ask: Ask) -> None:
        if self._closed:
            raise EngineDied("the engine was closed.")
        plain = ask.temperature == 1 and not ask.top_k and ask.top_p == 1
        tells = self._settings.logprobs or self._dialect.logprobs
        if not plain and not (ask.temperature == 0 and tells == "raw"):
            raise ValueError(
                f"temperature = {ask.temperature}, top_k = {ask.top_k}, top_p = {ask.top_p}: the "
                f"server tells {tells} log probabilities alone, and training needs both kinds. "
                "Use temperature = 1, top_k = 0 and top_p = 1, where they are the same."
            )

    def _can_see(self, ask: Ask) -> bool:
        return self._dialect.pictures and all(v.video < 0 for v in ask.prompt.visuals)

    async def _end_of(self, task: asyncio.Task[None]) -> None:
        """Returns when the task has ended; raises EngineDied where the server is silent to all."""
        now = asyncio.get_running_loop().time
        began = now()
        while not task.done():
            left = max(began, self._spoke) + self._settings.silence - now()
            if left <= 0:
                raise EngineDied(
                    f"{self._settings.url}: not a word within {self._settings.silence} s"
                )
            await asyncio.wait({task}, timeout=left)

    async def _listen(self, asked: _Asked) -> None:
        """Hears a reply to its end; sends it anew while nothing was drawn."""
        async with self._room:
            for attempt in range(self._settings.retries + 1):
                try:
                    async for event in self._events(asked):
                        self._spoke = asyncio.get_running_loop().time()
                        self._dialect.hear(asked.heard, event)
                        new = len(asked.heard.tokens) - len(asked.versions)
                        asked.versions += [self._version] * new
                    return
                except (httpx.ConnectError, _Busy) as error:
                    if attempt == self._settings.retries or asked.heard.tokens:
                        raise EngineDied(f"{self._settings.url}: {error!r}") from error
                    await asyncio.sleep(self._settings.wait * 2**attempt)

    async def _events(self, asked: _Asked) -> AsyncIterator[Any]:
        body = self._dialect.body(asked.ask, self._settings.model, asked.name)
        async with self._client.stream("POST", self._dialect.path, json=body) as answer:
            if answer.status_code in (429, 503):
                raise _Busy(f"status {answer.status_code}")
            if answer.status_code >= 400:
                text = (await answer.aread()).decode("utf-8", "replace")[:500]
                raise _Refused(answer.status_code, text)
            async for line in answer.aiter_lines():
                data = line.removeprefix("data:").strip()
                if line.startswith("data:") and data != "[DONE]":
                    yield json.loads(data)

    async def _post(self, path: str, body: Any) -> None:
        """A call that must succeed; raises EngineDied."""
        try:
            silence = self._settings.silence
            answer = await self._client.post(path, json=body, timeout=silence)
            self._spoke = asyncio.get_running_loop().time()
        except httpx.HTTPError as error:
            raise EngineDied(f"{path} at {self._settings.url}: {error!r}") from error
        found = answer.json() if answer.is_success and answer.content else {}
        if not answer.is_success or found.get("success") is False:
            told = f"{answer.status_code} {answer.text[:500]}"
            raise EngineDied(f"{path} at {self._settings.url}: {told}")

    def _as_told(self, asked: _Asked) -> Told:
        """What was heard when listening ended; raises EngineDied where it ended badly."""
        task, heard = asked.task, asked.heard
        assert task is not None
        if task.cancelled():
            if not asked.aborted:
                raise EngineDied("the engine was closed.")
            return self._made(asked, "abort")
        error = task.exception()
        if heard.problem:
            error = error or _Refused(*heard.problem)
        if isinstance(error, _Refused) and error.status < 500:
            return self._made(asked, "error", f"the server refuses ({error.status}): {error.text}")
        if isinstance(error, EngineDied):
            raise error
        if error is not None:
            raise EngineDied(f"{self._settings.url}: {error!r}") from error
        if not heard.finish_reason:
            raise EngineDied(f"{self._settings.url}: the stream broke off")
        problem = self._problem(asked)
        if problem:  # what was drawn answers another prompt, or cannot be trained on
            return refused(replace(asked.ask, done=None), problem)
        return self._made(asked, REASONS.get(heard.finish_reason, "error"), heard.finish_reason)

    def _problem(self, asked: _Asked) -> str:
        """What is wrong with a whole reply; "" = nothing."""
        heard, ask = asked.heard, asked.ask
        expected = len(ask.prompt.tokens) + (0 if ask.done is None else len(ask.done.tokens))
        if heard.prompt_tokens not in (None, expected):
            return (
                f"the server read {heard.prompt_tokens} tokens of a prompt of {expected}: its "
                "model cuts pictures in another way"
            )
        if len(heard.logprobs) != len(heard.tokens):
            return f"{len(heard.tokens)} tokens have {len(heard.logprobs)} log probabilities"
        return ""

    def _made(self, asked: _Asked, reason: FinishReason, error: str = "") -> Told:
        heard, ask = asked.heard, asked.ask
        num = min(len(heard.tokens), len(heard.logprobs))
        raw = tuple(heard.logprobs[:num])
        versions = asked.versions[:num]
        for label, first, stop in heard.spans:
            if label.isdecimal():  # else it is that of weights which nobody published
                versions[first:stop] = [int(label)] * len(versions[first:stop])
        return Told(
            sample=ask.sample,
            turn=ask.turn,
            attempt=ask.attempt,
            tokens=tuple(heard.tokens[:num]),
            logprobs=raw if ask.temperature else (0.0,) * num,
            raw_logprobs=raw,
            versions=tuple(versions),
            finish_reason=reason,
            error=error if reason == "error" else "",
        )


class _Busy(Exception):
    """The server asks for patience."""


class _Refused(Exception):
    """The server's answer is an error."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"status {status}: {text}")
        self.status, self.text = status, text
