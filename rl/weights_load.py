"""Loading a version of the weights onto whatever devices: every byte is checked on the way."""

import dataclasses
import math
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding

from cogvit_jax import tree
from rl.weights_manifest import (
    Leaf,
    Manifest,
    ShardEntry,
    WeightsCorrupt,
    complete_versions,
    read_version,
)
from rl.weights_store import Store, WeightsGone

Box = tuple[tuple[int, int], ...]  # (start, stop) per dim


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A version on the devices.

    Attributes:
        version: of the policy.
        params: nested dicts of arrays.
        num_bytes: read from the store, checksums verified.
        read_seconds: reading, verifying and putting boxes together on the host.
        place_seconds: to the devices.
    """

    version: int
    params: Any
    num_bytes: int
    read_seconds: float
    place_seconds: float


class Subscriber:
    """Reads versions from a store; what was loaded before stays valid whatever happens.

    Example:
        subscriber = Subscriber(store)
        loaded = subscriber.load(subscriber.wait(0), shardings)
    """

    def __init__(self, store: Store):
        self.store = store
        self.known: frozenset[int] = frozenset()
        self.closed = threading.Event()

    def latest(self) -> int | None:
        """The newest version that is complete; a manifest that cannot be read is passed over."""
        found = complete_versions(self.store, self.known)
        self.known = frozenset(found)
        return found[-1] if found else None

    def wait(self, version: int, timeout_s: float = math.inf) -> int:
        """The newest version, as soon as it is `version` or above.

        Raises:
            TimeoutError: there is none within the limit, or `close` was called.
        """
        return wait_for(self.latest, version, timeout_s, self.closed)

    def load(self, version: int, shardings: Any = None, *, original_dtype: bool = False) -> Loaded:
        """A version, placed as this process's devices need it; only those chunks are read.

        Args:
            version: to load.
            shardings: a tree like the parameters, one sharding for all, or None = numpy arrays.
            original_dtype: cast to the type the trainer has, where it travelled in another.

        Raises:
            WeightsGone: the version is not there, or was deleted meanwhile.
            WeightsCorrupt: a chunk is missing, cut off or has another checksum; names it.
        """
        manifest = read_version(self.store, version)
        if manifest is None:
            raise WeightsGone(f"version {version} is not complete in the store")
        reader = Reader(self.store, manifest)
        placed, leaves = {}, manifest.leaves
        place_s = 0.0
        began = time.perf_counter()
        for leaf, sharding in zip(leaves, _each(shardings, leaves), strict=True):
            dtype = jnp.dtype(leaf.original if original_dtype else leaf.dtype)
            placed[leaf.name], seconds = _place(reader, leaf, sharding, dtype)
            place_s += seconds
        waited = time.perf_counter()
        jax.block_until_ready(list(placed.values()))
        ended = time.perf_counter()
        place_s += ended - waited
        params = tree.unflatten(placed)
        return Loaded(version, params, reader.num_bytes, ended - began - place_s, place_s)

    def close(self) -> None:
        """Ends whoever waits."""
        self.closed.set()


@dataclasses.dataclass
class Reader:
    """Boxes of leaves of one version; counts bytes."""

    store: Store
    manifest: Manifest
    num_bytes: int = 0

    def box(self, leaf: Leaf, box: Box) -> np.ndarray:
        """A box, from all shards that overlap it; a view of the store's memory where it is one run
        of one shard.
        """
        dtype, shape = jnp.dtype(leaf.dtype), tuple(b - a for a, b in box)
        pieces = []
        for number, shard in enumerate(leaf.shards):
            common = tuple(
                (max(a, c), min(b, d))
                for (a, b), c, d in zip(box, shard.start, shard.stop, strict=True)
            )
            if all(a < b for a, b in common):
                pieces.append((common, self._piece(leaf, number, shard, common)))
        covered = sum(math.prod(b - a for a, b in common) for common, _ in pieces)
        if covered != math.prod(shape):
            raise WeightsCorrupt(
                f"version {self.manifest.version}, {leaf.name}: shards cover {covered} of the "
                f"{math.prod(shape)} numbers of {box}"
            )
        if len(pieces) == 1:
            return pieces[0][1]
        whole = np.empty(shape, dtype)
        for common, values in pieces:
            at = tuple(slice(a - c, b - c) for (a, b), (c, _) in zip(common, box, strict=True))
            whole[at] = values
        return whole

    def _piece(self, leaf: Leaf, number: int, shard: ShardEntry, common: Box) -> np.ndarray:
        """Part of a shard: its rows from the first to the last, and what is wanted of each."""
        dtype = jnp.dtype(leaf.dtype)
        shape = tuple(b - a for a, b in zip(shard.start, shard.stop, strict=True))
        within = tuple((a - c, b - c) for (a, b), c in zip(common, shard.start, strict=True))
        first, last = within[0] if within else (0, 1)
        row = math.prod(shape[1:]) * dtype.itemsize
        flat = self._bytes(
            leaf, number, shard, first * row, last * row, math.prod(shape) * dtype.itemsize
        )
        rows = np.frombuffer(flat, dtype).reshape((last - first, *shape[1:]) if shape else ())
        return rows[(slice(None), *(slice(a, b) for a, b in within[1:]))] if shape else rows

    def _bytes(
        self, leaf: Leaf, number: int, shard: ShardEntry, start: int, stop: int, size: int
    ) -> Any:
        """Bytes of a shard, whose chunks are read whole and checked."""
        step = self.manifest.chunk_bytes
        chunks = range(start // step, -(-stop // step))
        begin, end = chunks.start * step, min(chunks.stop * step, size)
        what = f"version {self.manifest.version}, {leaf.name}, shard {number}"
        found = memoryview(
            self.store.read(self.manifest.version, shard.part, shard.offset + begin, end - begin)
        ).cast("B")
        if len(shard.checksums) != -(-size // step):
            raise WeightsCorrupt(f"{what}: {len(shard.checksums)} checksums of {-(-size // step)}")
        for chunk in chunks:
            piece = found[chunk * step - begin : min((chunk + 1) * step, size) - begin]
            wanted = min((chunk + 1) * step, size) - chunk * step
            if len(piece) != wanted:
                raise WeightsCorrupt(f"{what}, chunk {chunk}: {len(piece)} of {wanted} bytes")
            if zlib.crc32(piece) != shard.checksums[chunk]:
                raise WeightsCorrupt(f"{what}, chunk {chunk}: another checksum than was published")
        self.num_bytes += len(found)
        return found[start - begin : stop - begin]


def _each(shardings: Any, leaves: Sequence[Leaf]) -> list[Sharding | None]:
    """A sharding per leaf.

    Raises:
        ValueError: the tree has other leaves.
    """
    if shardings is None or isinstance(shardings, Sharding):
        return [shardings] * len(leaves)
    found = dict(tree.named_leaves(shardings))
    names = [leaf.name for leaf in leaves]
    if sorted(found) != sorted(names):
        odd = sorted(set(found) ^ set(names))
        raise ValueError(f"shardings and published weights differ in {odd[:5]}")
    return [found[name] for name in names]


def _place(reader: Reader, leaf: Leaf, sharding: Sharding | None, dtype: Any) -> tuple[Any, float]:
    """The leaf on its devices, and the seconds that took without reading."""
    if sharding is None:
        return np.array(reader.box(leaf, tuple((0, n) for n in leaf.shape)), dtype), 0.0
    boxes: dict[Box, list[Any]] = {}
    for device, index in sharding.addressable_devices_indices_map(leaf.shape).items():
        slices = index or ()
        box = tuple(s.indices(n)[:2] for s, n in zip(slices, leaf.shape, strict=True))
        boxes.setdefault(box, []).append(device)
    arrays, seconds = [], 0.0
    for box, devices in boxes.items():
        values = reader.box(leaf, box)
        began = time.perf_counter()
        values = values.astype(dtype, copy=False)
        # Never aliased: the store's memory is not ours.
        arrays += [jax.device_put(values, device, may_alias=False) for device in devices]
        seconds += time.perf_counter() - began
    return jax.make_array_from_single_device_arrays(leaf.shape, sharding, arrays), seconds


def wait_for(
    ready: Callable[[], int | None], version: int, timeout_s: float, closed: threading.Event
) -> int:
    """The first version from `version` on that `ready` names, asked every few milliseconds.

    Raises:
        TimeoutError: none within the limit, or `closed` was set.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        found = ready()
        if found is not None and found >= version:
            return found
        left = deadline - time.monotonic()
        if left <= 0 or closed.wait(min(left, 0.01)):
            raise TimeoutError(
                f"no version from {version} on within {timeout_s} s; newest: {found}"
            )
