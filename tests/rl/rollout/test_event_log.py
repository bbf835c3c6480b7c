"""The log of events: what is read is what was written, whatever befell the file."""

import errno
import os
import signal
import subprocess
import sys
import time
import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl.rollout import event_log
from rl.rollout.event_json import KINDS, from_json, to_json
from rl.rollout.event_log import EventLog, LogError, read, truncate
from rl.rollout.events import (
    Abort,
    Admitted,
    EngineDied,
    Event,
    Finished,
    Lost,
    Rewarded,
    Trained,
)
from rl.rollout.tokens import Tokens

TOKENS = Tokens.of((5, 9, 2), (-0.1, -2.5, 0.0), (3, 3, 4), (-0.3, -2.5, -1.0))
EVENTS: list[Event] = [
    Admitted(0, "计数\n\r", {"cell": ["counting", 2], "seed": 7}, 3, 0.1),
    Finished((0, 1), 0, 1, 0, TOKENS, "stop", 1 / 3),
    EngineDied("a", (Lost((0, 2), 0, 1, 4, TOKENS), Lost((0, 3), 0, 1, 0, Tokens())), 0.5),
    Abort(((0, 1), (2, 3)), 0.6),
    Rewarded((0, 1), 1, "value", 0.1 + 0.2, {"kind": "x"}, 0.7),
    Trained(0, 1e9),
]


def log_of(tmp_path, events=EVENTS):
    path = tmp_path / "events.jsonl"
    log = EventLog.open(path)
    for event in events:
        log.append(event)
    log.close()
    return path


def test_what_is_read_is_what_was_written(tmp_path):
    path = log_of(tmp_path)
    assert read(path).events == EVENTS
    log = EventLog.open(path)
    assert log.num_events == len(EVENTS)
    assert log.append(EVENTS[0]) == len(EVENTS)
    log.close()
    assert read(path).events == [*EVENTS, EVENTS[0]]
    for event in EVENTS:
        assert from_json(to_json(event)) == event


def test_every_event_is_a_fact_or_a_command():
    assert set(KINDS.values()) == set(typing.get_args(Event))
    with pytest.raises(ValueError, match="no event"):
        from_json({"event": "Trained", "time": 1.0})
    with pytest.raises(ValueError, match="no event"):
        from_json({"event": "Begun", "time": 1.0})


@given(st.data())
def test_tokens_are_kept_exactly(data):
    num = data.draw(st.integers(0, 30))
    ids = data.draw(st.lists(st.integers(0, 2**31 - 1), min_size=num, max_size=num))
    logprobs = data.draw(st.lists(st.floats(-100, 0, width=32), min_size=num, max_size=num))
    versions = data.draw(st.lists(st.integers(0, 3), min_size=num, max_size=num))
    cut = data.draw(st.integers(0, num))
    whole = Tokens.of(ids, logprobs, versions)
    assert whole.num == num
    assert list(whole.ids) == ids
    assert list(whole.logprobs) == list(whole.raw_logprobs) == logprobs
    assert list(whole.token_versions) == versions
    assert Tokens.from_json(whole.to_json()) == whole
    first = Tokens.of(ids[:cut], logprobs[:cut], versions[:cut])
    assert first + whole.after(cut) == whole
    other = [-1.0] * num
    mixed = first + Tokens.of(ids[cut:], logprobs[cut:], versions[cut:], other[cut:])
    assert list(mixed.raw_logprobs) == logprobs[:cut] + other[cut:]


def test_tokens_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="equally many"):
        Tokens.of((1, 2), (-1.0,), (0, 0))
    for wrong in (float("nan"), -float("inf"), 1.0):
        with pytest.raises(ValueError, match="log-probability"):
            Tokens.of((1,), (wrong,), (0,))


def test_a_log_cut_anywhere_keeps_its_whole_lines(tmp_path, caplog):
    path = log_of(tmp_path)
    data = path.read_bytes()
    ends = read(path).ends
    for size in {*range(0, len(data), 9), *(end + side for end in ends for side in (-1, 0))}:
        path.write_bytes(data[:size])
        whole = sum(end <= size for end in ends)
        caplog.clear()
        log = EventLog.open(path)
        assert log.num_events == whole
        assert bool(caplog.records) == (size not in (0, *ends))
        log.append(Trained(9, 9.0))
        log.close()
        assert read(path).events == [*EVENTS[:whole], Trained(9, 9.0)]


def test_a_flipped_bit_is_an_error_and_names_the_remedy(tmp_path):
    path = log_of(tmp_path)
    data = path.read_bytes()
    last = read(path).ends[-2]
    for place in range(0, last, 7):
        damaged = bytearray(data)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        with pytest.raises(LogError, match=r"line \d+: damaged") as error:
            EventLog.open(path)
        line = int(str(error.value).split("line ")[1].split(":")[0])
        truncate(path, line - 1)
        assert read(path).events == EVENTS[: line - 1]


def test_a_missing_line_is_an_error(tmp_path):
    path = log_of(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2] + lines[3:]))
    with pytest.raises(LogError, match="line 3"):
        read(path)


def test_a_full_disk_leaves_the_log_readable(tmp_path, monkeypatch):
    path = log_of(tmp_path)
    log = EventLog.open(path)
    room = 50

    def write(write, data):
        write(data[:room])
        raise OSError(errno.ENOSPC, "No space left on device")

    log.append(EVENTS[1])
    log.append(EVENTS[0])
    with monkeypatch.context() as full:
        full.setattr(event_log, "_write", write)
        with pytest.raises(LogError, match="No space left on device: 2 events are not written"):
            log.flush()
        assert read(path) == event_log.Contents(EVENTS, read(path).ends, 0)
    log.close()  # there is room again
    assert read(path).events == [*EVENTS, EVENTS[1], EVENTS[0]]


WRITER = """
import sys
from rl.rollout.event_log import EventLog
from rl.rollout.events import Trained
log = EventLog.open(sys.argv[1])
for step in range(10**9):
    log.append(Trained(step, float(step)))
    log.flush()
"""


def test_a_killed_process_loses_nothing_that_was_flushed(tmp_path):
    path = tmp_path / "events.jsonl"
    child = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], cwd=os.getcwd())
    while not path.exists() or path.stat().st_size < 20_000:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    log = EventLog.open(path)
    log.close()
    assert log.num_events > 200
    assert read(path).events == [Trained(step, float(step)) for step in range(log.num_events)]
