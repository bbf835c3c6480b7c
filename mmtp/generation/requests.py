"""What is asked of the engine and what it answers."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Int32

from mmtp.data.encoded import Encoded
from mmtp.data.positions import rope_positions


class RequestError(ValueError):
    """A request that cannot be served: names the field, its value, the limit and the remedy."""


@dataclass(frozen=True)
class Request:
    """A prompt and how to go on from it.

    Attributes:
        id: with `seed`, what a completion's random numbers depend on; requests that share both
            share their randomness.
        prompt: tokens and pictures.
        positions: M-RoPE positions of the tokens, `[n, 3]`.
        next_position: of the first token of the completion, on all three axes.
        max_new_tokens: at most so many, a stop token included.
        temperature: 0 = greedy.
        top_k: 0 = all.
        top_p: 1 = all.
        stop: tokens that end the completion; they are its last token then.
        seed: any integer of 64 bits.
        done: an unfinished completion of this request to go on from, such as `Engine.cancel` gave;
            None = from the beginning. Its tokens count as the completion's: they are part of the
            completion that is told and of `max_new_tokens`, and what follows them is drawn with
            the random numbers that it would have had without the break.
    """

    id: int
    prompt: Encoded
    positions: Int32[np.ndarray, "n 3"]
    next_position: int
    max_new_tokens: int
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    stop: tuple[int, ...] = ()
    seed: int = 0
    done: "Completion | None" = None

    @property
    def num_done(self) -> int:
        """Tokens of the completion that exist already."""
        return 0 if self.done is None else len(self.done.tokens)

    @property
    def num_read(self) -> int:
        """Tokens that are read before the first one is drawn."""
        return len(self.prompt.tokens) + self.num_done


@dataclass(frozen=True)
class Completion:
    """What followed a prompt.

    Attributes:
        tokens: a stop token included.
        logprobs: of each token in the distribution it was sampled from (after temperature, top-k
            and top-p; 0 for greedy).
        raw_logprobs: of each token in the model's own distribution: temperature 1, no filters.
        top_tokens, top_logprobs: `[n, top]` the most probable tokens of the model's own
            distribution, where the engine was asked for them.
        drafts: `[steps, 3]` of each verification: the place in the completion of its first draft,
            how many tokens were drafted, how many of them accepted. Steps without drafts are not
            listed.
        versions: of the parameters that drew each token, see `Engine.set_params`.
        finish_reason: "stop", "length", "cancelled", "error" = there was nothing to draw the next
            token from, since its logits were not finite; or "" = not finished.
    """

    tokens: Int32[np.ndarray, " n"]
    logprobs: Float32[np.ndarray, " n"]
    raw_logprobs: Float32[np.ndarray, " n"]
    top_tokens: Int32[np.ndarray, "n top"]
    top_logprobs: Float32[np.ndarray, "n top"]
    drafts: Int32[np.ndarray, "steps 3"]
    versions: Int32[np.ndarray, " n"]
    finish_reason: str


def make_request(id: int, prompt: Encoded, max_new_tokens: int, **options: Any) -> Request:
    """A request whose positions follow GLM's rule; `options` are fields of `Request`."""
    positions, following = rope_positions(len(prompt.tokens), prompt.visuals)
    return Request(id, prompt, positions, following, max_new_tokens, **options)


def check(request: Request, max_length: int, vision_length: int, num_stops: int) -> None:
    """Raises RequestError for what would not fit or makes no sense."""
    num = len(request.prompt.tokens)
    if not num:
        raise RequestError("prompt is empty: give at least one token.")
    if request.max_new_tokens < 1:
        raise RequestError(f"max_new_tokens = {request.max_new_tokens} must be at least 1.")
    if num + request.max_new_tokens > max_length:
        raise RequestError(
            f"prompt of {num} tokens and max_new_tokens = {request.max_new_tokens} are more than "
            f"max_length = {max_length}: shorten the prompt or ask for fewer tokens."
        )
    if request.num_done >= request.max_new_tokens:
        raise RequestError(
            f"{request.num_done} tokens are done and max_new_tokens = {request.max_new_tokens}: "
            "nothing is left to draw."
        )
    largest = max((len(v.patches) for v in request.prompt.visuals), default=0)
    if largest > vision_length:
        raise RequestError(
            f"a picture of {largest} patches is larger than vision_length = {vision_length}: "
            "make the picture smaller."
        )
    if len(request.stop) > num_stops:
        raise RequestError(f"{len(request.stop)} stop tokens; at most {num_stops} are possible.")
    if not request.temperature >= 0 or not np.isfinite(request.temperature):
        raise RequestError(f"temperature = {request.temperature} must be 0 or more.")
    if not 0 < request.top_p <= 1:
        raise RequestError(f"top_p = {request.top_p} must be above 0 and at most 1.")
    if request.top_k < 0:
        raise RequestError(f"top_k = {request.top_k} must be 0 (all) or more.")


def check_placeholders(prompt: Encoded, image_token: int) -> None:
    """Raises RequestError unless every visual token has its placeholder and no other exists."""
    expected = np.zeros(len(prompt.tokens), np.bool_)
    for visual in prompt.visuals:
        expected[visual.start : visual.start + visual.num_tokens] = True
    found = prompt.tokens == image_token
    if not np.array_equal(found, expected):
        features = sum(v.num_tokens for v in prompt.visuals)
        raise RequestError(
            f"prompt {prompt.id!r} has {found.sum()} placeholders (token {image_token}) and its "
            f"{len(prompt.visuals)} pictures have {features} features, in other places or numbers: "
            "encode text and pictures together."
        )


def digest(request: Request) -> bytes:
    """A hash of all that is read before the first token is drawn: equal ones share a prefill."""
    prompt = request.prompt
    done = prompt.tokens[:0] if request.done is None else request.done.tokens
    parts = [prompt.tokens, done, request.positions, np.asarray(request.next_position)]
    for visual in prompt.visuals:
        parts += [np.asarray([visual.start, *visual.grid]), visual.patches]
    found = hashlib.blake2b(digest_size=16)
    for part in parts:
        found.update(repr((part.shape, part.dtype.str)).encode())
        found.update(np.ascontiguousarray(part).data)
    return found.digest()
