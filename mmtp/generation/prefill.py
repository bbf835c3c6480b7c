"""Prompts are read once, and then shared: prefill into a pool, and from there into rows.

A group's samples have one prompt: its pictures are encoded and its keys computed once, and every
sample gets a copy of the keys and draws a first token of its own.

Shape letters: m prompts, p prompts of the pool, b rows, t prompt tokens, d width, v vocabulary.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int32

from mmtp.generation import drafting, outputs, sampling
from mmtp.generation.packing import Prompts, Wishes
from mmtp.generation.rows import put_caches, put_rows, take_rows
from mmtp.generation.settings import EngineSettings
from mmtp.generation.state import Prefixes, State, emit, new_state, slot_positions, take_slots
from mmtp.models import decoder, vlm
from mmtp.models.projector import VisionMemory
from mmtp.models.vlm import VLM


def prefill(
    model: VLM,
    settings: EngineSettings,
    params: Any,
    prefixes: Prefixes,
    prompts: Prompts,
    places: Int32[Array, " m"],
) -> Prefixes:
    """Reads prompts into places of the pool; one whose place is out of range goes nowhere."""
    return put_rows(prefixes, read(model, settings, params, prompts), places)


def read(model: VLM, settings: EngineSettings, params: Any, prompts: Prompts) -> Prefixes:
    """What prompts become, with caches as long as they are padded to."""
    num, length = prompts.tokens.shape
    x = _embed(model, params, prompts)
    inputs = decoder.make_inputs(
        model.decoder, prompts.positions, jnp.ones((num, length), jnp.int32)
    )
    cache = decoder.init_cache(model.decoder, num, length)
    hidden, cache = decoder.run(params["decoder"], model.decoder, x, inputs, cache)
    assert cache is not None
    place = prompts.length + prompts.num_done - 1
    return Prefixes(
        tokens=jnp.zeros((num, settings.slots), jnp.int32).at[:, :length].set(prompts.tokens),
        cache=cache,
        drafting=drafting.begin(model, settings, params, prompts, hidden, x),
        positions=slot_positions(prompts, settings.slots),
        length=prompts.length,
        place=place,
        logits=outputs.logits(model, params, take_slots(hidden, place[:, None]))[:, 0],
    )


def seat(
    settings: EngineSettings,
    state: State,
    prefixes: Prefixes,
    places: Int32[Array, " m"],
    wishes: Wishes,
    rows: Int32[Array, " m"],
    version: Int32[Array, ""],
) -> State:
    """Begins completions in rows of the state: each draws the token after what was read.

    Args:
        settings: of the engine.
        state: requests in progress.
        prefixes: the pool.
        places: in the pool of each request's prompt.
        wishes: of the requests.
        rows: where each goes; one out of range goes nowhere.
        version: of the parameters that read the prompts.
    """
    part = take_rows(prefixes, places)
    begun = new_state(part, wishes, settings)
    logits = part.logits[:, None]
    target = outputs.target(logits, begun.options)
    index = part.place + 1 - part.length
    keys = sampling.token_keys(begun.keys, index, sampling.SAMPLE)
    token = sampling.draw(keys, target[:, 0])[:, None]
    emitted = outputs.emitted(settings, token, jnp.ones_like(index), logits, target)
    record, _ = emit(begun.record, emitted, begun.limit, begun.stops, version)
    return put_rows(state, begun._replace(record=record), rows)


def refresh(
    state: State, prefixes: Prefixes, places: Int32[Array, " m"], rows: Int32[Array, " m"]
) -> State:
    """Rows in progress with the pool's keys instead of theirs; nothing is drawn.

    The pool has read all of a row but its newest token, which no cache holds yet.
    """
    part = take_rows(prefixes, places)
    cache, drafting = put_caches(state, part, rows)
    return state._replace(cache=cache, drafting=drafting)


def _embed(model: VLM, params: Any, prompts: Prompts) -> Float[Array, "m t d"]:
    """The decoder's input; all prompts are one group of `vlm.encode_images`."""
    features = None
    if prompts.image is not None:
        # Rows one after the other: nothing but their tokens is kept.
        one_by_one = dataclasses.replace(model, memory=VisionMemory(chunk_rows=1))
        image = {name: x[None] for name, x in prompts.image.items()}
        features = vlm.encode_images(one_by_one, params, image)
    return vlm.embed(model, params, prompts.tokens[None], prompts.visual[None], features)
