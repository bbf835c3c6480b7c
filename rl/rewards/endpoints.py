"""One OpenAI-compatible endpoint: how it is asked, and all that can go wrong with it.

A request waits for a place (`concurrency`); from then on it has `deadline` seconds. In them it is
tried up to `attempts` times, each within the endpoint's limits and after a pause that grows (full
jitter) and is no shorter than a `Retry-After`. Bodies, with their pictures, exist only while a
request has a place and is being sent, so a long queue costs little memory.
"""

import asyncio
import contextlib
import math
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import httpx

from cogvit_jax.settings import ConfigError
from rl.rewards.limits import REAL, Breaker, Bucket, Clock, jitter, within
from rl.rewards.responses import Problem, read_response
from rl.types import Verdict


@dataclass(frozen=True)
class EndpointSettings:
    """Where a judge model is, and what it can bear.

    Attributes:
        url: up to and with "/v1".
        model: the name that it is asked by.
        key_variable: environment variable that holds the API key; "" = none is needed.
        concurrency: requests at a time.
        requests_per_minute, tokens_per_minute: 0 = no limit.
        seconds: of one attempt.
        deadline: seconds of a request, all attempts and pauses included, from its admission on.
        attempts: at most.
        backoff, most_backoff: seconds before the second attempt, and before any, at most.
        breaker_failures: in a row, after which it is left alone.
        breaker_seconds: for how long.
        max_bytes: of a reply.
        proxies: whether the environment's proxies are used.
    """

    url: str
    model: str
    key_variable: str = ""
    concurrency: int = 32
    requests_per_minute: float = 0.0
    tokens_per_minute: float = 0.0
    seconds: float = 60.0
    deadline: float = 300.0
    attempts: int = 6
    backoff: float = 1.0
    most_backoff: float = 30.0
    breaker_failures: int = 10
    breaker_seconds: float = 15.0
    max_bytes: int = 1 << 20
    proxies: bool = False


def check(settings: EndpointSettings, path: str) -> None:
    """Raises ConfigError for what cannot be."""
    if not settings.url.startswith(("http://", "https://")):
        raise ConfigError(f"{path}.url = {settings.url!r} must begin with http:// or https://.")
    if settings.key_variable and settings.key_variable not in os.environ:
        raise ConfigError(
            f"{path}.key_variable: the environment has no variable {settings.key_variable!r}."
        )
    for name in ("concurrency", "attempts", "breaker_failures", "max_bytes", "seconds", "deadline"):
        if getattr(settings, name) <= 0:
            raise ConfigError(f"{path}.{name} = {getattr(settings, name)} must be more than 0.")


class Endpoint:
    """Asks for verdicts. To be used within one event loop, and closed.

    Attributes:
        problems: how often which kind of attempt failed.
        breaker: its fuse.
    """

    def __init__(self, name: str, settings: EndpointSettings, clock: Clock = REAL) -> None:
        self.name, self.settings, self._clock = name, settings, clock
        self.problems: Counter[str] = Counter()
        self.breaker = Breaker(settings.breaker_failures, settings.breaker_seconds, clock)
        self._places = asyncio.Semaphore(settings.concurrency)
        self._quiet_until = -math.inf
        second = settings.requests_per_minute / 60, settings.tokens_per_minute / 60
        self._requests = Bucket(settings.requests_per_minute, max(1.0, second[0]), clock)
        self._tokens = Bucket(settings.tokens_per_minute, max(1.0, second[1]), clock)
        key = os.environ.get(settings.key_variable, "") if settings.key_variable else ""
        headers = {"content-type": "application/json", "accept-encoding": "identity"}
        self._client = httpx.AsyncClient(
            headers=headers | ({"authorization": f"Bearer {key}"} if key else {}),
            timeout=None,  # each attempt has its own
            # Places are counted here; a server may drop what has been idle for 5 s.
            limits=httpx.Limits(
                max_connections=None,
                max_keepalive_connections=settings.concurrency,
                keepalive_expiry=2.0,
            ),
            trust_env=settings.proxies,
        )

    async def close(self) -> None:
        """Closes connections."""
        with contextlib.suppress(TimeoutError):
            await within(5.0, self._client.aclose())

    async def ask(
        self,
        key: bytes,
        make_body: Callable[[int], bytes],
        tokens: int,
        read: Callable[[str], Verdict],
    ) -> Verdict:
        """A verdict, or an error; never raises but when cancelled.

        Args:
            key: content hash, from which pauses follow.
            make_body: attempt -> the request; run in a thread.
            tokens: that it is thought to cost, reply included.
            read: the reply's text -> a verdict; raises ValueError for what is none.
        """
        async with self._places:
            until = self._clock.now() + self.settings.deadline
            problem = Problem("deadline", f"no verdict within {self.settings.deadline} s")
            try:
                async with asyncio.timeout(self.settings.deadline):
                    for attempt in range(self.settings.attempts):
                        try:
                            return await self._attempt(attempt, key, make_body, tokens, read, until)
                        except Problem as found:
                            problem = found
                            self.problems[found.name] += 1
                            if not found.again:
                                break
            except TimeoutError:
                self.problems["deadline"] += 1
                return Verdict.error(
                    self.name, f"no verdict within {self.settings.deadline} s; last: {problem}"
                )
            except Exception as error:  # such as a picture that cannot be encoded
                self.problems["bug"] += 1
                return Verdict.error(self.name, f"{type(error).__name__}: {error}")
            return Verdict.error(self.name, str(problem))

    async def _attempt(
        self,
        attempt: int,
        key: bytes,
        make_body: Callable[[int], bytes],
        tokens: int,
        read: Callable[[str], Verdict],
        until: float,
    ) -> Verdict:
        """One request, when it is its turn."""
        options = self.settings
        pause = jitter(key, attempt, options.backoff, options.most_backoff) if attempt else 0.0
        quiet = self._quiet_until - self._clock.now()
        if max(pause, quiet) > until - self._clock.now():
            reason = f"the next attempt is {max(pause, quiet):.0f} s away, past the deadline"
            raise Problem("deadline", reason, again=False)
        if max(pause, quiet) > 0:
            await self._clock.sleep(max(pause, quiet))
        if self.breaker.is_down(options.deadline):  # so that a run without its judge ends soon
            reason = f"the endpoint has been down for more than {options.deadline:.0f} s"
            raise Problem("down", reason, again=False)
        await self._requests.take(1)
        await self._tokens.take(tokens)
        trial, healthy = await self.breaker.admit(), None
        try:
            text, used = await self._post([await asyncio.to_thread(make_body, attempt)])
            healthy = True
        except Problem as problem:
            healthy = problem.healthy
            self._quiet_until = max(self._quiet_until, self._clock.now() + problem.wait)
            raise
        finally:
            self.breaker.end(trial, healthy)
        self._tokens.correct(tokens - used if used else 0)
        try:
            return read(text)
        except ValueError as reason:
            raise Problem("unreadable", f"the judge gave no verdict: {reason}") from reason

    async def _post(self, body: list[bytes]) -> tuple[str, int]:
        """The reply's text, and the tokens that were used (0 = not told); takes the body away."""
        try:
            return await within(self.settings.seconds, self._send(body))
        except TimeoutError:
            raise Problem("slow", f"no reply within {self.settings.seconds} s") from None
        except httpx.HTTPError as error:
            raise Problem("connection", f"{type(error).__name__}: {error}") from error

    async def _send(self, body: list[bytes]) -> tuple[str, int]:
        url = f"{self.settings.url.rstrip('/')}/chat/completions"
        headers = {"content-length": str(len(body[0]))}
        async with self._client.stream("POST", url, content=_taken(body), headers=headers) as found:
            return await read_response(found, self.settings.max_bytes)


async def _taken(body: list[bytes]) -> AsyncIterator[bytes]:
    """The body, once. httpx's objects refer to each other, so they outlive their request until the
    garbage collector comes; what they hold of the body is this, and it is empty by then."""
    yield body.pop()
