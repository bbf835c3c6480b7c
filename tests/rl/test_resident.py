"""Parameters that live in host memory: what they compute, what a visit leaves, what is measured."""

import threading
import time
from types import SimpleNamespace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from cogvit_jax import sharding
from rl import resident
from rl.resident import Visits, host_sharding, keep


def params():
    mesh = sharding.make_mesh(sharding.MeshSettings(data=8), jax.devices()[:8])
    split = NamedSharding(mesh, PartitionSpec("data"))
    whole = NamedSharding(mesh, PartitionSpec())
    return {
        "a": jax.device_put(np.arange(64.0).reshape(16, 4), split),
        "b": jax.device_put(np.ones(3), whole),
    }


@jax.jit
def score(values, x):
    return values["a"].sum() * x + values["b"].sum()


def test_a_visit_computes_what_the_parameters_do_and_leaves_nothing():
    original = params()
    kept = keep(original)
    expected = score(original, 2.0)
    jax.tree.map(lambda x: x.delete(), original)  # the copy is its own
    for _ in range(3):
        kept.prefetch()
        kept.prefetch()  # it is under way already
        assert float(kept.use(score, 2.0)) == float(expected)
    settle(kept, 3)
    figures = kept.copies.figures("reference")
    assert figures["rl/reference/copy_gigabytes"] == pytest.approx((64 + 3) * 4 / 1e9)
    assert 0 <= figures["rl/reference/copy_hidden_fraction"] <= 1


def settle(kept, visits):
    deadline = time.monotonic() + 30
    while kept.copies.visits < visits and time.monotonic() < deadline:
        time.sleep(0.005)
    assert kept.copies.visits == visits


def test_parameters_keep_their_split_in_host_memory():
    original = params()["a"]
    held = jax.device_put(original, host_sharding(original.sharding))
    assert held.sharding.memory_kind == "pinned_host"
    assert held.sharding.spec == original.sharding.spec


@pytest.mark.parametrize(("waits", "hidden"), [(True, 1.0), (False, 0.0)])
def test_the_hidden_part_is_what_nobody_waited_for(monkeypatch, waits, hidden):
    """A copy that takes a tenth of a second, asked for after it has ended or at its beginning."""
    kept = keep(params())
    release, now = threading.Event(), 5.0

    def slow(visit):
        release.wait(30)
        jax.block_until_ready(visit.params)
        visit.ended = now
        visit.done.set()

    monkeypatch.setattr(resident, "_watch", slow)
    monkeypatch.setattr(resident, "time", SimpleNamespace(perf_counter=lambda: now))
    kept.prefetch()
    visit = kept._visit
    if waits:
        now += 0.1
        release.set()
        assert visit.done.wait(30)
    kept.use(score, 1.0)
    if not waits:
        now += 0.1
        release.set()
    settle(kept, 1)
    assert kept.copies.seconds == pytest.approx(0.1)
    assert kept.copies.hidden / kept.copies.seconds == hidden


def test_work_given_before_hides_a_copy(monkeypatch):
    """Copying costs nothing while the devices have something else to do."""
    kept = keep(params())
    copied, busy = threading.Event(), threading.Event()

    class Before:
        """An array that is ready when the event is set."""

    def ready(tree):
        if isinstance(tree, Before):
            busy.wait(30)
            return tree
        if isinstance(tree, dict):  # the copy, which ends after it was asked for
            copied.wait(30)
        return real(tree)

    real = jax.block_until_ready
    monkeypatch.setattr(jax, "block_until_ready", ready)
    kept.prefetch()
    visit = kept._visit
    kept.use(score, jnp.ones(()), after=Before())
    copied.set()
    assert visit.done.wait(30)
    busy.set()
    settle(kept, 1)
    assert kept.copies.hidden == pytest.approx(kept.copies.seconds)


def test_in_turn_the_next_is_copied_and_no_more():
    """The third's copy begins when the first's result is there, not before."""
    told = []

    class Fake(NamedTuple):
        number: int

        def prefetch(self):
            told.append(f"copy {self.number}")

        def use(self, function, *args, after):
            told.append(f"use {self.number}")
            return function(self.number, *args)

    class Later:
        """An array that tells when somebody waits for it."""

        def __init__(self, number, batch):
            self.number = number

        def block_until_ready(self):
            told.append(f"wait {self.number}")

    found = list(resident.in_turn([(Fake(n), Later) for n in range(4)], "batch"))
    assert [later.number for later in found] == [0, 1, 2, 3]
    assert told == [
        *("use 0", "copy 1"),
        *("use 1", "wait 0", "copy 2"),
        *("use 2", "wait 1", "copy 3"),
        *("use 3", "wait 2"),
    ]


def test_in_turn_gives_what_each_says():
    kept = [keep(jax.tree.map(lambda x, n=n: x * n, params())) for n in (1, 2, 3)]
    kept[0].prefetch()
    visits = [
        Visits(kept[:1], score, lambda said: {"reference": said[0]}),
        Visits(kept[1:], score, lambda said: {"teachers": jnp.stack(said)}),
    ]
    arrays = resident.visit(visits, jnp.float32(2))
    found = [float(arrays["reference"]), *arrays["teachers"].tolist()]
    first = float(score(params(), 2.0))
    assert found == [first, 2 * first, 3 * first]
    for one in kept:
        settle(one, 1)


def test_a_copy_that_fails_holds_up_nobody(monkeypatch):
    """Who waits for its end would keep the interpreter from ending."""

    def ready(tree):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")

    kept = keep(params())
    monkeypatch.setattr(jax, "block_until_ready", ready)
    kept.prefetch()
    assert kept._visit.done.wait(30)
