"""What a rollout engine is asked and what it tells: one `Ask`, one `Told`.

Engines of one process (`rl.rollout.local`), servers (`rl.rollout.server`) and Tunix's samplers
(`rl.rollout.tunix`) are told apart by nothing but their constructor.

    told = await engine.generate(ask)        # resolves the moment this one request ends
    engine.abort([ask.sample])               # … and then with finish_reason "abort" and what was
    told = await engine.generate(resume(ask, told))  # drawn so far; this goes on from there

What is drawn depends on the ask's seed, sample and turn, and on nothing else: not on attempts, on
rows, nor on what else is asked.
"""

import dataclasses
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from mmtp.data.encoded import Encoded

FinishReason = Literal["stop", "length", "abort", "error"]


class EngineDied(Exception):
    """The engine cannot go on: what was asked is lost, and may be asked of another one."""


@dataclass(frozen=True)
class Told:
    """What an engine drew for an `Ask`: the whole reply, earlier attempts included.

    Example:
        Told("counting/2/000041#3", turn=0, attempt=0, tokens=(5, 9), logprobs=(-0.7, -0.1),
             raw_logprobs=(-0.9, -0.3), versions=(12, 12), finish_reason="stop")

    Attributes:
        sample, turn, attempt: of the ask.
        tokens: ids, a stop token included.
        logprobs: of each token in the distribution that it was drawn from (after temperature,
            top-k and top-p; 0 where greedy).
        raw_logprobs: of each token in the policy's own distribution: temperature 1, no filters.
        versions: of the policy that drew each token.
        finish_reason: "stop": by a stop token; "length": max_new_tokens; "abort": by
            `RolloutEngine.abort`; "error": no distribution to draw from (logits not finite), or
            a request that the engine refuses: see `error`.
        drafts: (steps with drafts, drafted tokens, accepted tokens) of speculative decoding; its
            sum over attempts.
        error: what went wrong, in words; "" where nothing did.
    """

    sample: str
    turn: int
    attempt: int
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    raw_logprobs: tuple[float, ...]
    versions: tuple[int, ...]
    finish_reason: FinishReason
    drafts: tuple[int, int, int] = (0, 0, 0)
    error: str = ""


@dataclass(frozen=True)
class Ask:
    """One turn of one sample: a prompt, and how to go on from it.

    Example:
        Ask("counting/2/000041#3", turn=0, attempt=0, prompt=encode_prompt(…),
            group="counting/2/000041", max_new_tokens=512, stop=stop_tokens(tokenizer), seed=7)

    Attributes:
        sample: unique in a run; samples of a group have names of their own.
        turn: of the sample's episode, from 0.
        attempt: how often this turn was asked before; draws do not depend on it.
        prompt: tokens and pictures, earlier turns included.
        group: of samples that share their first prompt, which is read once for all of them.
        max_new_tokens: of the whole reply, `done` and a stop token included.
        temperature: 0 = greedy.
        top_k: 0 = all.
        top_p: 1 = all.
        stop: tokens that end the reply.
        seed: of the run.
        done: what an aborted attempt told, to go on from; None = from the beginning.
    """

    sample: str
    turn: int
    attempt: int
    prompt: Encoded
    group: str
    max_new_tokens: int
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    stop: tuple[int, ...] = ()
    seed: int = 0
    done: Told | None = None


class RolloutEngine(Protocol):
    """Where replies are drawn. All methods belong to one event loop."""

    @property
    def version(self) -> int:
        """Of the policy that draws what is asked now."""
        ...

    async def generate(self, ask: Ask) -> Told:
        """The reply, the moment it has ended; waits for a free row, first come first served.

        Raises:
            EngineDied: the engine cannot go on.
        """
        ...

    def abort(self, samples: Iterable[str]) -> None:
        """Ends what is asked for these samples; unknown ones are let be.

        Returns at once; their `generate` then returns with finish_reason "abort" and what was
        drawn so far, or with their own one where they have just ended.
        """
        ...

    async def publish(self, version: int, params: Any) -> None:
        """Draws with these parameters, of that version, from now on; returns when that is so.

        Args:
            version: larger than all before.
            params: what the engine takes: a tree of arrays, or where to find one.
        """
        ...

    def stats(self) -> dict[str, float]:
        """Figures for the log, such as how many are in progress ("running") or wait ("waiting")."""
        ...

    async def close(self) -> None:
        """Ends threads and connections; whatever is still asked raises EngineDied."""
        ...


def resume(ask: Ask, told: Told) -> Ask:
    """The next attempt, which goes on from what an aborted one told."""
    return dataclasses.replace(ask, attempt=ask.attempt + 1, done=told if told.tokens else None)


def aborted(ask: Ask) -> Told:
    """Of an ask that ends before anything new is drawn."""
    if ask.done is None:
        return Told(ask.sample, ask.turn, ask.attempt, (), (), (), (), "abort")
    return dataclasses.replace(ask.done, attempt=ask.attempt, finish_reason="abort")


def refused(ask: Ask, error: str) -> Told:
    """Of an ask that the engine cannot serve, with the reason in words."""
    return dataclasses.replace(aborted(ask), finish_reason="error", error=error)


def joined(ask: Ask, told: Told) -> Told:
    """What was drawn for the ask alone, behind what it had already."""
    if ask.done is None:
        return told
    before = ask.done
    return dataclasses.replace(
        told,
        tokens=before.tokens + told.tokens,
        logprobs=before.logprobs + told.logprobs,
        raw_logprobs=before.raw_logprobs + told.raw_logprobs,
        versions=before.versions + told.versions,
        drafts=tuple(a + b for a, b in zip(before.drafts, told.drafts, strict=True)),
    )


def random_words(ask: Ask) -> tuple[int, int]:
    """(seed of 64 bits, request id of 32 bits) of the ask's random numbers.

    A hash of run seed, sample and turn: equal in every process and attempt. Two asks of a run of a
    billion share all 96 bits with probability 1e-11.
    """
    text = repr((ask.seed, ask.sample, ask.turn)).encode()
    digest = hashlib.blake2b(text, digest_size=12).digest()
    return int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big")
