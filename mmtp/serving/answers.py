"""Completions as OpenAI's JSON, whole or piece by piece."""

import math
from dataclasses import dataclass, field
from typing import Any

from mmtp.data.tokenizer import StreamDecoder, Tokenizer
from mmtp.generate import Completion


@dataclass
class Writer:
    """Turns a growing completion into pieces of text.

    Attributes:
        tokenizer: of the model.
        end_tokens: ids that end a completion and are not part of its text.
        stops: texts that end it; neither they nor what follows is told.
        top: alternatives told for each token; None = no log probabilities.
        finish_reason: "stop" or "length" once there is one.
        num_tokens: of the completion so far.
    """

    tokenizer: Tokenizer
    end_tokens: tuple[int, ...]
    stops: tuple[str, ...] = ()
    top: int | None = None
    finish_reason: str = ""
    num_tokens: int = 0
    _held: str = ""
    _decoder: StreamDecoder = field(init=False)

    def __post_init__(self) -> None:
        self._decoder = StreamDecoder(self.tokenizer)

    def push(self, completion: Completion) -> tuple[str, list[dict[str, Any]]]:
        """New text that no stop can take back, and the new tokens with log probabilities."""
        text, content = "", []
        for index in range(self.num_tokens, len(completion.tokens)):
            token = int(completion.tokens[index])
            self.num_tokens += 1
            if token in self.end_tokens:
                break
            if self.top is not None:
                content.append(self._entry(completion, index))
            text += self._cut(self._decoder.push(token))
            if self.finish_reason:
                return text, content
        if completion.finish_reason:
            text += self._cut(self._decoder.finish())
            if not self.finish_reason:
                self.finish_reason = completion.finish_reason
                text, self._held = text + self._held, ""
        return text, content

    def _cut(self, piece: str) -> str:
        """What can be told of the text so far; sets `finish_reason` where a stop is complete."""
        held = self._held + piece
        places = [held.find(stop) for stop in self.stops]
        found = [place for place in places if place >= 0]
        if found:
            self.finish_reason, self._held = "stop", ""
            return held[: min(found)]
        keep = max((_overlap(held, stop) for stop in self.stops), default=0)
        self._held = held[len(held) - keep :]
        return held[: len(held) - keep]

    def _entry(self, completion: Completion, index: int) -> dict[str, Any]:
        entry = self._token(completion.tokens[index], completion.raw_logprobs[index])
        tops = zip(completion.top_tokens[index], completion.top_logprobs[index], strict=True)
        return entry | {"top_logprobs": [self._token(*pair) for pair in list(tops)[: self.top]]}

    def _token(self, token: Any, logprob: Any) -> dict[str, Any]:
        # Vocabularies are padded: an id may have no text.
        known = int(token) < len(self.tokenizer.pieces)
        piece = self.tokenizer.pieces[int(token)] if known else b""
        # JSON has no infinity.
        value = float(logprob) if math.isfinite(logprob) else -9999.0
        return {"token": piece.decode("utf-8", "replace"), "logprob": value, "bytes": list(piece)}


def _overlap(text: str, stop: str) -> int:
    """Characters at the end of `text` with which `stop` begins."""
    sizes = range(min(len(text), len(stop) - 1), 0, -1)
    return next((n for n in sizes if text.endswith(stop[:n])), 0)


def whole(base: dict[str, Any], choices: list[dict[str, Any]], usage: dict[str, int]) -> dict:
    """The answer to a call that does not stream."""
    return base | {"object": "chat.completion", "choices": choices, "usage": usage}


def choice(index: int, writer: Writer, text: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    """One completion of `whole`."""
    return {
        "index": index,
        "message": {"role": "assistant", "content": text},
        "logprobs": None if writer.top is None else {"content": content},
        "finish_reason": writer.finish_reason,
    }


def piece(
    base: dict[str, Any],
    index: int,
    delta: dict[str, Any],
    writer: Writer,
    content: list[dict[str, Any]],
    reason: str | None = None,
) -> dict[str, Any]:
    """One event of a stream."""
    part = {
        "index": index,
        "delta": delta,
        "logprobs": None if writer.top is None or not content else {"content": content},
        "finish_reason": reason,
    }
    return base | {"object": "chat.completion.chunk", "choices": [part]}


def usage(prompt: int, completion: int) -> dict[str, int]:
    """Counts of tokens; the one that ends a completion is counted."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
