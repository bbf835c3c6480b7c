"""Judges: models that are asked over HTTP whether an answer is right.

A judge is a panel of seats. Each seat is an endpoint that is asked on its own, and their verdicts
are put to the vote as `rl.rewards.aggregate` says: a panel of three that has two equal votes needs
no third; a seat that failed counts only where it could have changed the outcome, and then the
verdict is an error, never 0.
"""

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial

from cogvit_jax.settings import ConfigError, choose
from rl.rewards import judge_verdict
from rl.rewards.aggregate import MAX_PARTS, Recipe, resolve
from rl.rewards.cache import Cache
from rl.rewards.endpoints import Endpoint
from rl.rewards.judge_prompts import PROMPTS
from rl.rewards.judge_requests import Case, JudgeSettings, make_body, make_case, num_tokens
from rl.types import Rollout, Verdict

VOTES = ("majority", "median")


def check(settings: JudgeSettings, endpoints: Mapping[str, object], path: str) -> None:
    """Raises ConfigError for what cannot be."""
    if not 1 <= len(settings.seats) <= MAX_PARTS:
        raise ConfigError(f"{path}.seats = {settings.seats} must be 1 … {MAX_PARTS} endpoints.")
    for seat in settings.seats:
        choose(endpoints, seat, f"{path}.seats")
    choose({vote: vote for vote in VOTES}, settings.vote, f"{path}.vote")
    choose(PROMPTS, settings.prompt, f"{path}.prompt")


class Judge:
    """A panel that can be asked for verdicts.

    Attributes:
        name: of the verifier, "judge:NAME".
    """

    def __init__(
        self,
        name: str,
        settings: JudgeSettings,
        endpoints: Mapping[str, Endpoint],
        cache: Cache,
        secret: bytes,
    ) -> None:
        """`secret` is what policies cannot know; requests are the same where it is."""
        self.name, self._settings, self._cache, self._secret = name, settings, cache, secret
        self._seats = [endpoints[seat] for seat in settings.seats]
        before: Counter[str] = Counter()
        self._numbers: list[int] = []  # of the same endpoint among the seats
        for seat in settings.seats:
            self._numbers.append(before[seat])
            before[seat] += 1

    async def ask(self, rollout: Rollout) -> Verdict:
        """The panel's verdict; an error where it failed."""
        started = time.monotonic()
        try:
            case = await asyncio.to_thread(make_case, rollout, self._settings)
            if case is None:
                return Verdict.of(0.0, self.name, reason="there is no one answer to judge")
            tokens = num_tokens(case, self._settings)
        except Exception as error:
            return Verdict.error(self.name, f"{type(error).__name__}: {error}")
        ask: dict[int, Callable[[], Awaitable[Verdict]]] = {
            i: partial(self._ask_seat, i, case, tokens) for i in range(len(self._seats))
        }
        recipe = Recipe(self._settings.vote, self._settings.seats)
        none: list[Verdict | None] = [None] * len(ask)
        verdict, votes = await resolve(self.name, recipe, none, ask)
        told = [v.reason or v.details.get("reason", "") if v else "not needed" for v in votes]
        said = [v.value if v and v.kind == "value" else v and v.kind for v in votes]
        details = {"votes": said, "reasons": told}
        return replace(verdict, details=details, seconds=time.monotonic() - started)

    async def _ask_seat(self, place: int, case: Case, tokens: int) -> Verdict:
        endpoint, number = self._seats[place], self._numbers[place]
        where = f"{endpoint.settings.url} {endpoint.settings.model} {number}"
        key = hashlib.blake2b(case.content + where.encode(), digest_size=16).digest()
        words = judge_verdict.nonces(key, self._secret)

        def body(attempt: int) -> bytes:
            seed = int.from_bytes(hashlib.blake2b(key + bytes([attempt])).digest()[:4], "big") >> 1
            return make_body(case, self._settings, endpoint.settings.model, words, seed)

        def read(text: str) -> Verdict:
            return judge_verdict.read(text, words.key, endpoint.name)

        return await self._cache.ask(key, lambda: endpoint.ask(key, body, tokens, read))
