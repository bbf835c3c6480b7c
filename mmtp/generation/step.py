"""One step of decoding: draft, verify in one pass of the target, take over.

Shape letters: b rows, j tokens of a step, d width.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int32

from mmtp.generation import drafting, outputs, speculative
from mmtp.generation.settings import EngineSettings
from mmtp.generation.state import Record, State, emit, take_slots
from mmtp.models import decoder
from mmtp.models.vlm import VLM


def step(
    model: VLM, settings: EngineSettings, params: Any, state: State, version: Int32[Array, ""]
) -> State:
    """Up to `num_draft` + 1 more tokens for every active row, marked with `version`."""
    record, num_draft = state.record, settings.num_draft
    count = record.place + 1 - record.prompt  # tokens of the completion so far
    # The last token of a completion is always the target's own: no draft is for beyond it.
    num_drafts = jnp.clip(state.limit - count - 1, 0, num_draft)
    drafts = drafting.propose(model, settings, params, state)
    slots = record.place[:, None] + jnp.arange(num_draft + 1)[None]
    tokens = jnp.concatenate([take_slots(record.tokens, slots[:, :1]), drafts.tokens], axis=1)
    hidden, cache = _continue(model, params, state, tokens, slots)
    logits = outputs.logits(model, params, hidden)
    target = outputs.target(logits, state.options)
    verdict = speculative.verify(
        target, drafts.logprobs, drafts.tokens, num_drafts, state.keys, count
    )
    place = jnp.arange(num_draft + 1)[None] < verdict.accepted[:, None]
    padded = jnp.pad(drafts.tokens, ((0, 0), (0, 1)))
    out = jnp.where(place, padded, verdict.token[:, None])
    emitted = outputs.emitted(settings, out, verdict.accepted + 1, logits, target)
    record = _log(record, num_drafts, verdict.accepted)
    record, moved = emit(record, emitted, state.limit, state.stops, version)
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
    rows: Bool[Array, " b"],
    version: Int32[Array, ""],
    max_steps: Int32[Array, ""],
    until_any: Bool[Array, ""],
) -> State:
    """Steps of some rows, until `max_steps`, or they are done, or with `until_any` one of them is.

    The others stay as they are: what a step writes into their caches is behind their newest token,
    and their own next step writes over it.
    """
    others = state.record.active & ~rows
    begun = _set_active(state, state.record.active & rows)
    before = jnp.sum(begun.record.active)

    def more(carry: tuple[State, Array]) -> Array:
        active = jnp.sum(carry[0].record.active)
        done = (active == 0) | (until_any & (active < before))
        return (carry[1] < max_steps) & ~done

    def body(carry: tuple[State, Array]) -> tuple[State, Array]:
        return step(model, settings, params, carry[0], version), carry[1] + 1

    ended = jax.lax.while_loop(more, body, (begun, jnp.int32(0)))[0]
    return _set_active(ended, ended.record.active | others)


def _set_active(state: State, active: Bool[Array, " b"]) -> State:
    return state._replace(record=state.record._replace(active=active))


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


def _log(record: Record, num_drafts: Array, accepted: Array) -> Record:
    """Notes the step at the slot of its first draft."""
    slot = jnp.where(record.active & (num_drafts > 0), record.place + 1, record.tokens.shape[1])
    row = jnp.arange(slot.shape[0])
    return record._replace(
        drafted=record.drafted.at[row, slot].set(num_drafts, mode="drop"),
        accepted=record.accepted.at[row, slot].set(accepted, mode="drop"),
    )
