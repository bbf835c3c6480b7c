"""Spans: lanes do one thing at a time, threads do not lose any, memory is bounded."""

import itertools
import json
import threading

import pytest

from cogvit_jax.settings import ConfigError
from rl.spans import Span, Spans, read, wall_clock


class Watch:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_blocks_and_tickets_are_recorded_with_their_times():
    watch = Watch()
    spans = Spans(clock=watch)
    with spans.record("train", "trainer", "step 1", ids=["a", "b"]):
        watch.now += 2
    ticket = spans.start("reward", "judge", ids=("a",))
    watch.now += 1
    assert spans.last() == [
        Span("train", "trainer", 100, 102, "step 1", ("a", "b")),
        Span("reward", "judge", 102, 103, "", ("a",)),  # still open
    ]
    watch.now += 1
    assert spans.stop(ticket, "0.5") == Span("reward", "judge", 102, 104, "0.5", ("a",))
    assert [span.stage for span in spans.last(1.5)] == ["reward"]


def test_a_block_that_raises_is_recorded():
    spans = Spans()
    with pytest.raises(KeyError), spans.record("train", "trainer"):
        raise KeyError("x")
    with spans.record("train", "trainer"):
        pass
    assert len(spans.last()) == 2


def test_a_star_is_the_least_free_number():
    watch = Watch()
    spans = Spans(clock=watch)
    first, second = (spans.start("reward", "reward *") for _ in range(2))
    watch.now += 1
    assert spans.stop(first).lane == "reward 0"
    third, fourth = (spans.start("reward", "reward *") for _ in range(2))
    assert [spans.stop(ticket).lane for ticket in (second, third, fourth)] == [
        "reward 1",
        "reward 0",
        "reward 2",
    ]


def test_a_busy_lane_and_a_wrong_stage_are_errors():
    watch = Watch()
    spans = Spans(clock=watch)
    ticket = spans.start("train", "trainer")
    with pytest.raises(ValueError, match="lane 'trainer' is busy"):
        spans.start("wait", "trainer")
    watch.now += 1
    spans.stop(ticket)
    with pytest.raises(ValueError, match="lane 'trainer' is busy"):
        spans.add(Span("train", "trainer", 100.5, 102))
    with pytest.raises(ValueError, match="a span from 9 to 8"):
        spans.add(Span("train", "other", 9, 8))
    with pytest.raises(ConfigError, match=r"stage = 'trian'.*'train'"):
        spans.start("trian", "trainer")
    spans.add(Span("train", "trainer", 101, 102))
    assert len(spans.last()) == 2


def test_threads_lose_nothing_and_share_no_lane():
    spans = Spans()
    barrier = threading.Barrier(8)

    def work(number):
        barrier.wait()
        for turn in range(200):
            with spans.record("reward", "reward *", f"{number}/{turn}"):
                pass

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = spans.last()
    assert {span.label for span in found} == {f"{n}/{t}" for n in range(8) for t in range(200)}
    for lane in {span.lane for span in found}:
        own = sorted((s for s in found if s.lane == lane), key=lambda span: span.start)
        assert all(a.stop <= b.start for a, b in itertools.pairwise(own))


def test_a_file_has_each_span_once_and_what_was_pushed_out_is_counted(tmp_path):
    watch = Watch()
    spans, path = Spans(capacity=3, clock=watch), tmp_path / "spans.jsonl"

    def some(*labels):
        for label in labels:
            with spans.record("batch", "packer", label, ids=("题",)):
                watch.now += 1

    some("1", "2")
    assert spans.save(path) == 2
    some("3")
    assert spans.save(path) == 1
    assert spans.save(path) == 0
    some("4", "5", "6", "7", "8")
    assert spans.save(path) == 3
    assert spans.num_lost == 2
    assert len(spans.last()) == 3
    found = read(path)
    assert [span.label for span in found] == ["1", "2", "3", "6", "7", "8"]
    assert found[-3:] == spans.last()
    with path.open("a") as file:
        file.write(json.dumps({"stage": "train"})[:-4])  # a process that was killed
    assert read(path) == found


def test_the_clock_never_goes_back():
    clock = wall_clock()
    times = [clock() for _ in range(100)]
    assert times == sorted(times)
    assert times[0] > 1.6e9
