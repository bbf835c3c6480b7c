"""Versions of the policy's weights, published by a trainer and loaded by rollout engines.

Bytes go device -> host memory -> a store (`rl.weights_store`: this process, files, TCP) -> host ->
device of another mesh. Trainer and engines share no JAX world and need not be placed alike: shards
are boxes of index ranges, and a reader takes the chunks that overlap what its devices need.

`publish` only starts a copy on the devices, which is done before a later step can donate the
parameters; fetching, checksums and writing are on a thread. A version exists when all processes
have written their manifest, the last thing that they write; until then, and when publishing fails,
everybody keeps what they have.
"""

import contextlib
import dataclasses
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cogvit_jax import tree
from cogvit_jax.settings import ConfigError
from rl.weights_manifest import Leaf, Manifest, ShardEntry, complete_versions, encode
from rl.weights_store import Store


@dataclasses.dataclass(frozen=True)
class WeightSettings:
    """`config.weights`.

    Attributes:
        dtype: that floating-point weights travel in, such as "bfloat16"; "" = their own.
        chunk_bytes: per checksum.
        keep: versions in the store.
        window_bytes: on their way from the devices at a time.
    """

    dtype: str = ""
    chunk_bytes: int = 16 << 20
    keep: int = 2
    window_bytes: int = 1 << 30


def check(config: WeightSettings) -> None:
    """Raises ConfigError where a field is out of range."""
    for name in ("chunk_bytes", "keep", "window_bytes"):
        if getattr(config, name) < 1:
            raise ConfigError(f"config.weights.{name} = {getattr(config, name)} must be 1 or more.")
    if config.dtype not in ("", "bfloat16", "float16", "float32"):
        raise ConfigError(
            f"config.weights.dtype = {config.dtype!r} must be bfloat16, float16, float32, or '' "
            "for that of the parameters."
        )


@dataclasses.dataclass(frozen=True)
class Published:
    """What publishing a version took on this process.

    Attributes:
        version: of the policy.
        num_bytes: written by this process.
        fetch_seconds: waiting for the devices' copies to arrive.
        write_seconds: checksums and the store.
    """

    version: int
    num_bytes: int
    fetch_seconds: float
    write_seconds: float


class Publisher:
    """Writes versions to a store, one at a time, on a thread of its own; close it at the end.

    Example:
        publisher = Publisher(store)
        handle = publisher.publish(3, state.params)  # the step may now donate them
        handle.result().num_bytes
    """

    def __init__(self, store: Store, config: WeightSettings = WeightSettings()):
        self.store, self.config = store, config
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="publish-weights")
        self.pending: Future[Published] | None = None
        self.copy = jax.jit(self._copy)
        ours = jax.process_index()
        self.newest = max((v for v in store.versions() if ours in store.manifests(v)), default=-1)

    def publish(self, version: int, params: Any) -> Future[Published]:
        """Starts to write a version; all processes of a run call it with the same arguments.

        Waits for the one before it, so that there are never two copies. The result raises what
        went wrong, such as OSError on a full disk: then the version is not there, and the others
        are as they were.

        Args:
            version: above all that were published.
            params: tree of arrays on the devices; not changed.

        Raises:
            ValueError: the version is not above the newest.
        """
        if version <= self.newest:
            raise ValueError(f"version {version} is not above {self.newest}, which is published")
        self.newest = version
        if self.pending is not None:
            self.pending.exception()  # whoever published it learns of it from its result
        copied = self.copy(params)
        originals = {name: str(x.dtype) for name, x in tree.named_leaves(params)}
        self.pending = self.thread.submit(self._write, version, [copied], originals)
        return self.pending

    def close(self) -> None:
        """Waits for what is being written."""
        self.thread.shutdown(wait=True)

    def _copy(self, params: Any) -> Any:
        def copy(x: jax.Array) -> jax.Array:
            if self.config.dtype and jnp.issubdtype(x.dtype, jnp.floating):
                x = x.astype(self.config.dtype)
            return jnp.copy(x)  # never the same buffer: that one may be donated

        return jax.tree.map(copy, params)

    def _write(self, version: int, holder: list[Any], originals: dict[str, str]) -> Published:
        try:
            found = self._write_part(version, dict(tree.named_leaves(holder.pop())), originals)
        except BaseException:
            # Not the version: the others may be writing their parts of it.
            with contextlib.suppress(OSError):  # of the same disk; the first problem is told
                self.store.drop(version, jax.process_index())
            raise
        if not jax.process_index():
            self._prune()
        return found

    def _prune(self) -> None:
        complete = complete_versions(self.store)
        if len(complete) > self.config.keep:
            for old in self.store.versions():
                if old < complete[-self.config.keep]:
                    self.store.delete(old)

    def _write_part(
        self, version: int, leaves: dict[str, Any], originals: dict[str, str]
    ) -> Published:
        part, offset, fetch_s, write_s = jax.process_index(), 0, 0.0, 0.0
        self.store.write(version, part, 0, b"")
        described = {
            name: Leaf(name, x.shape, str(x.dtype), originals[name], ())
            for name, x in leaves.items()
        }
        for name, shard, fetched, seconds in fetch(leaves, self.config.window_bytes):
            began = time.perf_counter()
            entry = self._write_shard(version, part, offset, described[name], shard, fetched)
            leaf = described[name]
            described[name] = dataclasses.replace(leaf, shards=(*leaf.shards, entry))
            offset += fetched.nbytes
            fetch_s, write_s = fetch_s + seconds, write_s + time.perf_counter() - began
        manifest = Manifest(
            version, jax.process_count(), self.config.chunk_bytes, tuple(described.values())
        )
        self.store.commit(version, part, encode(manifest))
        return Published(version, offset, fetch_s, write_s)

    def _write_shard(
        self, version: int, part: int, offset: int, leaf: Leaf, index: Any, values: np.ndarray
    ) -> ShardEntry:
        flat = np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
        step = self.config.chunk_bytes
        checksums = [zlib.crc32(flat[i : i + step]) for i in range(0, len(flat), step)]
        self.store.write(version, part, offset, flat)
        box = [s.indices(n)[:2] for s, n in zip(index, leaf.shape, strict=True)]
        starts, stops = tuple(b[0] for b in box), tuple(b[1] for b in box)
        return ShardEntry(part, starts, stops, offset, tuple(checksums))


def fetch(
    leaves: dict[str, Any], window_bytes: int
) -> Iterator[tuple[str, Any, np.ndarray, float]]:
    """(name, index, values, seconds waited) of every shard that this process owns, in order.

    The first replica of a shard is the one that is published. Copies of the next shards are on
    their way while one is handed out, up to `window_bytes`; a leaf is let go when it is fetched.

    Args:
        leaves: emptied on the way.
        window_bytes: on their way at a time; at least one shard is.
    """
    queue = [
        (name, shard)
        for name, x in leaves.items()
        for shard in x.addressable_shards
        if not shard.replica_id
    ]
    leaves.clear()
    queue.reverse()
    flying: list[tuple[str, Any]] = []
    used = 0
    while queue or flying:
        while queue and (not flying or used + queue[-1][1].data.nbytes <= window_bytes):
            flying.append(queue.pop())
            flying[-1][1].data.copy_to_host_async()
            used += flying[-1][1].data.nbytes
        name, shard = flying.pop(0)
        began = time.perf_counter()
        values = np.array(shard.data)  # a copy: on a CPU `asarray` is a view of the device's memory
        used -= values.nbytes
        yield name, shard.index, values, time.perf_counter() - began
