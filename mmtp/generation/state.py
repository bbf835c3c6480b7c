"""What the device holds of the requests in progress, and how a verdict changes it.

A row holds one request. Slot i holds the row's token i, prompt and completion; the cache holds the
keys of all slots before `place`, whose token is the newest and not yet in it.

Shape letters: b rows, s slots, d width, w window, j tokens of a step, v vocabulary, e stop tokens.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32, Key

from mmtp.generation.packing import Prompts, Wishes
from mmtp.generation.sampling import Options, base_keys
from mmtp.generation.settings import EngineSettings
from mmtp.models.decoder import Cache


class Record(NamedTuple):
    """What the host reads.

    Attributes:
        tokens: by slot; from `place` on they mean nothing.
        logprobs, raw_logprobs: of the completion's tokens, see `requests.Completion`.
        top_tokens, top_logprobs: the same.
        drafted, accepted: by the slot of a step's first draft; 0 = no step began there.
        versions: of the parameters that drew each token.
        prompt: tokens of the prompt.
        place: slot of the newest token.
        active: still going on.
        stopped: ended by a stop token.
        failed: ended since the next token's logits were not finite.
    """

    tokens: Int32[Array, "b s"]
    logprobs: Float[Array, "b s"]
    raw_logprobs: Float[Array, "b s"]
    top_tokens: Int32[Array, "b s top"]
    top_logprobs: Float[Array, "b s top"]
    drafted: Int32[Array, "b s"]
    accepted: Int32[Array, "b s"]
    versions: Int32[Array, "b s"]
    prompt: Int32[Array, " b"]
    place: Int32[Array, " b"]
    active: Bool[Array, " b"]
    stopped: Bool[Array, " b"]
    failed: Bool[Array, " b"]


class Drafting(NamedTuple):
    """What the MTP layers need.

    Attributes:
        caches: of each draft; slot i is at `window` + i, so that windows may begin before slot 0.
        hidden: of the main model (before or after its final norm, by convention) at the window's
            slots, which end at `place` - 1.
        tail: embeddings of the prompt's last `window` tokens, pictures in place.
    """

    caches: tuple[Cache, ...]
    hidden: Float[Array, "b w d"]
    tail: Float[Array, "b w d"]


class State(NamedTuple):
    """Everything of the requests in progress.

    Attributes:
        record: what the host reads.
        cache: the main model's keys and values.
        drafting: None without drafts.
        positions: M-RoPE, of all slots.
        limit: most tokens of the completion.
        stops: NO_TOKEN where there are fewer.
        options: how to sample.
        keys: of random numbers.
    """

    record: Record
    cache: Cache
    drafting: Drafting | None
    positions: Int32[Array, "b s 3"]
    limit: Int32[Array, " b"]
    stops: Int32[Array, "b e"]
    options: Options
    keys: Key[Array, " b"]


class Prefixes(NamedTuple):
    """What was read and is drawn from: one row for each prompt.

    Attributes:
        tokens: of the prompt, and of the completion so far.
        cache: keys and values of all of them.
        drafting: None without drafts.
        positions: M-RoPE, of all slots.
        length: of the prompt.
        place: slot of the last token.
        logits: after it.
    """

    tokens: Int32[Array, "p s"]
    cache: Cache
    drafting: Drafting | None
    positions: Int32[Array, "p s 3"]
    length: Int32[Array, " p"]
    place: Int32[Array, " p"]
    logits: Float[Array, "p v"]


class Emitted(NamedTuple):
    """Tokens of one step, of which the first `num` count, with their log probabilities."""

    tokens: Int32[Array, "b j"]
    num: Int32[Array, " b"]
    logprobs: Float[Array, "b j"]
    raw_logprobs: Float[Array, "b j"]
    top_tokens: Int32[Array, "b j top"]
    top_logprobs: Float[Array, "b j top"]


def new_state(part: Prefixes, wishes: Wishes, settings: EngineSettings) -> State:
    """Of rows whose prompts are read and nothing is drawn for yet."""
    ints = jnp.zeros_like(part.tokens)
    floats = jnp.zeros(ints.shape, jnp.float32)
    top = (*ints.shape, settings.top_logprobs)
    none = jnp.zeros(ints.shape[0], jnp.bool_)
    record = Record(
        tokens=part.tokens,
        logprobs=floats,
        raw_logprobs=floats,
        top_tokens=jnp.zeros(top, jnp.int32),
        top_logprobs=jnp.zeros(top, jnp.float32),
        drafted=ints,
        accepted=ints,
        versions=ints,
        prompt=part.length,
        place=part.place,
        active=wishes.limit > 0,
        stopped=none,
        failed=none,
    )
    return State(
        record=record,
        cache=part.cache,
        drafting=part.drafting,
        positions=part.positions,
        limit=wishes.limit,
        stops=wishes.stops,
        options=Options(wishes.temperature, wishes.top_k, wishes.top_p),
        keys=base_keys(wishes.seeds, wishes.ids),
    )


def slot_positions(prompts: Prompts, slots: int) -> Int32[Array, "b s 3"]:
    """Positions of all slots: the prompt's, then one after the other from its next position."""
    rows, length = prompts.tokens.shape
    slot = jnp.arange(slots)[None]
    after = slot - prompts.length[:, None] + prompts.next_position[:, None]
    given = jnp.zeros((rows, slots, 3), jnp.int32).at[:, :length].set(prompts.positions)
    inside = (slot < prompts.length[:, None])[..., None]
    return jnp.where(inside, given, jnp.broadcast_to(after[..., None], given.shape))


def emit(
    record: Record, emitted: Emitted, limit: Array, stops: Array, version: Int32[Array, ""]
) -> tuple[Record, Int32[Array, " b"]]:
    """The record with a step's tokens, up to a stop token or the limit; inactive rows stay.

    A row ends before the first token that was drawn from no distribution: one whose logits were not
    finite has no finite log probability.

    Returns:
        the record, and by how many slots each row went on.
    """
    rows, num_tokens = emitted.tokens.shape
    offset = jnp.arange(num_tokens)[None]
    is_stop = jnp.any(emitted.tokens[..., None] == stops[:, None], axis=-1)
    broken = ~jnp.isfinite(emitted.logprobs + emitted.raw_logprobs)
    until_stop, until_broken = _first(is_stop) + 1, _first(broken)
    left = limit - (record.place + 1 - record.prompt)
    num = jnp.minimum(jnp.minimum(emitted.num, until_stop), jnp.minimum(left, until_broken))
    num = jnp.where(record.active, num, 0).astype(jnp.int32)
    stopped = record.active & (num == until_stop)
    failed = record.active & ~stopped & (num < left) & (until_broken < emitted.num)
    # A slot behind the last one is dropped by the scatter.
    slot = jnp.where(
        offset < num[:, None], record.place[:, None] + 1 + offset, record.tokens.shape[1]
    )
    row = jnp.arange(rows)[:, None]

    def put(old: Array, new: Array) -> Array:
        return old.at[row, slot].set(new.astype(old.dtype), mode="drop")

    return record._replace(
        tokens=put(record.tokens, emitted.tokens),
        logprobs=put(record.logprobs, emitted.logprobs),
        raw_logprobs=put(record.raw_logprobs, emitted.raw_logprobs),
        top_tokens=put(record.top_tokens, emitted.top_tokens),
        top_logprobs=put(record.top_logprobs, emitted.top_logprobs),
        versions=put(record.versions, jnp.broadcast_to(version, slot.shape)),
        place=record.place + num,
        active=record.active & ~stopped & ~failed & (num < left),
        stopped=record.stopped | stopped,
        failed=record.failed | failed,
    ), num


def _first(mask: Bool[Array, "b j"]) -> Int32[Array, " b"]:
    """Of each row the first place that is true; j + 1 where none is."""
    num = mask.shape[1]
    return jnp.where(jnp.any(mask, axis=1), jnp.argmax(mask, axis=1), num + 1).astype(jnp.int32)


def take_slots(x: Array, slots: Int32[Array, "b j"]) -> Any:
    """x [b, s, …] at slots of each row; slots before the first are clipped."""
    index = jnp.maximum(slots, 0).reshape(*slots.shape, *(1,) * (x.ndim - 2))
    return jnp.take_along_axis(x, index, axis=1)
