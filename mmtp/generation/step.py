"""Prefill, and one step of decoding: draft, verify in one pass of the target, take over.

Shape letters: m prompts, b rows, t prompt tokens, j tokens of a step, s slots, d width,
v vocabulary.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32

from mmtp.generation import drafting, sampling, speculative
from mmtp.generation.requests import Prompts
from mmtp.generation.sampling import Options
from mmtp.generation.state import (
    Emitted,
    EngineSettings,
    Record,
    State,
    emit,
    insert,
    new_record,
    slot_positions,
    take_slots,
)
from mmtp.models import decoder, vlm
from mmtp.models.projector import VisionMemory
from mmtp.models.vlm import VLM


def prefill(
    model: VLM,
    settings: EngineSettings,
    params: Any,
    state: State,
    prompts: Prompts,
    rows: Int32[Array, " m"],
) -> State:
    """Puts prompts into rows of the state and draws the first token of each completion.

    Args:
        model: the model.
        settings: of the engine.
        params: of the model.
        state: requests in progress.
        prompts: of `requests.pack`.
        rows: where each prompt goes; one out of range goes nowhere.
    """
    return insert(state, begin(model, settings, params, prompts), rows)


def begin(model: VLM, settings: EngineSettings, params: Any, prompts: Prompts) -> State:
    """A state of the prompts alone, each with its first token; caches as long as the prompts."""
    num, length = prompts.tokens.shape
    x = _embed(model, params, prompts)
    inputs = decoder.make_inputs(
        model.decoder, prompts.positions, jnp.ones((num, length), jnp.int32)
    )
    cache = decoder.init_cache(model.decoder, num, length)
    hidden, cache = decoder.run(params["decoder"], model.decoder, x, inputs, cache)
    assert cache is not None
    state = State(
        record=new_record(prompts, settings),
        cache=cache,
        drafting=drafting.begin(model, settings, params, prompts, hidden, x),
        positions=slot_positions(prompts, settings.slots),
        limit=prompts.limit,
        stops=prompts.stops,
        options=Options(prompts.temperature, prompts.top_k, prompts.top_p),
        keys=sampling.base_keys(prompts.seeds, prompts.ids),
    )
    last = take_slots(hidden, prompts.length[:, None] - 1)
    logits, target = _target(model, params, last, state.options)
    first = sampling.token_keys(state.keys, jnp.zeros(num, jnp.int32), sampling.SAMPLE)
    token = sampling.draw(first, target[:, 0])[:, None]
    emitted = _emitted(settings, token, jnp.ones(num, jnp.int32), logits, target)
    record, _ = emit(state.record, emitted, state.limit, state.stops)
    return state._replace(record=record)


def step(model: VLM, settings: EngineSettings, params: Any, state: State) -> State:
    """Up to `num_draft` + 1 more tokens for every active row."""
    record, num_draft = state.record, settings.num_draft
    count = record.place + 1 - record.prompt  # tokens of the completion so far
    # The last token of a completion is always the target's own: no draft is for beyond it.
    num_drafts = jnp.clip(state.limit - count - 1, 0, num_draft)
    drafts = drafting.propose(model, settings, params, state)
    slots = record.place[:, None] + jnp.arange(num_draft + 1)[None]
    tokens = jnp.concatenate([take_slots(record.tokens, slots[:, :1]), drafts.tokens], axis=1)
    hidden, cache = _continue(model, params, state, tokens, slots)
    logits, target = _target(model, params, hidden, state.options)
    verdict = speculative.verify(
        target, drafts.logprobs, drafts.tokens, num_drafts, state.keys, count
    )
    place = jnp.arange(num_draft + 1)[None] < verdict.accepted[:, None]
    padded = jnp.pad(drafts.tokens, ((0, 0), (0, 1)))
    out = jnp.where(place, padded, verdict.token[:, None])
    emitted = _emitted(settings, out, verdict.accepted + 1, logits, target)
    record = _log(record, num_drafts, verdict.accepted)
    record, moved = emit(record, emitted, state.limit, state.stops)
    return state._replace(
        record=record,
        cache=cache,
        drafting=drafting.follow(model, params, drafts.state, hidden, moved),
    )


def decode(
    model: VLM,
    settings: EngineSettings,
    params: Any,
    state: State,
    max_steps: Int32[Array, ""],
    until_any: Bool[Array, ""],
) -> State:
    """Steps until `max_steps`, or all rows are done, or with `until_any` one more row is."""
    before = jnp.sum(state.record.active)

    def more(carry: tuple[State, Array]) -> Array:
        active = jnp.sum(carry[0].record.active)
        done = (active == 0) | (until_any & (active < before))
        return (carry[1] < max_steps) & ~done

    def body(carry: tuple[State, Array]) -> tuple[State, Array]:
        return step(model, settings, params, carry[0]), carry[1] + 1

    return jax.lax.while_loop(more, body, (state, jnp.int32(0)))[0]


def _embed(model: VLM, params: Any, prompts: Prompts) -> Float[Array, "m t d"]:
    """The decoder's input; all prompts are one group of `vlm.encode_images`."""
    features = None
    if prompts.image is not None:
        # Rows one after the other: nothing but their tokens is kept.
        one_by_one = dataclasses.replace(model, memory=VisionMemory(chunk_rows=1))
        image = {name: x[None] for name, x in prompts.image.items()}
        features = vlm.encode_images(one_by_one, params, image)
    return vlm.embed(model, params, prompts.tokens[None], prompts.visual[None], features)


def _continue(
    model: VLM, params: Any, state: State, tokens: Array, slots: Array
) -> tuple[Array, decoder.Cache]:
    """The main model on tokens at slots after those in the cache: hidden states, cache."""
    positions = take_slots(state.positions, slots)
    inputs = decoder.make_inputs(
        model.decoder, positions, jnp.ones_like(tokens), slots.astype(jnp.int32)
    )
    x = decoder.embed(params["decoder"], model.decoder, tokens)
    hidden, cache = decoder.run(params["decoder"], model.decoder, x, inputs, state.cache)
    assert cache is not None
    return hidden, cache


def _target(
    model: VLM, params: Any, hidden: Float[Array, "b j d"], options: Options
) -> tuple[Float[Array, "b j v"], Float[Array, "b j v"]]:
    """Logits after each token, and log probabilities to sample from."""
    normed = decoder.final_norm(params["decoder"], model.decoder, hidden)
    logits = decoder.logits(params["decoder"], model.decoder, normed)
    rows, num, size = logits.shape
    repeated = jax.tree.map(lambda x: jnp.repeat(x, num), options)
    target = sampling.distribution(logits.reshape(rows * num, size), repeated)
    return logits, target.reshape(logits.shape)


def _emitted(
    settings: EngineSettings, tokens: Array, num: Array, logits: Array, target: Array
) -> Emitted:
    raw = jax.nn.log_softmax(logits, axis=-1)

    def pick(logprobs: Array) -> Array:
        return jnp.take_along_axis(logprobs, tokens[..., None], axis=-1)[..., 0]

    top_logprobs, top_tokens = jax.lax.top_k(raw, settings.top_logprobs)
    return Emitted(tokens, num, pick(target), pick(raw), top_tokens, top_logprobs)


def _log(record: Record, num_drafts: Array, accepted: Array) -> Record:
    """Notes the step at the slot of its first draft."""
    slot = jnp.where(record.active & (num_drafts > 0), record.place + 1, record.tokens.shape[1])
    row = jnp.arange(slot.shape[0])
    return record._replace(
        drafted=record.drafted.at[row, slot].set(num_drafts, mode="drop"),
        accepted=record.accepted.at[row, slot].set(accepted, mode="drop"),
    )
