"""What process 0 does alone, the others hear of, also that it failed; messages do not pile up."""

import threading
from concurrent.futures import ThreadPoolExecutor

import jax
import pytest

from rl import lead as leads
from rl.lead import ALONE, Lead, LeadFailed


class Store:
    """JAX's key-value store, in one process."""

    def __init__(self):
        self.values, self.changed = {}, threading.Condition()

    def key_value_set(self, key, value, allow_overwrite=False):
        with self.changed:
            assert allow_overwrite or key not in self.values
            self.values[key] = value
            self.changed.notify_all()

    def blocking_key_value_get(self, key, timeout_in_ms):
        with self.changed:
            if not self.changed.wait_for(lambda: key in self.values, timeout_in_ms / 1000):
                raise jax.errors.JaxRuntimeError("DEADLINE_EXCEEDED: timed out")
            return self.values[key]

    def key_value_dir_get(self, prefix):
        with self.changed:
            return [(k, v) for k, v in self.values.items() if k.startswith(prefix)]

    def key_value_delete(self, key):
        with self.changed:
            del self.values[key]


def together(run, num=3):
    """What `run(lead)` gives, or raises, in each of several processes (threads, here)."""
    store = Store()
    with ThreadPoolExecutor(num) as pool:
        made = [pool.submit(run, Lead(store, process, num)) for process in range(num)]
    return [m.exception() or m.result() for m in made], store


def test_one_process_just_does_its_work():
    assert ALONE.do(lambda: 3) == ALONE.tell(lambda: 3) == 3
    assert ALONE.first
    assert not ALONE.several


def test_all_hear_what_is_told_and_wait_for_what_is_done(monkeypatch):
    monkeypatch.setattr(leads, "POLL_MS", 5)  # so that some time out on the way
    done = []

    def run(lead):
        told = [lead.tell(lambda n=n: {"step": n, "sizes": [n, n + 1]}) for n in range(40)]
        kept = lead.do(lambda: done.append(lead.first) or object())
        return told, kept is None, list(done)

    found, _ = together(run)
    assert [told for told, _, _ in found] == [
        [{"step": n, "sizes": [n, n + 1]} for n in range(40)]
    ] * 3
    assert [none for _, none, _ in found] == [False, True, True]
    assert all(seen == [True] for *_, seen in found)  # once, on process 0, before anyone went on


def test_read_messages_are_deleted():
    def run(lead):
        for _ in range(40):
            lead.tell(lambda: "x" * 1000)
            barrier.wait()  # what the steps' collectives do

    barrier = threading.Barrier(3)
    _, store = together(run)
    assert len([key for key in store.values if "/told/" in key]) <= 2


def test_what_process_0_raises_stops_all():
    def broken():
        raise ValueError("the engine is gone")

    found, _ = together(lambda lead: (lead.tell(lambda: 1), lead.do(broken)))
    assert isinstance(found[0], ValueError)
    for other in found[1:]:
        assert isinstance(other, LeadFailed)
        assert "process 0 of 3 stopped the run: ValueError: the engine is gone" in str(other)


@pytest.mark.parametrize(
    ("problem", "told"), [(None, "it has ended"), (ValueError("no\nroom"), "ValueError: no room")]
)
def test_who_waits_when_process_0_ends_is_told(problem, told):
    def run(lead):
        return lead.end(problem) if lead.first else lead.tell(lambda: 1)

    found, _ = together(run)
    assert found[0] is None
    for other in found[1:]:
        assert isinstance(other, LeadFailed)
        assert told in str(other)


def test_process_0_finds_what_others_complain_of():
    store = Store()
    first, second = (Lead(store, process, 2) for process in range(2))
    assert first.complaint() == ""
    second.complain("disk full")
    assert first.complaint() == "process 1: disk full"
    assert ALONE.complaint() == ""
