"""Limits on the work that something may cost."""

import contextlib
import gc
import time
from collections.abc import Iterator


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """What is inside must take less of this process's processor time.

    Other programs do not lengthen it, and the garbage of earlier tests waits until it is over:
    looking through all that a worker of the whole suite holds takes seconds.
    """
    gc.disable()
    started = time.process_time()
    try:
        yield
        took = time.process_time() - started
    finally:
        gc.enable()
    assert took < seconds
