"""Versions of published weights: in order, whole or not seen, of several hosts, over TCP."""

import contextlib
import dataclasses
import shutil
import threading
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from rl.weights import WeightSettings
from rl.weights_load import Subscriber
from rl.weights_manifest import Manifest, decode, encode
from rl.weights_store import Store, WeightsGone, folder_store, joined, memory_store
from rl.weights_tcp import serve, tcp_store
from tests.rl.weights_runs import assert_equal, on, publish, publishing, shardings, values


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
                        loaded = subscriber.load(subscriber.wait(0))
                        assert_equal(loaded.params, values(loaded.version))
                        assert loaded.version >= newest
                        newest, loads = loaded.version, loads + 1
            finally:
                stop.set()
                thread.join()
        subscriber.close()


def test_a_version_that_goes_while_it_is_looked_at_is_none(tmp_path, monkeypatch):
    store = folder_store(tmp_path / "weights")
    publish(store, 0, values(0))
    assert list(store.versions()) == [0]

    def glob(folder, pattern):
        shutil.rmtree(folder, ignore_errors=True)
        raise FileNotFoundError(folder)

    monkeypatch.setattr(Path, "glob", glob)
    assert list(store.versions()) == []
    assert store.manifests(0) == {}
    store.delete(0)


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


def test_closing_ends_who_waits():
    subscriber = Subscriber(memory_store())
    threading.Timer(0.05, subscriber.closed.set).start()
    with pytest.raises(TimeoutError, match="newest: None"):
        subscriber.wait(0)
