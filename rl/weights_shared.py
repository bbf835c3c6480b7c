"""Publishing from all processes of a trainer to one store, each its own shards.

`rl.weights.Publisher` writes a process's part. Here process 0 is given a result when all parts are
there, and learns of another process that could not write its own: that one would be waiting for
process 0, and engines for it.
"""

from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from rl.lead import Lead, describe
from rl.weights import Published, Publisher, WeightSettings
from rl.weights_load import Subscriber
from rl.weights_store import Store

ASK_SECONDS = 1.0  # between two looks for complaints
LAST_SECONDS = 10.0  # for the last version at the end


class PublishingFailed(RuntimeError):
    """Another process could not write its part of a version; says why."""


class SharedPublisher:
    """A `Publisher` of each process; used as one, and closed at the end.

    Args:
        store: that all processes write to and engines read from.
        settings: `config.weights`.
        lead: who gives the results to engines.
    """

    def __init__(self, store: Store, settings: WeightSettings, lead: Lead) -> None:
        self._own, self._lead = Publisher(store, settings), lead
        self._seen = Subscriber(store)
        self._waiting = ThreadPoolExecutor(1, "weights-complete")
        self._last: Future[Published] | None = None

    def publish(self, version: int, params: Any) -> Future[Published]:
        """`Publisher.publish`; on process 0 the result is there when all parts of the version are.

        It raises what went wrong, `PublishingFailed` where that was on another process.
        """
        written = self._own.publish(version, params)
        if not self._lead.several:
            return written
        if self._lead.first:
            self._last = self._waiting.submit(self._complete, version, written)
            return self._last
        written.add_done_callback(self._tell)
        return written

    def close(self) -> None:
        """Waits for what is being written, and a while for the others' parts of it."""
        self._own.close()
        if self._last is not None:
            futures.wait([self._last], LAST_SECONDS)
        self._seen.close()
        self._waiting.shutdown()

    def _tell(self, written: Future[Published]) -> None:
        if problem := written.exception():
            self._lead.complain(f"publishing weights: {describe(problem)}")

    def _complete(self, version: int, written: Future[Published]) -> Published:
        published = written.result()
        while True:
            try:
                self._seen.wait(version, ASK_SECONDS)
                return published
            except TimeoutError:
                if self._seen.closed.is_set():
                    raise
                if problem := self._lead.complaint():
                    raise PublishingFailed(problem) from None
