"""Rows of a state or a pool, taken and put.

Arrays have their rows first, but keys and values of caches have layers before them.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int32

from mmtp.generation.state import Drafting, Prefixes, State
from mmtp.models.decoder import Cache


def take_rows(prefixes: Prefixes, rows: Int32[Array, " m"]) -> Prefixes:
    """The pool's prompts at `rows`, which may repeat."""

    def take(x: Array) -> Array:
        return jnp.take(x, rows, axis=0)

    def take_cache(cache: Cache) -> Cache:
        k, v = (jnp.take(x, rows, axis=1) for x in (cache.k, cache.v))
        return Cache(k, v, take(cache.usable))

    drafting = prefixes.drafting
    if drafting is not None:
        caches = tuple(map(take_cache, drafting.caches))
        drafting = Drafting(caches, *map(take, drafting[1:]))
    rest = jax.tree.map(take, _without_caches(prefixes))
    return rest._replace(cache=take_cache(prefixes.cache), drafting=drafting)


def put_rows(into: Any, part: Any, rows: Int32[Array, " m"]) -> Any:
    """A State or Prefixes with those of `part` at `rows`; one that is out of range is left out."""

    def put(old: Array, new: Array) -> Array:
        return old.at[rows].set(new, mode="drop")

    cache, drafting = put_caches(into, part, rows)
    rest = jax.tree.map(put, _without_caches(into), _without_caches(part))
    return rest._replace(cache=cache, drafting=drafting)


def put_caches(
    into: State | Prefixes, part: State | Prefixes, rows: Int32[Array, " m"]
) -> tuple[Cache, Drafting | None]:
    """What `put_rows` makes of the caches, which may be shorter in `part`.

    Zeros follow: what is not seen has no weight, but nothing times a number that is not finite is
    not finite either.
    """

    def put(old: Array, new: Array) -> Array:
        return old.at[rows].set(new, mode="drop")

    def put_slots(old: Array, new: Array) -> Array:
        behind = [(0, 0), (0, 0), (0, old.shape[2] - new.shape[2]), (0, 0), (0, 0)]
        return old.at[:, rows].set(jnp.pad(new, behind), mode="drop")

    def put_cache(old: Cache, new: Cache) -> Cache:
        behind = [(0, 0), (0, old.usable.shape[1] - new.usable.shape[1])]
        usable = put(old.usable, jnp.pad(new.usable, behind))
        return Cache(put_slots(old.k, new.k), put_slots(old.v, new.v), usable)

    drafting = None
    if into.drafting is not None and part.drafting is not None:
        caches = tuple(map(put_cache, into.drafting.caches, part.drafting.caches))
        drafting = Drafting(caches, *map(put, into.drafting[1:], part.drafting[1:]))
    return put_cache(into.cache, part.cache), drafting


def _without_caches(x: Any) -> Any:
    return x._replace(cache=None, drafting=None)
