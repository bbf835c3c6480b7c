"""Work that process 0 alone does while the trainer's other processes wait for its outcome.

All processes of a trainer run the same steps in the same order. Rollouts (the driver, its engines,
rewards, event log and curriculum) are process 0's alone, and whatever needs them goes through a
`Lead`: process 0 does it, the others wait until it is done, and what it raises stops all of them.

Messages go through the key-value store of JAX's coordination service. A collective would keep the
devices of all processes waiting for rollouts, perhaps for an hour, against the time limits of
collectives; a socket would need an address and an open port. The service is there already, and it
ends every process when one of them is lost. It ends with process 0, which therefore waits until the
others have said why they stop (`cogvit_jax.processes.end_together`).
"""

import contextlib
import itertools
import json
from collections.abc import Callable
from typing import Any

import jax

from cogvit_jax import processes
from cogvit_jax.settings import ConfigError

POLL_MS = 2000  # how long Ctrl-C may wait


class LeadFailed(RuntimeError):
    """Process 0 has stopped the run, or ended it; says why."""


class Lead:
    """All processes make the same calls of `do` and `tell`, in the same order.

    Args:
        client: of the key-value store; None = there is one process, which just does its work.
        process, num_processes: this one's number, and how many there are.
        name: of the keys, another one for each `Lead`.
    """

    def __init__(
        self, client: Any = None, process: int = 0, num_processes: int = 1, name: str = "lead"
    ) -> None:
        self._client, self._process, self._num = client, process, num_processes
        self._name, self._count, self._oldest = name, 0, 1

    @property
    def first(self) -> bool:
        """Whether this is process 0."""
        return self._process == 0

    @property
    def several(self) -> bool:
        """Whether there are others."""
        return self._num > 1

    def do(self, work: Callable[[], Any]) -> Any:
        """What `work` gives on process 0; None on the others, when it is done.

        Raises:
            LeadFailed: on the others, where it raised something.
        """
        return self._call(work, shared=False)

    def tell(self, work: Callable[[], Any]) -> Any:
        """What `work` gives on process 0, on all processes; it is JSON.

        Raises:
            LeadFailed: as in `do`.
        """
        return self._call(work, shared=True)

    def end(self, problem: BaseException | None = None) -> None:
        """On process 0: nothing will come any more; whoever goes on waiting is told so, and why."""
        if self.several and self.first:
            with contextlib.suppress(jax.errors.JaxRuntimeError):
                self._post({"failed": "it has ended" if problem is None else describe(problem)})

    def complain(self, problem: str) -> None:
        """From any process and thread: process 0 will find it in `complaint`."""
        key, text = f"{self._name}/complaint/{self._process}", f"process {self._process}: {problem}"
        self._client.key_value_set(key, text, allow_overwrite=True)

    def complaint(self) -> str:
        """What another process has complained of; "" = nothing."""
        found = self._client.key_value_dir_get(f"{self._name}/complaint/") if self.several else ()
        return "; ".join(text for _, text in found)

    def _call(self, work: Callable[[], Any], shared: bool) -> Any:
        if not self.several:
            return work()
        if not self.first:
            return self._receive()
        try:
            result = work()
        except BaseException as problem:
            self._post({"failed": describe(problem)})
            raise
        self._post({"result": result if shared else None})
        return result

    def _post(self, message: dict[str, Any]) -> None:
        self._count += 1
        self._client.key_value_set(self._key(self._count), json.dumps(message))
        while self._oldest <= min(self._heard(), self._count - 1):
            self._client.key_value_delete(self._key(self._oldest))
            self._oldest += 1

    def _receive(self) -> Any:
        self._count += 1
        text = None
        while text is None:
            try:
                text = self._client.blocking_key_value_get(self._key(self._count), POLL_MS)
            except jax.errors.JaxRuntimeError as error:
                if "DEADLINE_EXCEEDED" not in str(error):
                    raise
        heard = f"{self._name}/heard/{self._process}"
        self._client.key_value_set(heard, str(self._count), allow_overwrite=True)
        message = json.loads(text)
        if "failed" in message:
            raise LeadFailed(
                f"process 0 of {self._num} stopped the run: {message['failed']}. Its own log tells "
                "more."
            )
        return message["result"]

    def _heard(self) -> int:
        """The last message that all others have read."""
        found = self._client.key_value_dir_get(f"{self._name}/heard/")
        return min(int(text) for _, text in found) if len(found) == self._num - 1 else 0

    def _key(self, number: int) -> str:
        return f"{self._name}/told/{number}"


def describe(problem: BaseException) -> str:
    """In one line."""
    return " ".join(f"{type(problem).__name__}: {problem}".split())


ALONE = Lead()
_NUMBERS = itertools.count()


def make_lead() -> Lead:
    """Of this run's processes, which all make theirs at the same place of the program.

    Raises:
        ConfigError: there are several, but they have not joined through JAX's service.
    """
    if jax.process_count() == 1:
        return ALONE
    client = processes.key_value_client()
    if client is None:
        raise ConfigError(
            f"there are {jax.process_count()} processes that have not joined: start all of them "
            "with --distributed."
        )
    return Lead(client, jax.process_index(), jax.process_count(), f"rl/lead{next(_NUMBERS)}")
