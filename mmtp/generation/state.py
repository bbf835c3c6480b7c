"""What the device holds of the requests in progress, and how a verdict changes it.

A row holds one request. Slot i holds the row's token i, prompt and completion; the cache holds the
keys of all slots before `place`, whose token is the newest and not yet in it.

Shape letters: b rows, s slots, d width, w window, j tokens of a step, v vocabulary, e stop tokens.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32, Key

from mmtp.generation.requests import Prompts
from mmtp.generation.sampling import Options
from mmtp.models.decoder import Cache


@dataclass(frozen=True)
class EngineSettings:
    """Sizes that are compiled in.

    Attributes:
        rows: requests in progress at a time.
        max_length: tokens of a prompt and its completion together.
        buckets: lengths that prompts are padded to; longer ones are padded to `max_length`.
        vision_length: patches of a vision row, a multiple of four; also of the largest picture.
        num_stops: stop tokens that a request may have.
        num_draft: tokens drafted per step by the MTP layers; 0 = plain decoding. Beyond the
            number of trained depths the last one's parameters are used again.
        draft: "greedy", or "sampled" with the request's temperature and filters.
        visual_input: what the MTP layers are fed at visual tokens, see `MTPSettings`; "" = as in
            training.
        top_logprobs: how many of the most probable tokens to report with every token.
    """

    rows: int = 8
    max_length: int = 2048
    buckets: tuple[int, ...] = (128, 512)
    vision_length: int = 4096
    num_stops: int = 8
    num_draft: int = 0
    draft: str = "greedy"
    visual_input: str = ""
    top_logprobs: int = 0

    @property
    def slots(self) -> int:
        """Slots of a row: the last step may draft past the longest completion."""
        return self.max_length + self.num_draft + 1

    @property
    def window(self) -> int:
        """Newest slots that the MTP layers go over anew before drafting.

        Depth k's entry at slot i depends on token i + k. A step brings up to num_draft + 1 tokens,
        so its first stale entry is at most num_draft + k slots back, and k <= num_draft.
        """
        return 2 * self.num_draft


class Record(NamedTuple):
    """What the host reads.

    Attributes:
        tokens: by slot; from `place` on they mean nothing.
        logprobs, raw_logprobs: of the completion's tokens, see `requests.Completion`.
        top_tokens, top_logprobs: the same.
        drafted, accepted: by the slot of a step's first draft; 0 = no step began there.
        prompt: tokens of the prompt.
        place: slot of the newest token.
        active: still going on.
        stopped: ended by a stop token.
    """

    tokens: Int32[Array, "b s"]
    logprobs: Float[Array, "b s"]
    raw_logprobs: Float[Array, "b s"]
    top_tokens: Int32[Array, "b s top"]
    top_logprobs: Float[Array, "b s top"]
    drafted: Int32[Array, "b s"]
    accepted: Int32[Array, "b s"]
    prompt: Int32[Array, " b"]
    place: Int32[Array, " b"]
    active: Bool[Array, " b"]
    stopped: Bool[Array, " b"]


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


class Emitted(NamedTuple):
    """Tokens of one step, of which the first `num` count, with their log probabilities."""

    tokens: Int32[Array, "b j"]
    num: Int32[Array, " b"]
    logprobs: Float[Array, "b j"]
    raw_logprobs: Float[Array, "b j"]
    top_tokens: Int32[Array, "b j top"]
    top_logprobs: Float[Array, "b j top"]


def new_record(prompts: Prompts, settings: EngineSettings) -> Record:
    """Of rows whose prompts are in place and nothing else."""
    rows, length = prompts.tokens.shape
    shape = (rows, settings.slots)
    ints, floats = jnp.zeros(shape, jnp.int32), jnp.zeros(shape, jnp.float32)
    top = (*shape, settings.top_logprobs)
    return Record(
        tokens=ints.at[:, :length].set(prompts.tokens),
        logprobs=floats,
        raw_logprobs=floats,
        top_tokens=jnp.zeros(top, jnp.int32),
        top_logprobs=jnp.zeros(top, jnp.float32),
        drafted=ints,
        accepted=ints,
        prompt=prompts.length,
        place=prompts.length - 1,
        active=prompts.limit > 0,
        stopped=jnp.zeros(rows, jnp.bool_),
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
    record: Record, emitted: Emitted, limit: Array, stops: Array
) -> tuple[Record, Int32[Array, " b"]]:
    """The record with a step's tokens, up to a stop token or the limit; inactive rows stay.

    Returns:
        the record, and by how many slots each row went on.
    """
    rows, num_tokens = emitted.tokens.shape
    offset = jnp.arange(num_tokens)[None]
    is_stop = jnp.any(emitted.tokens[..., None] == stops[:, None], axis=-1)
    is_stop &= offset < emitted.num[:, None]
    until_stop = jnp.where(jnp.any(is_stop, axis=1), jnp.argmax(is_stop, axis=1) + 1, num_tokens)
    left = limit - (record.place + 1 - record.prompt)
    num = jnp.minimum(jnp.minimum(emitted.num, until_stop), left)
    num = jnp.where(record.active, num, 0).astype(jnp.int32)
    stopped = record.active & (num == until_stop) & jnp.any(is_stop, axis=1)
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
        place=record.place + num,
        active=record.active & ~stopped & (num < left),
        stopped=record.stopped | stopped,
    ), num


def insert(state: State, part: State, rows: Int32[Array, " m"]) -> State:
    """The state with `part`'s rows at `rows`; a part whose row is out of range is left out."""

    def put(old: Array, new: Array) -> Array:
        return old.at[rows].set(new, mode="drop")

    def put_slots(old: Array, new: Array) -> Array:
        return old.at[:, rows, : new.shape[2]].set(new, mode="drop")

    def put_cache(old: Cache, new: Cache) -> Cache:
        length = new.usable.shape[1]
        usable = old.usable.at[rows, :length].set(new.usable, mode="drop")
        return Cache(put_slots(old.k, new.k), put_slots(old.v, new.v), usable)

    cache, drafting = put_cache(state.cache, part.cache), None
    if state.drafting is not None and part.drafting is not None:
        caches = tuple(map(put_cache, state.drafting.caches, part.drafting.caches))
        drafting = Drafting(caches, *map(put, state.drafting[1:], part.drafting[1:]))
    rest, new = (s._replace(cache=None, drafting=None) for s in (state, part))  # type: ignore
    return jax.tree.map(put, rest, new)._replace(cache=cache, drafting=drafting)


def take_slots(x: Array, slots: Int32[Array, "b j"]) -> Any:
    """x [b, s, …] at slots of each row; slots before the first are clipped."""
    index = jnp.maximum(slots, 0).reshape(*slots.shape, *(1,) * (x.ndim - 2))
    return jnp.take_along_axis(x, index, axis=1)
