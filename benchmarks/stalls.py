"""Which tests fail where the machine stands still? Stops their processes again and again.

    python -m benchmarks.stalls [--seed=0] -- python -m pytest -n 2 [-m slow]

Every 0.5 to 3 s, all processes that the command has started, or a random half of them, are stopped
for a moment: 0.2 s in the middle, 2.5 s at most. What was stopped by somebody else before stays so;
what a test stops in that very moment is woken with the others. Ends with the command's status.
Linux only.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

LONGEST = 2.5  # seconds


def main() -> None:
    """Runs the command, and says how often it was stopped."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    process = subprocess.Popen(options.command)
    rng, count = random.Random(options.seed), 0
    while process.poll() is None:
        time.sleep(rng.uniform(0.5, 3.0))
        count += stall(list(descendants(process.pid)), rng)
    print(f"stopped {count} times")
    sys.exit(process.returncode)


def stall(pids: list[int], rng: random.Random) -> bool:
    """Stops some of the processes for a moment; whether there were any."""
    some = pids if rng.random() < 0.3 else rng.sample(pids, (len(pids) + 1) // 2)
    stopped = [pid for pid in some if not is_stopped(pid) and send(pid, signal.SIGSTOP)]
    try:
        time.sleep(min(LONGEST, rng.lognormvariate(-1.5, 0.9)))
    finally:
        for pid in stopped:
            send(pid, signal.SIGCONT)
    return bool(stopped)


def descendants(pid: int) -> Iterator[int]:
    """The processes that a process has started, theirs, and so on; those that are still there."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        found = [int(child) for t in tasks for child in (t / "children").read_text().split()]
    except OSError:  # it has ended
        return
    for child in found:
        yield child
        yield from descendants(child)


def is_stopped(pid: int) -> bool:
    """Whether it was stopped, or has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "TtZX"
    except OSError:
        return True


def send(pid: int, number: signal.Signals) -> bool:
    """Sends a signal; whether the process was there."""
    try:
        os.kill(pid, number)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
