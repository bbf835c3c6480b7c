"""Published weights arrive bit for bit on any mesh, or not at all."""

import contextlib
import dataclasses
import errno
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

from cogvit_jax import tree
from cogvit_jax.settings import ConfigError
from rl import weights_store
from rl.weights import Publisher, WeightSettings
from rl.weights_load import Subscriber
from rl.weights_manifest import Manifest, WeightsCorrupt, decode, encode, read_version
from rl.weights_store import Store, WeightsGone, folder_store, joined, memory_store
from rl.weights_tcp import serve, tcp_store

SMALL = WeightSettings(chunk_bytes=100, window_bytes=300)
SPECS = {
    "embed": PartitionSpec("fsdp", None),
    "block/kernel": PartitionSpec(None, ("fsdp", "tensor")),
    "block/cube": PartitionSpec("tensor", "fsdp", None),
    "block/scale": PartitionSpec(),
    "step": PartitionSpec(),
}


def mesh(fsdp, tensor):
    devices = np.asarray(jax.devices()[: fsdp * tensor]).reshape(fsdp, tensor)
    return Mesh(devices, ("fsdp", "tensor"))


def values(seed=0):
    rng = np.random.default_rng(seed)
    return {
        "embed": rng.normal(size=(16, 6)).astype(np.float32),
        "block": {
            "kernel": rng.normal(size=(5, 16)).astype(jnp.bfloat16),
            "cube": rng.normal(size=(4, 8, 3)).astype(np.float32),
            "scale": rng.normal(size=(7,)).astype(np.float32),
        },
        "step": np.asarray(seed, np.int32),
    }


def shardings(fsdp, tensor):
    made = mesh(fsdp, tensor)
    return tree.unflatten({name: NamedSharding(made, spec) for name, spec in SPECS.items()})


def on(placed, tree_of_values):
    return jax.tree.map(jax.device_put, tree_of_values, placed)


def assert_equal(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@contextlib.contextmanager
def publishing(store, config=SMALL):
    publisher = Publisher(store, config)
    yield publisher
    publisher.close()


def publish(store, version, params, config=SMALL):
    with publishing(store, config) as publisher:
        return publisher.publish(version, params).result()


@contextlib.contextmanager
def stores(kind, tmp_path):
    """(store to publish to, store to load from)."""
    if kind == "tcp":
        memory = memory_store()
        with serve(memory) as (host, port), tcp_store(host, port) as remote:
            yield memory, remote
        return
    store = memory_store() if kind == "memory" else folder_store(tmp_path / "weights")
    yield store, store


@pytest.mark.parametrize("kind", ["memory", "folder", "tcp"])
def test_round_trip_from_eight_devices_to_one_and_back(kind, tmp_path):
    trained = on(shardings(4, 2), values(1))
    with stores(kind, tmp_path) as (store, remote):
        published = publish(store, 1, trained)
        assert published.num_bytes == sum(x.nbytes for x in jax.tree.leaves(values()))  # once each
        alone = Subscriber(remote).load(1, SingleDeviceSharding(jax.devices()[5]))
        assert_equal(alone.params, values(1))
        assert {d.id for x in jax.tree.leaves(alone.params) for d in x.devices()} == {5}
        assert alone.num_bytes == published.num_bytes
        publish(store, 2, alone.params)
        back = Subscriber(remote).load(2, shardings(4, 2))
        assert_equal(back.params, values(1))
        same = jax.tree.map(lambda a, b: a.sharding == b, back.params, shardings(4, 2))
        assert all(jax.tree.leaves(same))


MESHES = [(8, 1), (1, 8), (2, 4), (4, 2), (2, 1), (1, 1)]


@pytest.mark.parametrize("source", MESHES[:3])
def test_any_mesh_to_any_mesh(source):
    def keep(fsdp, tensor):
        # Dims that an axis does not divide are left whole.
        sizes = dict(fsdp=fsdp, tensor=tensor)

        def spec(name, x):
            fits = []
            for n, axes in zip(x.shape, (*SPECS[name], *(None,) * x.ndim), strict=False):
                names = axes if isinstance(axes, tuple) else (axes,) if axes else ()
                fits.append(
                    axes if n % np.prod([sizes[a] for a in names], dtype=int) == 0 else None
                )
            return NamedSharding(mesh(fsdp, tensor), PartitionSpec(*fits))

        return tree.map_named(spec, values())

    store = memory_store()
    publish(store, 0, on(keep(*source), values(3)))
    for target in MESHES:
        assert_equal(Subscriber(store).load(0, keep(*target)).params, values(3))
    assert_equal(Subscriber(store).load(0).params, values(3))  # numpy arrays


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 700), st.integers(1, 2000), st.sampled_from(["", "bfloat16"]))
def test_chunks_and_windows_of_any_size(chunk_bytes, window_bytes, dtype):
    store = memory_store()
    config = WeightSettings(dtype, chunk_bytes, window_bytes=window_bytes)
    publish(store, 0, on(shardings(2, 4), values(4)), config)
    loaded = Subscriber(store).load(0, shardings(4, 2), original_dtype=True).params
    expected = values(4)
    if dtype:
        expected = jax.tree.map(
            lambda x: x if x.dtype == np.int32 else x.astype(jnp.bfloat16).astype(x.dtype), expected
        )
    assert_equal(loaded, expected)


def test_floats_travel_in_bfloat16_and_arrive_so_unless_asked_otherwise():
    store = memory_store()
    full = publish(memory_store(), 0, on(shardings(4, 2), values()))
    half = publish(store, 0, on(shardings(4, 2), values()), WeightSettings("bfloat16"))
    assert half.num_bytes < 0.6 * full.num_bytes
    loaded = Subscriber(store).load(0).params
    assert loaded["embed"].dtype == jnp.bfloat16
    assert loaded["step"].dtype == np.int32


def test_the_step_may_donate_what_was_just_published():
    store = memory_store()
    step = jax.jit(lambda t: jax.tree.map(lambda x: x * 0 + 9, t), donate_argnums=0)
    with publishing(store) as publisher:
        params = on(shardings(4, 2), values(5))
        handle = publisher.publish(0, params)
        after = step(params)
        assert params["embed"].is_deleted()
        handle.result()
    assert_equal(Subscriber(store).load(0).params, values(5))
    assert (np.asarray(after["embed"]) == 9).all()


def test_only_the_needed_chunks_are_read():
    store = memory_store()
    rows = {"w": np.arange(80 * 10, dtype=np.float32).reshape(80, 10)}
    publish(store, 0, rows, WeightSettings(chunk_bytes=400))
    read = []

    def counted(version, part, offset, size):
        read.append((offset, size))
        return store.read(version, part, offset, size)

    spied = dataclasses.replace(store, read=counted)
    target = NamedSharding(mesh(8, 1), PartitionSpec("fsdp"))
    # This process has all eight devices; one of them needs 10 rows of 40 bytes.
    one = Subscriber(spied)
    assert_equal(one.load(0, {"w": target}).params, rows)
    assert read == [(400 * i, 400) for i in range(8)]


# Damage: version 1 is good, version 2 is not.


@pytest.fixture
def damaged(tmp_path):
    """(store, path of version 2's bytes)."""
    root = tmp_path / "weights"
    store = folder_store(root)
    for version in (1, 2):
        publish(store, version, on(shardings(4, 2), values(version)))
    return store, root / "0000000002" / "part0.bin"


def assert_first_is_usable(store):
    assert_equal(Subscriber(store).load(1, shardings(1, 1)).params, values(1))


def test_a_flipped_bit_is_found_and_named(damaged):
    store, path = damaged
    manifest = read_version(store, 2)
    leaf = next(x for x in manifest.leaves if x.name == "embed")
    data = bytearray(path.read_bytes())
    data[leaf.shards[2].offset + 5] ^= 16
    path.write_bytes(data)
    with pytest.raises(WeightsCorrupt, match="version 2, embed, shard 2, chunk 0: another check"):
        Subscriber(store).load(2, shardings(8, 1))
    assert_first_is_usable(store)


@given(st.data())
@settings(deadline=None, max_examples=20)
def test_any_flipped_byte_is_found(data):
    store = memory_store()
    publish(store, 0, on(shardings(4, 2), values()))
    total = sum(x.nbytes for x in jax.tree.leaves(values()))
    at = data.draw(st.integers(0, total - 1))

    def broken(version, part, offset, size):
        found = bytearray(store.read(version, part, offset, size))
        if offset <= at < offset + size:
            found[at - offset] ^= 1 << data.draw(st.integers(0, 7))
        return found

    with pytest.raises(WeightsCorrupt, match="another checksum"):
        Subscriber(dataclasses.replace(store, read=broken)).load(0)


@pytest.mark.parametrize("size", [0, 1, 250])
def test_a_file_that_is_cut_off_is_found(damaged, size):
    store, path = damaged
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(WeightsCorrupt, match=r"chunk \d+: \d+ of \d+ bytes"):
        Subscriber(store).load(2)
    assert_first_is_usable(store)


def test_missing_bytes_and_missing_manifests_are_gone(damaged):
    store, path = damaged
    path.unlink()
    with pytest.raises(WeightsGone, match=r"part0.bin is not there"):
        Subscriber(store).load(2)
    path.with_suffix(".json").unlink()
    assert Subscriber(store).latest() == 1
    with pytest.raises(WeightsGone, match="version 2 is not complete"):
        Subscriber(store).load(2)
    assert_first_is_usable(store)


@pytest.mark.parametrize(
    "damage", [lambda t: t[:-9], lambda t: t.replace(b"embed", b"embud"), bytes]
)
def test_a_damaged_manifest_is_passed_over_and_told(damaged, damage):
    store, path = damaged
    manifest = path.with_suffix(".json")
    manifest.write_bytes(damage(manifest.read_bytes()) if damage is not bytes else b"{}")
    assert Subscriber(store).latest() == 1
    with pytest.raises(WeightsCorrupt, match="version 2, part 0: the manifest cannot be read"):
        Subscriber(store).load(2)


def test_a_manifest_that_lacks_a_shard_is_found():
    store = memory_store()
    publish(store, 0, on(shardings(4, 2), values()))
    manifest = decode(store.manifests(0)[0], "it")
    leaves = tuple(dataclasses.replace(x, shards=x.shards[1:]) for x in manifest.leaves)
    store.commit(0, 0, encode(dataclasses.replace(manifest, leaves=leaves)))
    with pytest.raises(WeightsCorrupt, match=r"block/cube: shards cover 84 of the 96 numbers"):
        Subscriber(store).load(0)


class FullDisk:
    """A file on a disk that has room for so many bytes more."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def tell(self):
        return self.file.tell()

    def write(self, data):
        self.room[0] -= len(data)
        if self.room[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.file.write(data)


def test_a_full_disk_leaves_the_old_version(damaged, monkeypatch):
    store, path = damaged
    room = [300]

    def opened(file, mode):
        return FullDisk(open(file, mode), room) if mode == "ab" else open(file, mode)

    with publishing(store) as publisher:
        with monkeypatch.context() as patch:
            patch.setattr(weights_store, "open", opened, raising=False)
            handle = publisher.publish(3, on(shardings(4, 2), values(3)))
            with pytest.raises(OSError, match="No space left"):
                handle.result()
        assert Subscriber(store).latest() == 2
        assert not (path.parents[1] / "0000000003").exists()
        assert_first_is_usable(store)
        publisher.publish(4, on(shardings(4, 2), values(4))).result()
    assert_equal(Subscriber(store).load(4).params, values(4))


KILLED = """
import os, signal, sys
import jax.numpy as jnp
import dataclasses
from rl.weights import Publisher, WeightSettings
from rl.weights_store import folder_store

store, written = folder_store(sys.argv[1]), []

def write(*arguments):
    store.write(*arguments)
    written.append(arguments)
    if len(written) == 4:  # the beginning and three of five shards
        os.kill(os.getpid(), signal.SIGKILL)

params = {str(i): jnp.ones(100) for i in range(5)}
Publisher(dataclasses.replace(store, write=write)).publish(3, params).result()
"""


@pytest.mark.slow  # another process, 3 s
def test_a_publisher_that_is_killed_leaves_the_old_version(damaged):
    store, path = damaged
    command = [sys.executable, "-c", KILLED, str(path.parents[1])]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert (path.parents[1] / "0000000003" / "part0.bin").stat().st_size == 1200
    assert Subscriber(store).latest() == 2
    assert_first_is_usable(store)
    publish(store, 3, on(shardings(4, 2), values(3)))  # started again
    assert_equal(Subscriber(store).load(3).params, values(3))


def test_versions_go_up_and_the_last_ones_are_kept():
    store = memory_store()
    with publishing(store, WeightSettings(keep=2)) as publisher:
        for version in (0, 3, 4, 9):
            publisher.publish(version, values(version)).result()
        with pytest.raises(ValueError, match="version 9 is not above 9"):
            publisher.publish(9, values())
    assert list(store.versions()) == [4, 9]
    with pytest.raises(ValueError, match="version 5 is not above 9"):  # found in the store
        publish(store, 5, values())


def test_a_version_is_seen_only_when_it_is_whole():
    store = memory_store()
    subscriber, seen, gate = Subscriber(store), [], threading.Event()

    def write(*arguments):
        seen.append(subscriber.latest())
        assert gate.wait(30)
        store.write(*arguments)

    with publishing(dataclasses.replace(store, write=write)) as publisher:
        handle = publisher.publish(0, values())
        with pytest.raises(TimeoutError, match=r"no version from 0 on within 0\.05 s"):
            subscriber.wait(0, timeout_s=0.05)
        gate.set()
        assert subscriber.wait(0, timeout_s=30) == 0
        handle.result()
    assert len(seen) == 6
    assert set(seen) == {None}


def test_loading_goes_on_while_newer_versions_replace_what_is_loaded(tmp_path):
    """Each load is of one version, whole, whatever is published meanwhile."""
    for store in (memory_store(), folder_store(tmp_path / "weights")):
        subscriber, stop = Subscriber(store), threading.Event()
        with publishing(store, WeightSettings(chunk_bytes=64, keep=2)) as publisher:
            publisher.publish(0, values(0)).result()

            def publish_more(publisher=publisher, stop=stop):
                version = 0
                while not stop.is_set():
                    version += 1
                    publisher.publish(version, values(version)).result()

            thread = threading.Thread(target=publish_more)
            thread.start()
            newest = loads = 0
            deadline = time.monotonic() + 60
            try:
                while loads < 10 or newest < 10:
                    assert time.monotonic() < deadline
                    with contextlib.suppress(WeightsGone):
                        loaded = subscriber.load_async(subscriber.wait(0)).result()
                        assert_equal(loaded.params, values(loaded.version))
                        assert loaded.version >= newest
                        newest, loads = loaded.version, loads + 1
            finally:
                stop.set()
                thread.join()
        subscriber.close()


def split_in_two(store: Store) -> list[Store]:
    """As two hosts would have written it: every second shard in a part and store of its own."""
    whole = decode(store.manifests(0)[0], "it")
    halves = [memory_store(), memory_store()]
    for part, half in enumerate(halves):
        leaves = []
        half.write(0, part, 0, b"")
        offset = 0
        for leaf in whole.leaves:
            kept = []
            for shard in leaf.shards[part::2]:
                size = np.prod(
                    [b - a for a, b in zip(shard.start, shard.stop, strict=True)], dtype=int
                )
                size = int(size) * jnp.dtype(leaf.dtype).itemsize
                half.write(0, part, offset, bytes(store.read(0, 0, shard.offset, size)))
                kept.append(dataclasses.replace(shard, part=part, offset=offset))
                offset += size
            leaves.append(dataclasses.replace(leaf, shards=tuple(kept)))
        half.commit(0, part, encode(Manifest(0, 2, whole.chunk_bytes, tuple(leaves))))
    return halves


def test_parts_of_two_hosts_are_one_version_when_both_are_there():
    store = memory_store()
    publish(store, 0, on(shardings(4, 2), values(6)))
    first, second = split_in_two(store)
    assert Subscriber(first).latest() is None
    both = joined([first, second])
    assert Subscriber(both).latest() == 0
    assert_equal(Subscriber(both).load(0, shardings(2, 1)).params, values(6))
    with pytest.raises(PermissionError):
        both.delete(0)


def test_a_server_that_comes_back_is_found_again():
    memory = memory_store()
    publish(memory, 0, values(0))
    with contextlib.ExitStack() as stack:
        with serve(memory) as (host, port):
            store = stack.enter_context(tcp_store(host, port))
            assert_equal(Subscriber(store).load(0).params, values(0))
            with pytest.raises(WeightsGone, match="part 0 of version 7 is not in memory"):
                store.read(7, 0, 0, 1)
            with pytest.raises(RuntimeError, match="TypeError"):
                store.manifests([])
        with pytest.raises(OSError, match=f"weights at {host}:{port}"):
            store.versions()
        with serve(memory, port=port):
            assert_equal(Subscriber(store).load(0).params, values(0))


def test_shardings_of_another_tree_are_an_error():
    store = memory_store()
    publish(store, 0, values(0))
    with pytest.raises(ValueError, match=r"published weights differ in \['block/cube'"):
        Subscriber(store).load(0, {"embed": SingleDeviceSharding(jax.devices()[0])})


def test_closing_ends_who_waits():
    subscriber = Subscriber(memory_store())
    threading.Timer(0.05, subscriber.closed.set).start()
    with pytest.raises(TimeoutError, match="newest: None"):
        subscriber.wait(0)


@pytest.mark.parametrize(
    ("field", "value"), [("chunk_bytes", 0), ("keep", 0), ("window_bytes", 0), ("dtype", "int8")]
)
def test_settings_out_of_range_are_named(field, value):
    with pytest.raises(ConfigError, match=f"config.weights.{field} = "):
        Publisher(memory_store(), WeightSettings(**{field: value}))
