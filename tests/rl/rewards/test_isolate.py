"""Workers that are killed: limits, crashes, mix-ups, delays of others, and orphans."""

import asyncio
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rl.rewards import isolate
from rl.rewards.isolate_process import start_worker
from rl.types import Unverifiable, VerifierFailed
from tests.rl.rewards.isolated import children, gone

HERE = "tests.rl.rewards.isolated"
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def pool():
    pool = isolate.Pool(max_workers=6, memory=1 << 30)
    pool.warm(f"{HERE}:echo")
    yield pool
    pool.close()


@pytest.mark.parametrize("value", [None, 1, "ä\ud800", [1, {"a": [2.5, None]}], "x" * 3_000_000])
def test_json_goes_there_and_back(pool, value):
    assert pool.call(f"{HERE}:echo", value, seconds=20.0) == value


@pytest.mark.parametrize("hung", ["spin", "slow_match"])
def test_a_hung_call_is_killed_in_time(pool, hung):
    started = time.monotonic()
    with pytest.raises(VerifierFailed, match="killed after"):
        pool.call(f"{HERE}:{hung}", seconds=0.3)
    assert 0.3 <= time.monotonic() - started < 2.0
    assert pool.call(f"{HERE}:echo", "still there", seconds=20.0) == "still there"


@pytest.mark.parametrize(
    ("name", "args", "said"),
    [
        ("crash", (), "process ended"),
        ("leave", (), "SystemExit"),
        ("raises", ("a reason",), "ValueError: a reason"),
        ("not_json", (), "TypeError"),
        ("not_a_number", (), "ValueError"),
        ("memory", (4 << 30,), "MemoryError"),
        ("nothing_of_that_name", (), "AttributeError"),
    ],
)
def test_what_goes_wrong_is_no_value(pool, name, args, said):
    with pytest.raises(VerifierFailed, match=said):
        pool.call(f"{HERE}:{name}", *args, seconds=20.0)
    assert pool.call(f"{HERE}:echo", 1, seconds=20.0) == 1


def test_a_module_that_is_not_there(pool):
    with pytest.raises(VerifierFailed, match="ModuleNotFoundError"):
        pool.call("rl.rewards.no_such_module:f")


def test_a_verifier_in_a_worker_may_abstain(pool):
    with pytest.raises(Unverifiable, match=r"^cannot tell$"):
        pool.call(f"{HERE}:abstains", "cannot tell", seconds=20.0)


def test_bytes_that_are_written_into_the_pipes_are_nobodys_answer(pool):
    with pytest.raises(VerifierFailed):
        pool.call(f"{HERE}:garbage", seconds=20.0)
    assert pool.call(f"{HERE}:echo", "mine", seconds=20.0) == "mine"


def test_printing_and_reading_do_no_harm(pool):
    assert pool.call(f"{HERE}:prints", seconds=20.0) == "printed"


@pytest.mark.parametrize("arguments", [("echo",), (f"{HERE}:echo", float("nan"))])
def test_calls_that_make_no_sense(pool, arguments):
    with pytest.raises(ValueError, match=r"must be|JSON compliant"):
        pool.call(*arguments)
    with pytest.raises(ValueError, match="seconds = 0"):
        pool.call(f"{HERE}:echo", 1, seconds=0)


def test_children_of_a_killed_call_die_with_it(pool, tmp_path):
    with pytest.raises(VerifierFailed):
        pool.call(f"{HERE}:forks_and_hangs", str(tmp_path / "pid"), seconds=0.7)
    assert gone(int((tmp_path / "pid").read_text()))


def test_a_worker_that_died_idle_is_replaced_unseen(pool):
    pid = pool.call(f"{HERE}:pid", seconds=20.0)
    os.kill(pid, signal.SIGKILL)
    assert gone(pid)
    assert pool.call(f"{HERE}:echo", 5, seconds=20.0) == 5


def test_answers_are_never_mixed_up(pool):
    """Forty threads, a third of whose calls are killed in the middle of the answer."""

    def one(number):
        if number % 3 == 0:
            with pytest.raises(VerifierFailed):
                pool.call(f"{HERE}:sleep", 30, seconds=0.001 + number % 5 / 1000)
            return number
        return pool.call(f"{HERE}:echo", number, seconds=30.0)

    with ThreadPoolExecutor(20) as threads:
        assert list(threads.map(one, range(120))) == list(range(120))


def test_one_hung_call_delays_no_other():
    """Of 30 calls beside a hung one, the slowest takes at most 50 ms more than without it."""
    pool = isolate.Pool(max_workers=4)
    pool.warm(f"{HERE}:echo", workers=3)

    def longest():
        times = []
        for number in range(30):
            started = time.perf_counter()
            pool.call(f"{HERE}:echo", number, seconds=30.0)
            times.append(time.perf_counter() - started)
        return max(times), statistics.median(times)

    def hang():
        with pytest.raises(VerifierFailed):
            pool.call(f"{HERE}:sleep", 30, seconds=1.5)

    delays = []
    try:
        for _ in range(4):  # the machine may be busy with something else
            alone, _ = longest()
            hung = threading.Thread(target=hang)
            hung.start()
            time.sleep(0.05)
            beside, typical = longest()
            assert hung.is_alive()
            hung.join()
            delays.append(beside - alone)
            if delays[-1] < 0.05:
                break
    finally:
        pool.close()
    print(f"slowest of 30 beside a hung call: {1000 * beside:.1f} ms, median {1000 * typical:.2f}")
    assert min(delays) < 0.05, delays


def test_there_are_never_more_workers_than_said():
    pool, seen = isolate.Pool(max_workers=3), set()
    running, most, lock = 0, 0, threading.Lock()

    def one(_):
        nonlocal running, most
        seen.add(pool.call(f"{HERE}:pid", seconds=30.0))
        with lock:
            running += 1
            most = max(most, running)
        pool.call(f"{HERE}:sleep", 0.02, seconds=30.0)
        with lock:
            running -= 1

    try:
        with ThreadPoolExecutor(12) as threads:
            list(threads.map(one, range(36)))
    finally:
        pool.close()
    assert 1 < len(seen) <= 3
    assert all(gone(pid) for pid in seen)


def test_calls_of_an_event_loop_run_side_by_side(pool):
    async def run():
        started = time.monotonic()
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.create_task(tick())
        got = await asyncio.gather(
            *(pool.acall(f"{HERE}:echo", n, seconds=30.0) for n in range(20)),
            pool.acall(f"{HERE}:sleep", 30, seconds=0.3),
            return_exceptions=True,
        )
        ticking.cancel()
        assert got[:20] == list(range(20))
        assert isinstance(got[20], VerifierFailed)
        assert time.monotonic() - started < 5
        assert ticks > 10

    asyncio.run(run())


def test_closing_ends_calls_in_flight():
    pool = isolate.Pool(max_workers=2)
    pool.warm(f"{HERE}:echo", workers=1)
    raised = []

    def hang():
        with pytest.raises(VerifierFailed) as problem:
            pool.call(f"{HERE}:sleep", 30, seconds=30)
        raised.append(problem)

    hung = threading.Thread(target=hang)
    hung.start()
    time.sleep(0.2)
    pool.close()
    hung.join(5)
    assert raised
    with pytest.raises(VerifierFailed, match="closed"):
        pool.call(f"{HERE}:echo", 1)
    pool.close()


def test_a_pool_that_cannot_start_says_so(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    pool = isolate.Pool(max_workers=2)
    with pytest.raises(VerifierFailed, match="could be started"):
        pool.call(f"{HERE}:echo", 1)


@pytest.mark.parametrize("hung", ["spin", "sleep"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_the_parent(hung, how):
    """Also the one that is in the middle of a call, whatever kills the parent."""
    program = [sys.executable, "-m", HERE, hung, *(["60"] if hung == "sleep" else [])]
    parent = subprocess.Popen(program, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert parent.stdout is not None
    with parent, parent.stdout:
        int(parent.stdout.readline())
        time.sleep(0.3)
        workers = children(parent.pid)
        assert len(workers) >= 2
        parent.send_signal(how)
        parent.wait(10)
    assert all(gone(pid) for pid in workers)


def test_workers_are_light_and_know_no_jax():
    worker = start_worker(memory=0)
    try:
        worker.prepare("tests.rl.rewards.isolated", 1, 60.0)
    finally:
        worker.kill()
    pool = isolate.Pool(max_workers=1)
    try:
        assert pool.call(f"{HERE}:jax_is_here", seconds=30.0) is False
    finally:
        pool.close()


def test_a_forked_child_has_a_pool_of_its_own():
    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork")
    program = (
        "import os\n"
        "from rl.rewards import isolate\n"
        f"mine = isolate.call('{HERE}:pid', seconds=60.0)\n"
        "child = os.fork()\n"
        f"other = isolate.call('{HERE}:pid', seconds=60.0)\n"
        "isolate.close()\n"
        "assert child or other != mine\n"
        "if child:\n"
        "    assert os.waitpid(child, 0)[1] == 0\n"
        "print('fine')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "fine" in done.stdout


def test_the_module_s_own_pool():
    assert isolate.call(f"{HERE}:echo", [1], seconds=60.0) == [1]
    assert asyncio.run(isolate.acall(f"{HERE}:echo", [2], seconds=60.0)) == [2]
    isolate.close()
    assert isolate.call(f"{HERE}:echo", [3], seconds=60.0) == [3]
    isolate.close()
