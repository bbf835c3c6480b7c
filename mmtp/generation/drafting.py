"""Drafts of the MTP layers, with caches that hold what training's heads would have seen.

Depth k at slot i is fed the hidden state of depth k - 1 at slot i and token i + k, and attends to
depth k's own entries at slots up to i (arXiv:2412.19437, eq. 21-23); so every depth has a cache of
its own, also where all share one layer's parameters. An entry is right once token i + k is known.
Before each proposal the newest entries are recomputed from the main model's hidden states and the
accepted tokens: that repairs what rejected drafts left, for any number of layers.

Shape letters: b rows, k drafts, w window, t prompt tokens, j tokens of a step, d width,
v vocabulary.
"""

import dataclasses
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int32

from mmtp.generation import sampling
from mmtp.generation.packing import Prompts
from mmtp.generation.settings import EngineSettings
from mmtp.generation.state import Drafting, State, take_slots
from mmtp.models import decoder, mtp
from mmtp.models.mtp_settings import MTPSettings, conventions
from mmtp.models.vlm import VLM


class Proposal(NamedTuple):
    """Drafted tokens, what they were drawn from, and the repaired caches."""

    tokens: Int32[Array, "b k"]
    logprobs: Float[Array, "b k v"]
    state: Drafting | None


def serving(model: VLM, settings: EngineSettings) -> MTPSettings:
    """The MTP layers' settings with the arm that is served."""
    if not settings.visual_input:
        return model.mtp
    return dataclasses.replace(model.mtp, visual_input=settings.visual_input)


def begin(
    model: VLM,
    settings: EngineSettings,
    params: Any,
    prompts: Prompts,
    hidden: Float[Array, "b t d"],
    x: Float[Array, "b t d"],
) -> Drafting | None:
    """Caches of the prompts, from the main model's hidden states and its input.

    Right-padding and the newest entries, whose tokens are not known yet, are written over before
    anything sees them.
    """
    if not settings.num_draft:
        return None
    (rows, length), window = prompts.tokens.shape, settings.window
    slots = jnp.broadcast_to(jnp.arange(length, dtype=jnp.int32)[None], (rows, length))
    h = first = mtp.first_hidden(params["decoder"], model.mtp, model.decoder, hidden)
    caches = []
    for depth in range(1, settings.num_draft + 1):
        tokens = _shift(prompts.tokens, depth)
        fed = _Fed(
            tokens=tokens,
            # By id, as in `_fed_window`: part of a completion may be read too.
            visual=tokens == model.image_token,
            embeddings=_shift(x, depth),
            slots=slots,
            positions=prompts.positions,
            following=_shift(prompts.positions, depth),
        )
        cache = mtp.init_cache(model.decoder, rows, window + length)
        _, h, cache = _depth(model, settings, params, depth, h, fed, cache)
        caches.append(cache)
    back = jnp.arange(window)[None] - window
    tail, newest = (
        prompts.length[:, None] + back,
        (prompts.length + prompts.num_done)[:, None] + back,
    )
    return Drafting(tuple(caches), take_slots(first, newest), take_slots(x, tail))


def propose(model: VLM, settings: EngineSettings, params: Any, state: State) -> Proposal:
    """Drafts the tokens after each row's newest one, after repairing the caches."""
    rows, num_draft = state.record.place.shape[0], settings.num_draft
    drafting, size = state.drafting, model.decoder.vocab_size
    if drafting is None:
        return Proposal(jnp.zeros((rows, 0), jnp.int32), jnp.zeros((rows, 0, size)), None)
    place, tokens, row = state.record.place, state.record.tokens, jnp.arange(rows)
    count = place + 1 - state.record.prompt
    slots = place[:, None] - settings.window + jnp.arange(settings.window)[None]
    h, caches, drafts, logprobs = drafting.hidden, [], [], []
    for depth in range(1, num_draft + 1):
        fed = _fed_window(model, params, state, drafting, tokens, slots, depth)
        normed, h, cache = _depth(
            model, settings, params, depth, h, fed, drafting.caches[depth - 1]
        )
        logits = decoder.logits(params["decoder"], model.decoder, normed[:, -1:])[:, 0]
        q = _proposal(settings, logits, state)
        draft = _draw(state, q, count + depth - 1)
        tokens = tokens.at[row, place + depth].set(draft)
        caches.append(cache)
        drafts.append(draft)
        logprobs.append(q)
    repaired = drafting._replace(caches=tuple(caches))
    return Proposal(jnp.stack(drafts, axis=1), jnp.stack(logprobs, axis=1), repaired)


def follow(
    model: VLM,
    params: Any,
    drafting: Drafting | None,
    hidden: Float[Array, "b j d"],
    moved: Int32[Array, " b"],
) -> Drafting | None:
    """The window moved on over the tokens that were taken over.

    Args:
        model: the model.
        params: its parameters.
        drafting: of `Proposal.state`.
        hidden: of the main model at the step's tokens, before its final norm.
        moved: how many slots `place` went on.
    """
    if drafting is None:
        return None
    new = mtp.first_hidden(params["decoder"], model.mtp, model.decoder, hidden)
    both = jnp.concatenate([drafting.hidden, new], axis=1)
    kept = moved[:, None] + jnp.arange(drafting.hidden.shape[1])[None]
    return drafting._replace(hidden=take_slots(both, kept))


class _Fed(NamedTuple):
    """What a depth is fed at some slots: token, visual or not, embedding and position of the token
    `depth` further on, and the slots' own positions.
    """

    tokens: Array
    visual: Array
    embeddings: Array
    slots: Array
    positions: Array
    following: Array


def _fed_window(
    model: VLM,
    params: Any,
    state: State,
    drafting: Drafting,
    tokens: Array,
    slots: Array,
    depth: int,
) -> _Fed:
    ahead = slots + depth
    prompt, window = state.record.prompt[:, None], drafting.tail.shape[1]
    said = take_slots(tokens, ahead)
    # Of the prompt, only the tail can be fed from within the window.
    in_tail = jnp.clip(ahead - (prompt - window), 0, window - 1)
    generated = decoder.embed(params["decoder"], model.decoder, said)
    return _Fed(
        tokens=said,
        # By id, as training tells them: a placeholder that was generated is one to the layers.
        visual=said == model.image_token,
        embeddings=jnp.where(
            (ahead < prompt)[..., None], take_slots(drafting.tail, in_tail), generated
        ),
        slots=slots,
        positions=take_slots(state.positions, slots),
        following=take_slots(state.positions, ahead),
    )


def _depth(
    model: VLM,
    settings: EngineSettings,
    params: Any,
    depth: int,
    h: Array,
    fed: _Fed,
    cache: decoder.Cache,
) -> tuple[Array, Array, decoder.Cache]:
    """One depth at some slots: what the output matrix takes, h of the next depth, cache."""
    own, chosen = params["mtp"], serving(model, settings)
    known = own, params["decoder"], chosen, model.decoder
    e, usable = mtp.input_embeddings(*known, fed.tokens, fed.visual, fed.embeddings, fed.slots == 0)
    following = conventions(chosen).position == "next"
    inputs = decoder.make_inputs(
        model.decoder,
        fed.following if following else fed.positions,
        jnp.ones_like(fed.tokens),
        fed.slots + settings.window,
        usable & (fed.slots >= 0),
    )
    number = min(depth, chosen.num_layers)  # beyond the trained depths, the last one again
    hidden, kept = mtp.layer(own, chosen, model.decoder, number, h, e, inputs, cache)
    assert kept is not None
    return *mtp.norm(*known, number, hidden), kept


def _proposal(settings: EngineSettings, logits: Float[Array, "b v"], state: State) -> Array:
    if settings.draft == "sampled":
        return sampling.distribution(logits, state.options)
    return sampling.point_mass(jnp.argmax(logits, axis=-1), logits.shape[-1])


def _draw(state: State, logprobs: Array, index: Array) -> Array:
    return sampling.draw(sampling.token_keys(state.keys, index, sampling.DRAFT), logprobs)


def _shift(x: Array, by: int) -> Array:
    """x [b, t, …] with what comes `by` tokens later in each place; zeros at the end."""
    pads = [(0, 0), (0, by)] + [(0, 0)] * (x.ndim - 2)
    return jnp.pad(x[:, by:], pads)[:, : x.shape[1]]
