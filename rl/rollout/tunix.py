"""Rollouts by a sampler of Tunix (`pip install 'cogvit-jax[tunix]'`), for text alone.

Tunix decodes a batch from its first token to its last; so asks that come together are drawn as one
batch, and each is told when the batch ends: there are no free rows, and an abort takes effect when
a batch is through. What is drawn depends on the batch, unlike with our engines. What this adapter
guards against, seen in google-tunix 0.1.7:

- top_p = None is greedy, whatever the temperature; 1.0 is always given.
- seed = None is the same key in every call, so that exploration repeats; every batch has its own.
- log probabilities are those after temperature and before top_p and top_k, and training needs the
  model's own beside those of the draw: only temperature 1 (where both are one) and 0 are taken.
- the token that ends a reply is cut off, with its log probability; so replies are drawn to their
  full length, and cut here.
- what equals the padding is seen by no later token, also where it was drawn: padding is -1, which
  no token is (0 would be one of ours).

`tunix_qwen3.py` makes its model of our parameters, and hands new ones over.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from cogvit_jax.settings import ConfigError
from rl.rollout.protocol import Ask, EngineDied, Told, aborted, joined, random_words, refused

NO_TOKEN = -1


class Sampler(Protocol):
    """What is used of `tunix.generate.sampler.Sampler`."""

    def __call__(self, input_strings: Sequence[str], **options: Any) -> Any:
        """Tokens and log probabilities of a batch."""
        ...


@dataclass(frozen=True)
class TunixSettings:
    """How asks become batches.

    Attributes:
        batch: most asks of a batch.
        prompt_length: tokens that prompts are padded to on the left.
        wait: seconds that the first ask of a batch waits for others.
    """

    batch: int = 32
    prompt_length: int = 64
    wait: float = 0.01


@dataclass(eq=False)
class _Asked:
    ask: Ask
    future: asyncio.Future[Told]
    aborted: bool = False


class Ids:
    """A tokenizer for Tunix that takes ids as they are: text is ids with blanks between them.

    Tunix adds a first token where `bos_id` is not 0, and ends a reply at `eos_id` where no other
    tokens are given; -1 is no token.
    """

    def encode(self, text: str) -> list[int]:
        """Ids of a text."""
        return [int(word) for word in text.split()]

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids."""
        return " ".join(str(int(i)) for i in ids)

    def bos_id(self) -> int:
        """0: no token is added."""
        return 0

    def eos_id(self) -> int:
        """-1: none."""
        return NO_TOKEN

    def pad_id(self) -> int:
        """-1: fills up prompts, and is looked up as the last token, which nobody sees."""
        return NO_TOKEN


def make_sampler(model: Any, cache_size: int, layers: int, kv_heads: int, head_dim: int) -> Any:
    """Tunix's own sampler of one of its models, with ids for text.

    Raises:
        ConfigError: google-tunix is not installed.
    """
    try:
        from tunix.generate import sampler  # type: ignore
    except ImportError as error:
        raise ConfigError(
            "a sampler of Tunix needs google-tunix, which is not installed: "
            "pip install google-tunix, or draw with rl.rollout.local.LocalEngine."
        ) from error
    cache = sampler.CacheConfig(cache_size, layers, kv_heads, head_dim)
    return sampler.Sampler(model, Ids(), cache)


class TunixEngine:
    """A `RolloutEngine` of a sampler whose tokenizer is `Ids`; make and use it on one event loop.

    Example:
        engine = TunixEngine(make_sampler(model, 128, layers=4, kv_heads=2, head_dim=32))

    Args:
        sampler: of `make_sampler`.
        settings: of batches.
        update: (sampler, params) -> None puts published parameters into the sampler, such as
            `tunix_qwen3.update`; by default they are its `transformer_state`.
    """

    def __init__(
        self,
        sampler: Sampler,
        settings: TunixSettings = TunixSettings(),
        update: Callable[[Any, Any], None] | None = None,
    ) -> None:
        self._sampler, self._settings, self._update = sampler, settings, update or _set_state
        self._version, self._num_told, self._num_tokens = 0, 0, 0
        self._failure: Exception | None = None
        self._waiting: list[_Asked] = []
        self._drawing: list[_Asked] = []
        self._come = asyncio.Event()
        self._turn = asyncio.Lock()
        self._task = asyncio.ensure_future(self._run())

    @property
    def version(self) -> int:
        """Of the parameters published last."""
        return self._version

    async def generate(self, ask: Ask) -> Told:
        """See `RolloutEngine`."""
        if self._failure is not None:
            raise EngineDied(str(self._failure)) from self._failure
        problem = self._problem(ask)
        if problem:
            return refused(ask, problem)
        asked = _Asked(ask, asyncio.get_running_loop().create_future())
        self._waiting.append(asked)
        self._come.set()
        try:
            return await asked.future
        finally:
            asked.aborted = True

    def abort(self, samples: Iterable[str]) -> None:
        """See `RolloutEngine`; of a batch that is being drawn, nothing is kept."""
        names = set(samples)
        for asked in [*self._waiting, *self._drawing]:
            if asked.ask.sample in names and not asked.future.done():
                asked.aborted = True
                asked.future.set_result(aborted(asked.ask))

    async def publish(self, version: int, params: Any) -> None:
        """See `RolloutEngine`; waits for the batch that is being drawn."""
        async with self._turn:
            await asyncio.to_thread(self._update, self._sampler, params)
            self._version = version

    def stats(self) -> dict[str, float]:
        """Figures for the log."""
        return {
            "running": float(len(self._drawing)),
            "waiting": float(len(self._waiting)),
            "told": float(self._num_told),
            "tokens": float(self._num_tokens),
        }

    async def close(self) -> None:
        """Ends when the batch is through; what is still asked raises EngineDied."""
        self._die(EngineDied("the engine was closed."))
        async with self._turn:
            self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def _problem(self, ask: Ask) -> str:
        num = len(ask.prompt.tokens) + (0 if ask.done is None else len(ask.done.tokens))
        if ask.prompt.visuals:
            return "Tunix's samplers take no pictures"
        if ask.top_k or ask.top_p < 1 or ask.temperature not in (0, 1):
            return (
                f"temperature = {ask.temperature}, top_k = {ask.top_k}, top_p = {ask.top_p}: Tunix "
                "tells one log probability of a token, which is both kinds only with 1, 0 and 1"
            )
        if num > self._settings.prompt_length:
            return f"{num} tokens are more than prompt_length = {self._settings.prompt_length}"
        return ""

    async def _run(self) -> None:
        while self._failure is None:
            await self._come.wait()
            await asyncio.sleep(self._settings.wait)
            async with self._turn:
                batch = self._take()
                if batch:
                    await self._draw(batch)

    def _take(self) -> list[_Asked]:
        """Asks of one kind, in their order; the sampler has one setting for all of a batch."""
        self._waiting = [a for a in self._waiting if not a.aborted]
        batch = [a for a in self._waiting if _kind(a.ask) == _kind(self._waiting[0].ask)]
        self._drawing = batch[: self._settings.batch]
        self._waiting = [a for a in self._waiting if a not in self._drawing]
        if not self._waiting:
            self._come.clear()
        return self._drawing

    async def _draw(self, batch: list[_Asked]) -> None:
        try:
            told = await asyncio.to_thread(self._sample, [asked.ask for asked in batch])
        except Exception as error:
            return self._die(error)
        finally:
            self._drawing = []
        for asked, reply in zip(batch, told, strict=True):
            if not asked.future.done():
                self._num_told += 1
                self._num_tokens += len(reply.tokens)
                asked.future.set_result(joined(asked.ask, reply))

    def _sample(self, asks: Sequence[Ask]) -> list[Told]:
        """One call of the sampler, on a thread; the batch is filled up to its one compiled size."""
        first, version = asks[0], self._version
        texts = [Ids().decode(_read(ask)) for ask in asks]
        texts += texts[:1] * (self._settings.batch - len(asks))
        output = self._sampler(
            texts,
            max_generation_steps=_left(first),
            max_prompt_length=self._settings.prompt_length,
            temperature=first.temperature,
            top_p=1.0 if first.temperature else None,  # None is greedy
            seed=_seed(asks),
            eos_tokens=[NO_TOKEN],
            return_logprobs=True,
        )
        return [
            _as_told(ask, np.asarray(tokens), np.asarray(logprobs), version)
            for ask, tokens, logprobs in zip(asks, output.tokens, output.logprobs, strict=False)
        ]

    def _die(self, error: Exception) -> None:
        self._failure = self._failure or error
        for asked in [*self._waiting, *self._drawing]:
            if not asked.future.done():
                asked.future.set_exception(EngineDied(str(error)))


def _set_state(sampler: Any, params: Any) -> None:
    sampler.transformer_state = params


def _kind(ask: Ask) -> tuple[int, float]:
    return _left(ask), ask.temperature


def _read(ask: Ask) -> list[int]:
    return [*ask.prompt.tokens.tolist(), *(() if ask.done is None else ask.done.tokens)]


def _left(ask: Ask) -> int:
    return ask.max_new_tokens - (0 if ask.done is None else len(ask.done.tokens))


def _seed(asks: Sequence[Ask]) -> int:
    """A seed of 31 bits for a batch: other asks and other attempts have others."""
    parts = (random_words(ask)[0] + len(_read(ask)) for ask in asks)
    return sum((i + 1) * part for i, part in enumerate(parts)) % 2**31


def _as_told(ask: Ask, tokens: np.ndarray, logprobs: np.ndarray, version: int) -> Told:
    ends = np.flatnonzero(np.isin(tokens, ask.stop))
    num = int(ends[0]) + 1 if len(ends) else len(tokens)
    raw = tuple(float(x) for x in logprobs[:num])
    return Told(
        sample=ask.sample,
        turn=ask.turn,
        attempt=ask.attempt,
        tokens=tuple(int(t) for t in tokens[:num]),
        logprobs=raw if ask.temperature else (0.0,) * num,
        raw_logprobs=raw,
        versions=(version,) * num,
        finish_reason="stop" if len(ends) else "length",
    )
