"""Parameters that live in host memory and visit the devices: the reference, old policies, teachers.

    reference = keep(params)
    reference.prefetch()                       copying begins, and nobody waits
    …                                          the batch is built, the step before still runs
    logprobs = reference.use(score, batch)     waits for what is left of the copy, then releases

Report §2.4: reference parameters stay in CPU memory, are prefetched right before the reference's
forward pass and released right after it.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
from jax.sharding import Sharding

PINNED = "pinned_host"


@dataclass
class Copies:
    """What copying to the devices took, over all visits.

    Attributes:
        visits: how many there were.
        bytes: of one visit, on this process.
        seconds: from the start of each copy to its end.
        hidden: of these, before anything waited for it: until `use` was called, or the devices were
            done with what they had been given before.
    """

    visits: int = 0
    bytes: int = 0
    seconds: float = 0.0
    hidden: float = 0.0

    def figures(self, name: str) -> dict[str, float]:
        """For the log."""
        if not self.visits:
            return {}
        return {
            f"rl/{name}/copy_seconds": self.seconds / self.visits,
            f"rl/{name}/copy_gigabytes": self.bytes / 1e9,
            f"rl/{name}/copy_hidden_fraction": self.hidden / self.seconds if self.seconds else 1.0,
        }


@dataclass
class _Visit:
    """Parameters on their way."""

    params: Any
    began: float
    ended: float = 0.0
    done: threading.Event = field(default_factory=threading.Event)


class Resident:
    """Parameters in host memory; one visit at a time. Safe to use from several threads.

    Attributes:
        copies: what the visits took.
    """

    def __init__(self, host: Any, shardings: Any) -> None:
        self.copies = Copies(bytes=sum(x.nbytes for x in jax.tree.leaves(host)))
        self._host, self._shardings = host, shardings
        self._visit: _Visit | None = None
        self._lock = threading.Lock()

    def prefetch(self) -> None:
        """Starts copying, unless it is under way."""
        with self._lock:
            if self._visit is not None:
                return
            began = time.perf_counter()
            visit = _Visit(jax.device_put(self._host, self._shardings), began)
            self._visit = visit
        threading.Thread(target=_watch, args=(visit,), daemon=True).start()

    def use(self, function: Callable[..., Any], *args: Any, after: Any = ()) -> Any:
        """`function(params, *args)`, whose result waits for nothing; the device copy is released.

        Args:
            function: jitted.
            args: of it.
            after: arrays of the work that the devices were given before; while it runs, copying
                costs nothing.
        """
        self.prefetch()
        with self._lock:
            visit, self._visit = self._visit, None
        assert visit is not None
        asked = time.perf_counter()
        result = function(visit.params, *args)
        threading.Thread(target=self._settle, args=(visit, asked, after, result)).start()
        return result

    def _settle(self, visit: _Visit, asked: float, after: Any, result: Any) -> None:
        """Measures, and frees the copy once the result is there."""
        jax.block_until_ready(after)
        free = max(asked, time.perf_counter()) if jax.tree.leaves(after) else asked
        visit.done.wait()
        jax.block_until_ready(result)
        for array in jax.tree.leaves(visit.params):
            array.delete()
        with self._lock:
            self.copies.visits += 1
            self.copies.seconds += visit.ended - visit.began
            self.copies.hidden += max(0.0, min(visit.ended, free) - visit.began)


def keep(params: Any) -> Resident:
    """A copy of parameters in host memory: pinned where the backend has such, else pageable.

    Args:
        params: arrays on devices; their shardings are those of every visit.
    """
    shardings = jax.tree.map(lambda x: x.sharding, params)
    host = jax.tree.map(lambda x: jax.device_put(x, host_sharding(x.sharding)), params)
    return Resident(jax.block_until_ready(host), shardings)


def in_turn(
    turns: Sequence[tuple[Resident, Callable[..., Any]]], *args: Any, after: Any = ()
) -> Iterator[Any]:
    """What `Resident.use` gives for each, with at most two of them on the devices at a time.

    While one is used the next is copied; the one after that waits until the first has done its
    work. Yields results in order, which may still be computed.

    Args:
        turns: who is used, and for what; `prefetch` the first of them earlier, where there is time.
        args, after: as in `Resident.use`.
    """
    before: Any = ()
    for number, (resident, function) in enumerate(turns):
        result = resident.use(function, *args, after=after)
        jax.block_until_ready(before)
        before = result
        for following, _ in turns[number + 1 : number + 2]:
            following.prefetch()
        yield result


@dataclass(frozen=True)
class Visits:
    """Residents that say the same kind of thing of a batch, such as all teachers.

    Attributes:
        residents: in order.
        score: jitted, (parameters, batch) -> what one says.
        arrays: what all of them say -> arrays of the batch by name.
    """

    residents: Sequence[Resident]
    score: Callable[[Any, dict[str, Any]], Any]
    arrays: Callable[[list[Any]], dict[str, jax.Array]]


def visit(visits: Sequence[Visits], batch: dict[str, Any], after: Any = ()) -> dict[str, jax.Array]:
    """The arrays that all give a batch, `in_turn`."""
    turns = [(resident, some.score) for some in visits for resident in some.residents]
    said = in_turn(turns, batch, after=after)
    found: dict[str, jax.Array] = {}
    for some in visits:
        found |= some.arrays([next(said) for _ in some.residents])
    return found


def host_sharding(sharding: Sharding) -> Sharding:
    """The same split in host memory."""
    device = next(iter(sharding.device_set))
    kinds = {memory.kind for memory in device.addressable_memories()}
    kind = PINNED if PINNED in kinds else device.default_memory().kind
    return sharding.with_memory_kind(kind)


def _watch(visit: _Visit) -> None:
    with contextlib.suppress(jax.errors.JaxRuntimeError):  # who uses a copy that failed meets it
        jax.block_until_ready(visit.params)
    visit.ended = time.perf_counter()
    visit.done.set()
