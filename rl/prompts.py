"""An episode as the policy's tokens: prompts that grow turn by turn, and the row to train on.

What the policy said stays as the tokens that it drew. Decoding and encoding again may give others,
and then neither their log-probabilities nor the cache of the next turn would be those of the row.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mmtp.data.chat import ChatSettings
from mmtp.data.documents import encode_next, encode_prompt, stop_tokens
from mmtp.data.encoded import Encoded
from mmtp.data.images import ImageSettings
from mmtp.data.records import Message
from mmtp.data.tokenizer import Tokenizer
from rl.conversation import conversation
from rl.types import Observation, Task


@dataclass(frozen=True)
class Encoder:
    """How episodes become tokens.

    Attributes:
        tokenizer: a vocabulary.
        images: how pictures are cut into patches.
        chat: how conversations are written.
    """

    tokenizer: Tokenizer
    images: ImageSettings
    chat: ChatSettings

    @property
    def stop(self) -> tuple[int, ...]:
        """Tokens at which a reply ends."""
        return stop_tokens(self.tokenizer)

    def first(self, task: Task) -> Encoded:
        """The prompt of a task's first turn."""
        prompt = encode_prompt(conversation(task), self.tokenizer, self.images, self.chat)
        return replace(prompt, id=task.id)

    def following(self, before: Encoded, reply: Sequence[int], seen: Observation) -> Encoded:
        """The prompt of the next turn."""
        message = Message(seen.role, seen.parts)
        return encode_next(before, reply, message, self.tokenizer, self.images, self.chat)

    def text(self, reply: Sequence[int]) -> str:
        """What was said, special tokens spelled, without the token that ended it."""
        ended = bool(reply) and reply[-1] in self.stop
        return self.tokenizer.decode(reply[:-1] if ended else reply, skip_special=False)


def whole(prompt: Encoded, reply: Sequence[int], spans: Sequence[tuple[int, int]]) -> Encoded:
    """The row of an episode: its last prompt and reply.

    Args:
        prompt: of the last turn.
        reply: tokens of the last turn.
        spans: (first, stop) places of every reply, the last one's too: those tokens are trained on.
    """
    tokens = np.concatenate([prompt.tokens, np.asarray(reply, np.int32)])
    supervised = np.zeros(len(tokens), bool)
    for first, stop in spans:
        supervised[first:stop] = True
    return replace(prompt, tokens=tokens, supervised=supervised)
