"""Workers that are killed: limits, crashes, mix-ups, delays of others, and orphans."""

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
    assert 0.3 <= time.monotonic() - started < 20  # seconds, where the machine is busy
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
        pool.call(f"{HERE}:forks_and_hangs", str(tmp_path / "pid"), seconds=3.0)
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


def test_waiting_for_a_processor_is_no_time_of_the_call(pool, monkeypatch):
    began = time.monotonic()
    with monkeypatch.context() as patch:
        patch.setattr(isolate, "queued", lambda pids: 0.9 * (time.monotonic() - began))
        assert pool.call(f"{HERE}:sleep", 1.0, seconds=0.5) == "slept"
    monkeypatch.setattr(isolate, "queued", lambda pids: 0.99 * (time.monotonic() - began))
    with pytest.raises(VerifierFailed, match="too busy to run"):
        pool.call(f"{HERE}:sleep", 600, seconds=0.1)


def hang(pool, path):
    """A thread whose call hangs in a worker, and the list of what it raises."""
    raised = []

    def call():
        try:
            pool.call(f"{HERE}:tells_and_hangs", str(path), seconds=100.0)
        except VerifierFailed as problem:
            raised.append(str(problem))

    hung = threading.Thread(target=call)
    hung.start()
    until = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < until
        time.sleep(0.005)
    return hung, raised


def test_one_hung_call_delays_no_other(tmp_path):
    """Others are served meanwhile, by workers that were there already."""
    pool = isolate.Pool(max_workers=4)
    try:
        pool.warm(f"{HERE}:echo", workers=4)
        ready = {worker.pid for worker in pool._idle}
        hung, _ = hang(pool, tmp_path / "hung")
        served = {pool.call(f"{HERE}:pid", seconds=30.0) for _ in range(30)}
        assert hung.is_alive()
    finally:
        pool.close()
    assert served <= ready
    hung.join(60)
    assert not hung.is_alive()


def test_there_are_never_more_workers_than_said():
    """Twelve threads want one each, from the start of the first worker on."""
    pool, seen = isolate.Pool(max_workers=3), set()

    def one(_):
        seen.add(pool.call(f"{HERE}:pid", seconds=30.0))
        pool.call(f"{HERE}:sleep", 0.02, seconds=30.0)

    until = time.monotonic() + 60
    try:
        with ThreadPoolExecutor(12) as threads:
            while len(seen) < 3 and time.monotonic() < until:  # starting Python takes its time
                list(threads.map(one, range(36)))
            list(threads.map(one, range(36)))
    finally:
        pool.close()
    assert len(seen) == 3
    assert all(gone(pid) for pid in seen)


def test_calls_of_an_event_loop_run_side_by_side(pool, tmp_path):
    """Were the loop blocked by a call, nobody would make the file that it waits for."""
    file = tmp_path / "made"

    async def run():
        waiting = asyncio.create_task(pool.acall(f"{HERE}:waits_for", str(file), seconds=30.0))
        killed = asyncio.create_task(pool.acall(f"{HERE}:sleep", 600, seconds=0.3))
        echoed = asyncio.gather(*(pool.acall(f"{HERE}:echo", n, seconds=30.0) for n in range(20)))
        for _ in range(20):
            await asyncio.sleep(0.01)
        assert await echoed == list(range(20))
        with pytest.raises(VerifierFailed, match="killed after"):
            await killed
        file.touch()
        assert await waiting == "made"

    asyncio.run(run())


def test_closing_ends_calls_in_flight(tmp_path):
    pool = isolate.Pool(max_workers=2)
    pool.warm(f"{HERE}:echo", workers=1)
    hung, raised = hang(pool, tmp_path / "hung")
    pool.close()
    hung.join(60)
    assert "process ended" in raised[0]
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
        parent.wait(60)
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
