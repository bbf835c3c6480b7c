"""What is asked of the engine, what it answers, and prompts as arrays.

Shape letters: m prompts, t prompt tokens, r vision rows, n patches of a vision row, p numbers of a
patch, e stop tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int32

from mmtp.data.encoded import MERGE, Encoded, Visual, block_positions
from mmtp.data.positions import rope_positions
from mmtp.generation.sampling import seed_words

NO_TOKEN = -1  # fills up the stop tokens


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
        finish_reason: "stop", "length", "cancelled", or "" = not finished.
    """

    tokens: Int32[np.ndarray, " n"]
    logprobs: Float32[np.ndarray, " n"]
    raw_logprobs: Float32[np.ndarray, " n"]
    top_tokens: Int32[np.ndarray, "n top"]
    top_logprobs: Float32[np.ndarray, "n top"]
    drafts: Int32[np.ndarray, "steps 3"]
    finish_reason: str


class Prompts(NamedTuple):
    """Prompts as arrays, right-padded.

    Attributes:
        tokens: ids.
        positions: M-RoPE.
        visual: 0 = text, k = visual token number k - 1 of the vision rows, row after row.
        length: of each prompt.
        next_position: of the first token after it.
        limit: most tokens of the completion.
        stops: NO_TOKEN where there are fewer.
        temperature, top_k, top_p: see `Request`.
        seeds: as `sampling.seed_words`.
        ids: of the requests, modulo 2^32.
        image: patches `[r, n, p]`, positions `[r, n, 2]`, segments `[r, n]`; None = no pictures.
    """

    tokens: Any
    positions: Any
    visual: Any
    length: Any
    next_position: Any
    limit: Any
    stops: Any
    temperature: Any
    top_k: Any
    top_p: Any
    seeds: Any
    ids: Any
    image: Any


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


def pack(
    requests: Sequence[Request], rows: int, length: int, vision_length: int, num_stops: int
) -> Prompts:
    """Prompts of `rows` rows of `length` tokens; rows without a request get a limit of 0.

    Pictures lie in vision rows of `vision_length` patches, first fit; their number is rounded up to
    a power of two, so that few shapes are compiled.
    """
    places, num_vision_rows = _place(requests, vision_length)
    made = Prompts(
        tokens=np.zeros((rows, length), np.int32),
        positions=np.zeros((rows, length, 3), np.int32),
        visual=np.zeros((rows, length), np.int32),
        length=np.ones(rows, np.int32),
        next_position=np.ones(rows, np.int32),
        limit=np.zeros(rows, np.int32),
        stops=np.full((rows, num_stops), NO_TOKEN, np.int32),
        temperature=np.zeros(rows, np.float32),
        top_k=np.zeros(rows, np.int32),
        top_p=np.ones(rows, np.float32),
        seeds=np.zeros((rows, 2), np.uint32),
        ids=np.zeros(rows, np.uint32),
        image=_vision_rows(places, num_vision_rows, vision_length) if places else None,
    )
    for row, request in enumerate(requests):
        num = len(request.prompt.tokens)
        made.tokens[row, :num] = request.prompt.tokens
        made.positions[row, :num] = request.positions
        made.length[row] = num
        made.next_position[row] = request.next_position
        made.limit[row] = request.max_new_tokens
        made.stops[row, : len(request.stop)] = request.stop
        made.temperature[row] = request.temperature
        made.top_k[row] = request.top_k
        made.top_p[row] = request.top_p
        made.seeds[row] = seed_words(request.seed)
        made.ids[row] = request.id % 2**32
    for row, visual, vision_row, start in places:
        first = 1 + (vision_row * vision_length + start) // MERGE**2
        stop = visual.start + visual.num_tokens
        made.visual[row, visual.start : stop] = first + np.arange(visual.num_tokens)
    return made


Places = list[tuple[int, Visual, int, int]]  # request, picture, vision row, first patch


def _place(requests: Sequence[Request], vision_length: int) -> tuple[Places, int]:
    """First fit; also the number of vision rows, a power of two."""
    used: list[int] = []
    places = []
    for row, request in enumerate(requests):
        for visual in request.prompt.visuals:
            size = len(visual.patches)
            free = (i for i, n in enumerate(used) if n + size <= vision_length)
            target = next(free, len(used))
            used += [0] * (target == len(used))
            places.append((row, visual, target, used[target]))
            used[target] += size
    return places, 1 << max(len(used) - 1, 0).bit_length()


def _vision_rows(places: Places, num_rows: int, length: int) -> dict[str, np.ndarray]:
    patch_dim = places[0][1].patches.shape[-1]
    image = {
        "patches": np.zeros((num_rows, length, patch_dim), np.uint8),
        "positions": np.zeros((num_rows, length, 2), np.int32),
        "segments": np.zeros((num_rows, length), np.int32),
    }
    for _, visual, row, start in places:
        stop = start + len(visual.patches)
        image["patches"][row, start:stop] = visual.patches
        image["positions"][row, start:stop] = block_positions(visual.grid)
        image["segments"][row, start:stop] = image["segments"][row].max() + 1
    return image
