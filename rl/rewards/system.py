"""The reward system: a task's data-source tag -> verifiers, and how their verdicts become one.

    async with build(config.rewards) as rewards:
        verdict = await rewards.score(rollout)

Rules run in threads (what may hang, in processes: `rl.rewards.isolate`). Judges are asked over
HTTP, only once the rules have spoken, and only where their word can still change the outcome. A
verdict is a value, an abstention or an error (`rl.types.Verdict`); an error is never a reward of 0.
"""

import asyncio
import os
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from cogvit_jax.settings import ConfigError, unknown
from rl import envs
from rl.envs.category import Category
from rl.envs.environment import judge as judge_by_rule
from rl.rewards import endpoints, judges, local
from rl.rewards.aggregate import resolve
from rl.rewards.cache import Cache
from rl.rewards.reward_settings import JUDGE, RULE, RewardSettings, read, recipe_of
from rl.rewards.threads import Threads
from rl.types import Json, Rollout, Verdict, VerifierFailed


class RewardSystem:
    """Scores rollouts, any number at a time, in one event loop.

    Attributes:
        endpoints, cache: of its judges, for the metrics.
    """

    def __init__(
        self, options: RewardSettings, categories: Mapping[str, Category] = envs.CATEGORIES
    ) -> None:
        """Takes settings that `read` has checked."""
        self._options, self._categories = options, categories
        self._local = options.local
        self._threads = Threads(options.threads, options.rule_seconds)
        self.cache = Cache(options.cache_size, options.cache_path)
        self.endpoints = {
            name: endpoints.Endpoint(name, section) for name, section in options.endpoints.items()
        }
        variable = options.secret_variable
        secret = os.environ[variable].encode() if variable else secrets.token_bytes(16)
        self._judges = {
            f"{JUDGE}{name}": judges.Judge(
                f"{JUDGE}{name}", section, self.endpoints, self.cache, secret
            )
            for name, section in options.judges.items()
        }

    async def __aenter__(self) -> "RewardSystem":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes connections and the cache."""
        for endpoint in self.endpoints.values():
            await endpoint.close()
        self.cache.close()

    def check(self, sources: Iterable[str]) -> None:
        """Raises ConfigError where a tag has no recipe: call it with all tags before training."""
        for source in sources:
            recipe_of(self._options, source)

    async def score(self, rollout: Rollout) -> Verdict:
        """The reward of a rollout; `details["parts"]` has every verifier's own verdict.

        Raises:
            ConfigError: its tag has no recipe, or its category is none.
        """
        started = time.monotonic()
        name, recipe = recipe_of(self._options, rollout.task.source)
        rules = {i: v for i, v in enumerate(recipe.verifiers) if not v.startswith(JUDGE)}
        known: list[Verdict | None] = [None] * len(recipe.verifiers)
        for i, verdict in zip(rules, await self._ask_rules(rollout, rules), strict=True):
            known[i] = verdict
        ask = {
            i: lambda v=v: self._judges[v].ask(rollout)
            for i, v in enumerate(recipe.verifiers)
            if i not in rules
        }
        verdict, parts = await resolve(rollout.task.source, recipe, known, ask)
        told = {v: _told(part) for v, part in zip(recipe.verifiers, parts, strict=True)}
        details = {"recipe": name, "parts": told}
        return replace(verdict, details=details, seconds=time.monotonic() - started)

    async def _ask_rules(self, rollout: Rollout, rules: Mapping[int, str]) -> list[Verdict]:
        """All of them in one thread; they are quick."""
        if not rules:
            return []
        if RULE in rules.values() and rollout.task.category not in self._categories:
            name = rollout.task.category
            raise ConfigError(
                unknown(f"{rollout.task.id}: category {name!r}", name, envs.CATEGORIES)
            )
        try:
            return await self._threads.call(self._judge_rules, rollout, tuple(rules.values()))
        except VerifierFailed as reason:
            return [Verdict.error(rule, str(reason)) for rule in rules.values()]

    def _judge_rules(self, rollout: Rollout, rules: tuple[str, ...]) -> list[Verdict]:
        verdicts = []
        for rule in rules:
            if rule == RULE:
                verdict = judge_by_rule(self._categories[rollout.task.category], rollout)
            else:
                started = time.monotonic()
                verdict = local.VERIFIERS[rule](rollout, self._local)
                verdict = replace(verdict, seconds=time.monotonic() - started)
            verdicts.append(verdict)
        return verdicts


def build(section: Any, path: str = "config.rewards") -> RewardSystem:
    """The reward system of a config's section; to be called where an event loop runs."""
    asyncio.get_running_loop()
    return RewardSystem(read(section, path))


def _told(verdict: Verdict | None) -> Json:
    if verdict is None:
        return {"kind": "skipped"}
    said = {"kind": verdict.kind, "value": verdict.value, "seconds": verdict.seconds}
    details = dict(verdict.details)
    return said | ({"reason": verdict.reason} if verdict.reason else {}) | details
