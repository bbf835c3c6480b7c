"""Several processes that train as one: joining them, and ending clearly when one is lost.

A process whose peer died hears of it in one of two ways: a collective fails, which is an exception
here, or heartbeats stop, upon which JAX's C++ runtime aborts this process. Both end with the same
lines on stderr and a status other than 0.
"""

import contextlib
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from typing import Any

import jax
from absl import flags

# JAX shows its service's store nowhere else; Orbax's barriers reach it in the same way.
from jax._src import distributed

from cogvit_jax.settings import ConfigError

DISTRIBUTED = flags.DEFINE_bool(
    "distributed",
    False,
    "Join the other processes first. TPU pods, Slurm and GKE tell the rest; elsewhere give "
    "--coordinator, --num_processes and --process_id.",
)
COORDINATOR = flags.DEFINE_string("coordinator", None, "host:port of process 0.")
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many processes there are.")
PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.")
HEARTBEAT_TIMEOUT = flags.DEFINE_integer(
    "heartbeat_timeout",
    100,
    "Seconds of silence after which a process counts as lost and the others end.",
    lower_bound=1,
)

PREEMPTED = "RECEIVED_PREEMPTION_NOTICE"  # where JAX's preemption service notes it for all
ENDED_SECONDS = 10.0  # that process 0 waits for the others to say why they end

# Prints its argument when its stdin closes without a line: a process that is aborted by C++ code
# or killed cannot say anything itself. Signals that end the group leave it alone.
_LAST_WORDS = 'trap "" TERM INT HUP; read -r _ || printf "%s\\n" "$0" >&2'


def join() -> None:
    """Joins the other processes where --distributed is given; call it before any other JAX code.

    Raises:
        ConfigError: it cannot be told who they are, or they could not be reached.
    """
    if not DISTRIBUTED.value:
        return
    try:
        jax.distributed.initialize(
            COORDINATOR.value,
            NUM_PROCESSES.value,
            PROCESS_ID.value,
            heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT.value,
        )
    except (ValueError, RuntimeError) as error:
        raise ConfigError(
            f"--distributed: {str(error).splitlines()[0]} Outside TPU pods, Slurm and GKE give "
            "--coordinator=HOST:PORT, --num_processes and --process_id on every host, and let the "
            "hosts reach that port."
        ) from error


def key_value_client() -> Any:
    """Of the store that all processes share; None in a process that has not joined others."""
    return distributed.global_state.client


def preempted() -> bool:
    """Whether one of several processes was sent SIGTERM: all will stop, at a step they agree on.

    For waiting that should end at once; never so where another JAX keeps the notice elsewhere.
    """
    store = key_value_client()
    if store is None:
        return False
    try:
        return bool(store.key_value_try_get(PREEMPTED))
    except jax.errors.JaxRuntimeError:
        return False


@contextlib.contextmanager
def end_together() -> Iterator[None]:
    """Within, a process that fails, or that loses another, ends soon and says what to do.

    It ends without the shutdown barrier at which it would wait for the others; they learn of it
    within --heartbeat_timeout. Only process 0 waits a little, see `_leave`.
    """
    if jax.process_count() == 1:
        yield
        return
    watcher = subprocess.Popen(
        ["/bin/sh", "-c", _LAST_WORDS, _lost_message()], stdin=subprocess.PIPE, text=True
    )
    try:
        yield
    except BaseException as error:
        sys.stdout.flush()
        _explain(error)
        watcher.communicate("said\n")
        try:
            # One that was lost will say nothing; asking a service that is gone would abort this.
            if not isinstance(error, jax.errors.JaxRuntimeError):
                _leave()
        finally:
            os._exit(1)
    watcher.communicate("done\n")


def _explain(error: BaseException) -> None:
    if isinstance(error, SystemExit):
        print(error.code, file=sys.stderr)
    else:
        traceback.print_exception(error)
        lost = isinstance(error, jax.errors.JaxRuntimeError)
        said = _lost_message(str(error).splitlines()[0]) if lost else f"error: {_who()} failed."
        print(said, file=sys.stderr)
    sys.stderr.flush()


def _leave() -> None:
    """Lets the others say what ended them: JAX's service lives in process 0, and they with it."""
    store, others = key_value_client(), jax.process_count() - 1
    if store is None:
        return
    deadline = time.monotonic() + ENDED_SECONDS
    with contextlib.suppress(jax.errors.JaxRuntimeError):
        if jax.process_index():
            store.key_value_set(f"ended/{jax.process_index()}", "")
            return
        while len(store.key_value_dir_get("ended/")) < others and time.monotonic() < deadline:
            time.sleep(0.05)


def _who() -> str:
    return f"process {jax.process_index()} of {jax.process_count()}"


def _lost_message(reason: str = "aborted or killed, as printed above") -> str:
    return (
        f"error: {_who()} ended ({reason}). Most likely another process was lost: preempted, out "
        "of memory, or silent for longer than --heartbeat_timeout = "
        f"{HEARTBEAT_TIMEOUT.value} s; the first error in the logs of all processes tells. "
        "Complete checkpoints are safe: run the same command on all hosts to go on."
    )
