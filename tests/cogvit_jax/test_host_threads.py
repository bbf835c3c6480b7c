"""Virtual devices get threads enough for collectives that run at the same time."""

import os
import subprocess
import sys

import pytest

CODE = """
from cogvit_jax.host_threads import room_for_collectives
room_for_collectives()
import contextlib, os, sys, time, jax
jax.numpy.ones(8).block_until_ready()
least, until, found = int(sys.argv[1]), time.monotonic() + 30, 0
while found < least and time.monotonic() < until:  # a thread names itself, when it gets to run
    tasks = os.listdir("/proc/self/task")
    with contextlib.suppress(OSError):  # of a thread that has just ended
        names = [open(f"/proc/self/task/{t}/comm").read().strip() for t in tasks]
        found = names.count("tf_XLAEigen")
    time.sleep(0.01)
print(found)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="threads are counted in /proc")
@pytest.mark.parametrize(("num_devices", "least"), [(4, 32), (1, 1)])
def test_xla_starts_as_many_threads(num_devices, least):
    flags = f"--xla_force_host_platform_device_count={num_devices}"
    env = {k: v for k, v in os.environ.items() if k != "PJRT_NPROC"} | {"XLA_FLAGS": flags}
    command = [sys.executable, "-c", CODE, str(least)]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    found = int(done.stdout)
    assert found >= least
    assert num_devices > 1 or found <= (os.cpu_count() or 1)
