"""The thread that owns the engine: requests of all connections share its rows.

Between two steps it takes what has come in, so that a new request joins those in progress at the
next step.
"""

import queue
import threading
from collections.abc import Callable

from mmtp.generate import Completion, Engine, Request

Listener = Callable[[Completion | Exception], None]
Job = Callable[[], None]


class Worker:
    """Runs an engine; listeners are called on its thread with every step's completion so far."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.failure: Exception | None = None
        self._jobs: queue.Queue[Job | None] = queue.Queue()
        self._listeners: dict[int, tuple[Request, Listener]] = {}
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def submit(self, request: Request, listener: Listener) -> None:
        """Queues a request that `Engine.check` accepts."""
        self._jobs.put(lambda: self._add(request, listener))

    def cancel(self, request: Request) -> None:
        """Drops a request; harmless when it is done."""
        self._jobs.put(lambda: self._drop(request))

    def close(self) -> None:
        """Ends the thread after the step in progress."""
        self._jobs.put(None)
        self._thread.join()

    @property
    def num_requests(self) -> int:
        """Requests that wait or are in progress."""
        return len(self._listeners)

    def _add(self, request: Request, listener: Listener) -> None:
        self._listeners[id(request)] = request, listener
        if self.failure:
            raise self.failure
        self.engine.add(request)

    def _drop(self, request: Request) -> None:
        if self._listeners.pop(id(request), None):
            self.engine.cancel(request)

    def _run(self) -> None:
        while True:
            try:
                if not self._take_jobs():
                    return
                if self._working:
                    self._step()
            except Exception as error:
                # The state was given away to the step that failed: nothing can go on from it.
                self.failure = error
                for _, listener in self._listeners.values():
                    listener(error)
                self._listeners = {}

    def _take_jobs(self) -> bool:
        """Does what has come in, waiting for it only where nothing is in progress."""
        while not (self._working and self._jobs.empty()):
            job = self._jobs.get()
            if job is None:
                return False
            job()
        return True

    @property
    def _working(self) -> bool:
        return self.failure is None and self.engine.busy

    def _step(self) -> None:
        for request, completion in self.engine.advance(max_steps=1):
            _, listener = self._listeners[id(request)]
            if completion.finish_reason:
                del self._listeners[id(request)]
            listener(completion)
