"""What every executor's actors keep; and what only processes can do: die, and hang."""

import asyncio
import dataclasses
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cogvit_jax.settings import ConfigError
from rl.executors import inprocess, processes, ray_cluster
from rl.executors.actors import ActorDied, CallFailed
from rl.executors.settings import ExecutorSettings, check
from tests.rl.executors import fakes

ROOT = Path(__file__).parents[3]
FAKES = "tests.rl.executors.fakes"
SETTINGS = ExecutorSettings(
    hang_seconds=60.0, cpus=0.01, env=(("FAKE", "this is {number}"),), rewards=0
)
BUILDERS = {"inprocess": inprocess.executor, "processes": processes.executor}
# Ray leaves processes of its own to the garbage collector.
OF_RAY = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
FAR = ["processes", pytest.param("ray", marks=[pytest.mark.slow, OF_RAY])]
ALL = ["inprocess", *FAR]


@pytest.fixture(scope="module", autouse=True)
def _one_cluster_for_all():
    yield
    if started := sys.modules.get("ray"):
        started.shutdown()


async def nothing():
    pass


def build(kind, settings=SETTINGS):
    if kind == "ray":
        pytest.importorskip("ray")
        return dataclasses.replace(ray_cluster.executor(settings), close=nothing)
    return BUILDERS[kind](settings)


def run(kind, test, settings=SETTINGS):
    async def whole():
        executor = build(kind, settings)
        try:
            await test(executor)
        finally:
            await executor.close()

    asyncio.run(whole())


@pytest.mark.parametrize("kind", ALL)
def test_calls_values_errors_and_the_end(kind, tmp_path):
    note = tmp_path / "note"

    async def test(executor):
        start = executor.start
        actor = await start("one", f"{FAKES}:make", {"first": 5, "note": str(note)}, 7)
        assert actor.alive()
        assert [await actor.call("add", n) for n in (1, 2)] == [6, 8]
        # Side by side, each answered as it ends.
        calls = [actor.call("later", n, 0.2 if n == 0 else 0.0) for n in range(3)]
        order = [await found for found in asyncio.as_completed(calls)]
        assert sorted(order) == [0, 1, 2]
        assert order[-1] == 0
        array = np.arange(300_000, dtype=np.float32).reshape(3, -1)
        np.testing.assert_array_equal(await actor.call("double", array), 2 * array)
        with pytest.raises(fakes.Refused, match="not today"):
            await actor.call("refuse")
        with pytest.raises(AttributeError):
            await actor.call("missing")
        with pytest.raises(AttributeError):
            await actor.call("_secret")
        assert await actor.call("add", 0) == 8
        other = await start("two", f"{FAKES}:make", {}, 8)
        if kind != "inprocess":
            assert await other.call("variable", "FAKE") == "this is 8"
            assert await other.call("pid") not in (os.getpid(), await actor.call("pid"))
            with pytest.raises(CallFailed, match="this and that"):
                await actor.call("fail_oddly")
        await actor.close()
        assert note.read_text() == "closed"
        assert not actor.alive()
        with pytest.raises(ActorDied, match=r"one .*closed"):
            await actor.call("add", 1)
        # A kill ends what is under way, and nobody else.
        waiting = asyncio.ensure_future(other.call("later", 0, 100.0))
        await asyncio.sleep(0)
        other.kill()
        with pytest.raises(ActorDied, match=r"two .*killed"):
            await waiting
        await other.close()

    run(kind, test)


@pytest.mark.parametrize("kind", ALL)
def test_a_factory_that_fails_tells_why(kind):
    async def test(executor):
        with pytest.raises(fakes.Refused, match="cannot be made"):
            await executor.start("one", f"{FAKES}:refuse", {}, 0)

    run(kind, test)


@pytest.mark.parametrize("kind", FAR)
def test_a_process_that_ends_takes_its_calls_with_it(kind):
    async def test(executor):
        actors = [await executor.start(f"w{n}", f"{FAKES}:make", {}, n) for n in range(2)]
        waiting = [
            asyncio.ensure_future(actor.call("later", n, seconds))
            for n, (actor, seconds) in enumerate(zip(actors, (100.0, 2.0), strict=True))
        ]
        await asyncio.sleep(0.1)
        os.kill(actors[0].pid, signal.SIGKILL)
        with pytest.raises(ActorDied, match="w0"):
            await waiting[0]
        assert not actors[0].alive()
        assert await waiting[1] == 1
        with pytest.raises(ActorDied) as found:
            await actors[1].call("end")
        if kind == "processes":
            assert "status 3" in str(found.value)
            assert "the last words" in str(found.value)
            with pytest.raises(ActorDied, match=r"status 4(.|\n)*no driver"):
                await executor.start("w2", f"{FAKES}:end", {}, 2)
        await asyncio.gather(*(actor.close() for actor in actors))

    run(kind, test)


@pytest.mark.parametrize("kind", FAR)
def test_a_process_that_hangs_is_found_and_killed(kind):
    hasty = ExecutorSettings(hang_seconds=3.0, cpus=0.01)

    async def test(executor):
        actor = await executor.start("w", f"{FAKES}:make", {}, 0)
        # What takes long is no silence.
        assert await actor.call("later", 4, 4.0) == 4
        waiting = asyncio.ensure_future(actor.call("later", 4, 100.0))
        with pytest.raises(ActorDied, match="said nothing"):
            await actor.call("hang")
        with pytest.raises(ActorDied, match="said nothing"):
            await waiting
        await actor.close()

    run(kind, test, hasty)


def test_processes_end_with_who_started_them():
    """Also those that are amid a call, and however it ended."""
    script = (
        "import asyncio, os, sys\n"
        "from rl.executors import processes\n"
        "from rl.executors.settings import ExecutorSettings\n"
        "async def main():\n"
        "    executor = processes.executor(ExecutorSettings())\n"
        f"    actor = await executor.start('w', '{FAKES}:make', {{}}, 0)\n"
        "    asyncio.ensure_future(actor.call('hang'))\n"
        "    await asyncio.sleep(0.1)\n"
        "    print(actor.pid, flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )

    async def whole():
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", script), cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        return int((await process.communicate())[0])

    pid = asyncio.run(whole())
    deadline = time.monotonic() + 30
    while is_running(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_settings_name_what_is_wrong():
    for settings, match in (
        (ExecutorSettings(kind="procesess"), "'procesess'.*processes"),
        (ExecutorSettings(transport="carrier"), "transport"),
        (ExecutorSettings(engines=0), "engines = 0"),
        (ExecutorSettings(hang_seconds=0.0), "hang_seconds"),
        (ExecutorSettings(rewards=2), "rewards = 2.*inprocess"),
    ):
        with pytest.raises(ConfigError, match=match):
            check(settings)
    check(ExecutorSettings(kind="ray", engines=64, rewards=4))


def test_without_ray_the_remedy_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match="pip install 'ray"):
        ray_cluster.executor(SETTINGS)
