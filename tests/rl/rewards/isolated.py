"""What the tests of `rl.rewards.isolate` call in workers; also run as a program that is killed."""

import os
import re
import sys
import threading
import time
from pathlib import Path

from rl.types import Unverifiable


def echo(value):
    return value


def pid():
    return os.getpid()


def spin():
    while True:
        pass


def sleep(seconds):
    time.sleep(seconds)
    return "slept"


def slow_match():
    return bool(re.fullmatch("(a|aa)+$", "a" * 60 + "b"))  # holds the interpreter's lock


def crash():
    os._exit(3)


def leave():
    sys.exit(0)


def raises(message):
    raise ValueError(message)


def abstains(message):
    raise Unverifiable(message)


def not_json():
    return {1, 2}


def not_a_number():
    return float("nan")


def garbage():
    """Writes into every pipe that the worker has."""
    for fd in range(3, 20):
        try:
            os.write(fd, b'\x00\x00\x00\x20{"id": 1, "kind": "value", "value": 1}')
        except OSError:
            continue
    return "honest"


def prints():
    print("x" * 1_000_000)
    print(sys.stdin.read())
    return "printed"


def memory(size):
    return len(bytearray(size))


def forks():
    """A child that would outlive us."""
    child = os.fork()
    if not child:
        time.sleep(60)
        os._exit(0)
    return child


def forks_and_hangs(path):
    with open(path, "w") as file:
        file.write(str(forks()))
    spin()


def tells_and_hangs(path):
    """Makes a file, so that others know that the call is under way."""
    Path(path).touch()
    time.sleep(600)


def waits_for(path):
    """Until somebody makes the file."""
    while not Path(path).exists():
        time.sleep(0.01)
    return "made"


def jax_is_here():
    return "jax" in sys.modules


def modules():
    return len(sys.modules)


def gone(pid, seconds=30.0):
    """Whether a process ends in time; a zombie has ended."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state in "ZX":
            return True
        time.sleep(0.02)
    return False


def children(pid):
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


if __name__ == "__main__":
    from rl.rewards import isolate

    isolate.pool().warm("tests.rl.rewards.isolated:echo", workers=2)
    mine = isolate.call("tests.rl.rewards.isolated:pid", seconds=60)
    hung = sys.argv[1]
    work = threading.Thread(
        target=lambda: isolate.call(f"tests.rl.rewards.isolated:{hung}", *sys.argv[2:], seconds=60)
    )
    work.daemon = True
    work.start()
    print(mine, flush=True)
    time.sleep(60)
