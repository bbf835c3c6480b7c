"""Requests as arrays.

Shape letters: m prompts, t prompt tokens, r vision rows, n patches of a vision row, p numbers of a
patch, e stop tokens.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mmtp.data.encoded import MERGE, Visual, block_positions
from mmtp.generation.requests import Request
from mmtp.generation.sampling import seed_words

NO_TOKEN = -1  # fills up the stop tokens


class Prompts(NamedTuple):
    """What is read before the first token is drawn, as arrays, right-padded.

    Attributes:
        tokens: ids of the prompt, and of the completion so far.
        positions: M-RoPE.
        visual: 0 = text, k = visual token number k - 1 of the vision rows, row after row.
        length: of each prompt.
        num_done: tokens of the completion behind it.
        next_position: of the first token after the prompt.
        image: patches `[r, n, p]`, positions `[r, n, 2]`, segments `[r, n]`; None = no pictures.
    """

    tokens: Any
    positions: Any
    visual: Any
    length: Any
    num_done: Any
    next_position: Any
    image: Any


class Wishes(NamedTuple):
    """How to go on from a prompt; requests that share one may differ in it.

    Attributes:
        limit: most tokens of the completion.
        stops: NO_TOKEN where there are fewer.
        temperature, top_k, top_p: how to sample, see `Request`.
        seeds: as `sampling.seed_words`.
        ids: of the requests, modulo 2^32.
    """

    limit: Any
    stops: Any
    temperature: Any
    top_k: Any
    top_p: Any
    seeds: Any
    ids: Any


def pack(requests: Sequence[Request], rows: int, length: int, vision_length: int) -> Prompts:
    """Prompts of `rows` rows of `length` tokens.

    Pictures lie in vision rows of `vision_length` patches, first fit; their number is rounded up to
    a power of two, so that few shapes are compiled.
    """
    places, num_vision_rows = _place(requests, vision_length)
    made = Prompts(
        tokens=np.zeros((rows, length), np.int32),
        positions=np.zeros((rows, length, 3), np.int32),
        visual=np.zeros((rows, length), np.int32),
        length=np.ones(rows, np.int32),
        num_done=np.zeros(rows, np.int32),
        next_position=np.ones(rows, np.int32),
        image=_vision_rows(places, num_vision_rows, vision_length) if places else None,
    )
    for row, request in enumerate(requests):
        num, num_read = len(request.prompt.tokens), request.num_read
        made.tokens[row, :num] = request.prompt.tokens
        made.positions[row, :num] = request.positions
        if request.done is not None:
            made.tokens[row, num:num_read] = request.done.tokens
            following = request.next_position + np.arange(request.num_done)
            made.positions[row, num:num_read] = following[:, None]
        made.length[row] = num
        made.num_done[row] = request.num_done
        made.next_position[row] = request.next_position
    for row, visual, vision_row, start in places:
        first = 1 + (vision_row * vision_length + start) // MERGE**2
        stop = visual.start + visual.num_tokens
        made.visual[row, visual.start : stop] = first + np.arange(visual.num_tokens)
    return made


def wishes(requests: Sequence[Request], rows: int, num_stops: int) -> Wishes:
    """Of `rows` rows; those without a request get a limit of 0."""
    made = Wishes(
        limit=np.zeros(rows, np.int32),
        stops=np.full((rows, num_stops), NO_TOKEN, np.int32),
        temperature=np.zeros(rows, np.float32),
        top_k=np.zeros(rows, np.int32),
        top_p=np.ones(rows, np.float32),
        seeds=np.zeros((rows, 2), np.uint32),
        ids=np.zeros(rows, np.uint32),
    )
    for row, request in enumerate(requests):
        made.limit[row] = request.max_new_tokens
        made.stops[row, : len(request.stop)] = request.stop
        made.temperature[row] = request.temperature
        made.top_k[row] = request.top_k
        made.top_p[row] = request.top_p
        made.seeds[row] = seed_words(request.seed)
        made.ids[row] = request.id % 2**32
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
