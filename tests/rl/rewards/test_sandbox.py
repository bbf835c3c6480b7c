"""Code that nobody trusts: what it may compute, and all that it must not do or know."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rl.rewards import sandbox
from rl.types import VerifierFailed
from tests.rl.rewards.attacks import FORGERIES, LEAVING, REFUSED

WALLS = pytest.mark.parametrize("walls", [True, False])


def one(code, *args, **settings):
    return sandbox.run(code, "f", [args], **settings)[0]


@WALLS
def test_values_come_back(walls):
    code = """
from collections import Counter, defaultdict, deque, namedtuple
from dataclasses import dataclass
from functools import lru_cache
import heapq, bisect, itertools, math, random, re, statistics, string, decimal, typing
Pair = namedtuple("Pair", "a b")
@dataclass
class Point:
    x: int
@lru_cache(None)
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)
def f(x, y=1):
    print("noise", x)
    return [fib(x), Pair(1, Point(2).x), {"a": None}, math.pi, "ü", y]
"""
    outcomes = sandbox.run(code, "f", [[50], [3, 4]], walls=walls)
    assert [outcome.kind for outcome in outcomes] == ["value", "value"], outcomes
    assert outcomes[0].value == [12586269025, [1, 2], {"a": None}, 3.141592653589793, "ü", 1]
    assert outcomes[1].value == [2, [1, 2], {"a": None}, 3.141592653589793, "ü", 4]


def test_this_machine_has_walls():
    """Where this fails, code runs behind the audit hook alone: `isolation` says so."""
    means = sandbox.isolation()
    assert set(means) == {"network", "files", "processes"}
    if sys.platform == "linux" and os.geteuid() == 0:
        assert means == {"network": "namespace", "files": "root", "processes": "limit"}


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("def f(x):\n    while True: pass", "late"),
        ("import time\ndef f(x):\n    time.sleep(60)", "late"),
        ("import re\ndef f(x): return bool(re.match('(a|aa)+$', 'a' * 60 + 'b'))", "late"),
        ("while True: pass\ndef f(x): return 1", "late"),
        ("def f(x): return 10 ** 10 ** 10", "late"),
        ("import signal\ndef f(x):\n    signal.alarm(0)\n    while True: pass", "late"),
        ("def f(x): return f(x)", "raised"),
        ("def f(x): return len(bytearray(10 ** 10))", "raised"),
        ("def f(x): return {1, 2}", "raised"),
        ("def f(x): return float('nan')", "raised"),
        ("def f(x): return 'a' * 2_000_000", "ended"),
        ("def f(x)\n    return 1", "raised"),
        ("def g(x): return 1", "raised"),
        ("f = 3", "raised"),
        ("def f(x): raise BaseException('x' * 10 ** 7)", "raised"),
        ("def f(x): return input()", "raised"),
        ("def f(x):\n    a = []\n    for _ in range(10 ** 5): a = [a]\n    return a", "raised"),
        ("(" * 50_000, "raised"),
        ("x = 1\n" * 30_000, "raised"),  # defines no f
        ("x" * 1_000_000, "raised"),
    ],
)
def test_what_is_no_value(code, kind):
    started = time.monotonic()
    outcome = one(code, 1, seconds=0.7 if kind == "late" else 10.0)
    assert outcome.kind in (kind, "ended"), outcome
    assert kind == "ended" or outcome.kind == kind or code.startswith("(")
    assert time.monotonic() - started < 60  # seconds, where the machine is busy


def test_memory_is_limited():
    """Filling it takes a busy machine more time than other tests have."""
    code = "def f(x):\n    a = []\n    while True: a.append('x' * 10 ** 6 + str(len(a)))"
    assert one(code, 1, seconds=60).kind in ("raised", "ended")


@pytest.mark.parametrize("code", LEAVING)
def test_leaving_is_no_answer(code):
    assert one(code, 1).kind in ("ended", "raised")


@WALLS
def test_refused(walls):
    """The code is told so, each time; nothing of it goes through, nor ends the process."""
    calls = [[code] for code in REFUSED.values()]
    outcomes = sandbox.run("def f(code): exec(code, {})", "f", calls, walls=walls)
    kinds = {name: outcome.kind for name, outcome in zip(REFUSED, outcomes, strict=True)}
    assert kinds == dict.fromkeys(REFUSED, "raised"), outcomes
    assert not Path("/tmp/sandbox_was_here").exists()


def test_threads_are_refused_by_the_limit():
    if sandbox.isolation()["processes"] != "limit":
        pytest.skip("this machine does not limit processes")
    assert one("import _thread\ndef f(x): _thread.start_new_thread(print, ())", 1).kind == "raised"


@WALLS
def test_the_environment_is_empty(walls, monkeypatch):
    monkeypatch.setenv("A_SECRET", "1")
    code = "import os, sys\ndef f(x): return [dict(os.environ), sys.argv[1:2]]"
    environment, _ = one(code, 1, walls=walls).value
    assert environment == {}


def test_nothing_of_what_is_expected_is_there():
    """All that the process can reach, its frames and modules, holds only what was sent to it."""
    code = """
import sys
def f(x):
    seen, frame = [], sys._getframe()
    while frame:
        seen.append(repr(frame.f_locals) + repr(frame.f_globals))
        frame = frame.f_back
    for module in list(sys.modules.values()):
        seen.append(repr(getattr(module, "__dict__", "")))
    return [len(seen) > 10, any("7319" + "0246" in text for text in seen)]
"""
    assert one(code, 5).value == [True, False]


@pytest.mark.parametrize("code", FORGERIES)
def test_a_verdict_cannot_be_forged(code):
    """What arrives is JSON that is compared elsewhere; equal to everything is nothing."""
    code = code if "def f" in code else code + "\ndef f(x): return 0"
    outcome = one(code, 1)
    assert outcome.kind in ("raised", "ended") or outcome.value == 0
    assert type(outcome.value) in (int, type(None))


def test_frames_that_the_code_writes_itself_do_no_harm():
    code = """
import os, struct
def f(x):
    for fd in range(3, 16):
        try:
            os.write(fd, b"\\xff\\xff\\xff\\xff" + b"x" * 1000)
        except OSError:
            pass
    return 1
"""
    assert one(code, 1).kind == "ended"


def test_waiting_for_a_processor_is_no_time_of_the_code(monkeypatch):
    """Code that is done after 2 s, of which it waited 1.9 s, is not late at a limit of 0.5 s."""
    sleeping = "import time\ndef f(x):\n    time.sleep(2.0)\n    return x"
    assert one(sleeping, 1, seconds=0.5).kind == "late"
    began = time.monotonic()
    with monkeypatch.context() as patch:
        patch.setattr(sandbox, "queued_children", lambda pid: 0.95 * (time.monotonic() - began))
        assert one(sleeping, 1, seconds=0.5).value == 1


def test_code_that_gets_no_processor_is_an_error_and_not_a_zero(monkeypatch):
    began = time.monotonic()
    monkeypatch.setattr(sandbox, "queued_children", lambda pid: 0.99 * (time.monotonic() - began))
    with pytest.raises(VerifierFailed, match="too busy"):
        one("def f(x):\n    while True: pass", 1, seconds=0.1)


def test_waiting_for_a_processor_is_seen():
    """Three that spin on one processor wait for it; that is measured, not guessed."""
    if not hasattr(os, "sched_setaffinity") or not Path("/proc/self/schedstat").exists():
        pytest.skip("this system does not tell")
    spin = "import os\nos.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\nwhile True: pass"
    spinning = [subprocess.Popen([sys.executable, "-c", spin]) for _ in range(3)]
    try:
        before, until = sandbox.queued_children(os.getpid()), time.monotonic() + 30
        # Starting Python takes its time.
        while sandbox.queued_children(os.getpid()) - before <= 0.5:
            assert time.monotonic() < until
            time.sleep(0.05)
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def test_the_rest_is_skipped_after_a_late_call():
    outcomes = sandbox.run(
        "def f(x):\n    while x == 2: pass\n    return x", "f", [[1], [2], [3], [4]], seconds=2.0
    )
    assert [outcome.kind for outcome in outcomes] == ["value", "late", "skipped", "skipped"]


def test_all_calls_together_have_a_limit():
    started = time.monotonic()
    code = "import time\ndef f(x): time.sleep(0.3)"
    outcomes = sandbox.run(code, "f", [[n] for n in range(20)], seconds=5.0, total_seconds=2.0)
    assert outcomes[0].kind == "value"
    assert outcomes[-1].kind == "skipped"
    assert time.monotonic() - started < 20


def test_a_sandbox_that_cannot_start_is_an_error_and_not_a_zero(monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/no/such/python")
        with pytest.raises(VerifierFailed, match="could be started"):
            one("def f(x): return 1", 1)
    broken = tmp_path / "child.py"
    broken.write_text("raise RuntimeError\n")
    monkeypatch.setattr(sandbox, "CHILD", broken)
    with pytest.raises(VerifierFailed, match="did not start"):
        one("def f(x): return 1", 1)


def test_it_runs_in_any_thread_and_side_by_side():
    assert threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGALRM)
    with ThreadPoolExecutor(6) as threads:
        codes = [f"def f(x): return x + {n}" for n in range(12)]
        assert [o.value for o in threads.map(lambda c: one(c, 1), codes)] == list(range(1, 13))

    async def run():
        return await asyncio.to_thread(one, "def f(x): return x", 7)

    assert asyncio.run(run()).value == 7
    assert signal.getsignal(signal.SIGALRM) is before


def test_nothing_is_left_behind(monkeypatch, tmp_path):
    """No process and no folder, also of code that leaves its process group."""
    monkeypatch.setattr(sandbox.tempfile, "tempdir", str(tmp_path))
    tested = set()
    for code in ("import os\nos.setsid()\n", "import posix\nposix.setsid()\n", ""):
        one(code + "def f(x):\n    while True: pass", 1, seconds=0.3)
        tested.add(code)
    assert list(tmp_path.iterdir()) == []
    names = (path.parent / "cmdline" for path in Path("/proc").glob("[0-9]*/stat"))
    assert not any(str(tmp_path).encode() in _read(name) for name in names)


def test_no_folder_is_left_of_a_sandbox_that_did_not_start(monkeypatch, tmp_path):
    monkeypatch.setattr(sandbox.tempfile, "tempdir", str(tmp_path))

    def interrupt(*_):
        raise KeyboardInterrupt

    for owner, name, value, expected in (
        (sys, "executable", "/no/such/python", VerifierFailed),
        (sandbox, "CHILD", tmp_path / "none.py", VerifierFailed),
        (sandbox.WorkerProcess, "receive", interrupt, KeyboardInterrupt),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, value)
            with pytest.raises(expected):
                one("def f(x): return 1", 1)
        assert list(tmp_path.iterdir()) == [], name


def _read(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""
