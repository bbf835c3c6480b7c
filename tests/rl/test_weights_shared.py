"""A version counts when all processes have written their parts; who cannot says so to the first."""

import dataclasses
import errno
import threading
import time

import jax
import jax.numpy as jnp
import pytest

from rl import weights_shared
from rl.lead import ALONE, Lead
from rl.weights import WeightSettings
from rl.weights_shared import PublishingFailed, SharedPublisher
from rl.weights_store import folder_store, memory_store
from tests.rl.test_lead import Store

PARAMS = {"kernel": jnp.ones((3, 4))}


@pytest.fixture(params=["memory", "folder"])
def two(request, monkeypatch, tmp_path):
    """(process -> its publisher, the store); each is used as its process."""
    store = memory_store() if request.param == "memory" else folder_store(tmp_path)
    messages, made = Store(), {}
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(weights_shared, "ASK_SECONDS", 0.02)
    monkeypatch.setattr(weights_shared, "LAST_SECONDS", 0.1)

    def be(process, **changes):
        monkeypatch.setattr(jax, "process_index", lambda: process)
        if process not in made:
            seen = dataclasses.replace(store, **changes)
            made[process] = SharedPublisher(seen, WeightSettings(), Lead(messages, process, 2))
        return made[process]

    yield be, store
    for publisher in made.values():
        publisher.close()


def written(store, part):
    """Returns when a part of version 0 is there."""
    deadline = time.monotonic() + 20
    while part not in store.manifests(0):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_first_waits_for_the_others_parts(two):
    be, store = two
    first = be(0).publish(0, PARAMS)
    written(store, 0)
    with pytest.raises(TimeoutError):
        first.result(0.1)
    second = be(1).publish(0, PARAMS)  # what the first has published is no version of its own
    assert second.result(10).version == first.result(10).version == 0
    assert sorted(store.manifests(0)) == [0, 1]


def full(*_):
    raise OSError(errno.ENOSPC, "no space left")


NO_SPACE = r"process 1: publishing weights: OSError.*no space"


def test_a_part_that_cannot_be_written_stops_the_first(two):
    be, store = two
    first = be(0).publish(0, PARAMS)
    written(store, 0)
    be(1, write=full).publish(0, PARAMS).exception(10)
    with pytest.raises(PublishingFailed, match=NO_SPACE):
        first.result(10)


def test_a_part_that_cannot_be_written_leaves_the_others_alone(two):
    """The first is still writing its own when the second gives up; both name the second's fault."""
    be, store = two
    failed, reached = threading.Event(), threading.Event()

    def commit(*given):
        reached.set()
        assert failed.wait(10)
        store.commit(*given)

    first = be(0, commit=commit).publish(0, PARAMS)
    assert reached.wait(10)
    assert "no space" in str(be(1, commit=full).publish(0, PARAMS).exception(10))
    failed.set()
    with pytest.raises(PublishingFailed, match=NO_SPACE):
        first.result(10)
    assert sorted(store.manifests(0)) == [0]


def test_a_part_that_cannot_be_taken_back_does_not_hide_why(tmp_path):
    def broken(*_):
        raise OSError("input/output error")

    store = dataclasses.replace(folder_store(tmp_path), write=full, drop=broken)
    publisher = SharedPublisher(store, WeightSettings(), ALONE)
    assert "no space left" in str(publisher.publish(0, PARAMS).exception(10))
    publisher.close()


def test_alone_it_is_the_publisher():
    publisher = SharedPublisher(memory_store(), WeightSettings(), ALONE)
    assert publisher.publish(3, PARAMS).result(10).version == 3
    publisher.close()
