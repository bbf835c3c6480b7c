"""Weights that are damaged, or whose publisher fails: found and named, and never used.

Version 1 is good, version 2 is not.
"""

import dataclasses
import errno
import signal
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl import weights_store
from rl.weights_load import Subscriber
from rl.weights_manifest import WeightsCorrupt, decode, encode, read_version
from rl.weights_store import WeightsGone, folder_store, memory_store
from tests.rl.weights_runs import assert_equal, on, publish, publishing, shardings, values


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
@settings(max_examples=20)
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
        assert not list((path.parents[1] / "0000000003").iterdir())
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
