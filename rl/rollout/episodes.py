"""A sample's episode while it is played: its environment, its prompt, and the row it becomes."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mmtp.data.encoded import Encoded
from rl.batching import Packed
from rl.envs.category import Category
from rl.envs.environment import Environment
from rl.prompts import Encoder, whole
from rl.rollout.tokens import Tokens
from rl.types import Action, Rollout, Task


@dataclass(frozen=True)
class Said:
    """A reply within the row: its first place, and what the engine said of its tokens."""

    first: int
    tokens: Tokens


class Episode:
    """One sample of a task.

    Attributes:
        task: what is played.
        prompt: of the turn that is to be answered.
        said: replies so far.
    """

    def __init__(
        self,
        category: Category,
        task: Task,
        prompt: Encoded,
        encoder: Encoder,
        max_length: int,
        fits: Callable[[Encoded], bool] = lambda prompt: True,
    ) -> None:
        """Begins; samples of a group share `prompt`, so that it is read once for all of them.

        Args:
            category, task: of the environment.
            prompt: of the first turn.
            encoder: makes those of later ones.
            max_length: of prompt and reply, in tokens.
            fits: whether a prompt's pictures can be trained on; the episode ends before one that
                cannot.
        """
        self.task, self.prompt, self.said = task, prompt, []
        self._encoder, self._max_length, self._fits = encoder, max_length, fits
        # Waiting for an engine is not the policy's time: the schedule bounds it.
        self._environment = Environment(category, clock=lambda: 0.0)
        self._environment.begin(task)
        self._last: tuple[int, ...] = ()

    @property
    def rollout(self) -> Rollout:
        """The episode so far."""
        return self._environment.rollout

    async def take(self, tokens: Tokens, reason: str) -> bool:
        """The environment acts on a reply; whether the episode is over.

        Args:
            tokens: of the whole reply.
            reason: that it ended for: "stop" or "length". What was cut off is an answer, too, and
                the episode ends with it.
        """
        ids = tuple(int(token) for token in tokens.ids)
        versions = tuple(int(v) for v in tokens.token_versions)
        logprobs = tuple(float(x) for x in tokens.logprobs)
        action = Action(self._encoder.text(ids), ids, logprobs, versions, reason)
        self.said.append(Said(len(self.prompt.tokens), tokens))
        self._last = ids
        seen, done = await self._environment.step(action)
        if done or reason != "stop" or not seen.parts:
            return True
        prompt = await asyncio.to_thread(self._encoder.following, self.prompt, ids, seen)
        if len(prompt.tokens) >= self._max_length or not self._fits(prompt):
            return True  # no room for another word, or picture
        self.prompt, self._last = prompt, ()
        return False

    def row(self, advantage: float) -> Packed:
        """The episode as it is trained on."""
        spans = [(s.first, s.first + s.tokens.num) for s in self.said]
        document = whole(self.prompt, self._last, spans)
        num = len(document.tokens)
        logprobs, versions = np.zeros(num, np.float32), np.zeros(num, np.int32)
        for (first, stop), said in zip(spans, self.said, strict=True):
            logprobs[first:stop] = said.tokens.logprobs
            versions[first:stop] = said.tokens.token_versions
        advantages = np.full(num, advantage, np.float32) * document.supervised
        return Packed(document, document.supervised, logprobs, advantages, versions)


async def replay(episode: Episode, turns: Sequence[tuple[Tokens, str]]) -> None:
    """Brings a new episode to where replies have led that are known already."""
    for tokens, reason in turns:
        await episode.take(tokens, reason)
