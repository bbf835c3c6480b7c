"""One small interface to objects that work elsewhere: an `Executor` starts an `Actor`.

    executor = EXECUTORS["processes"](ExecutorSettings(kind="processes"))
    actor = await executor.start("rewards 0", "rl.rewards.worker:make", {"section": section})
    verdict = await actor.call("score", rollout)

A factory is named, not passed, so that nothing of this process travels but arguments. It makes any
object, on the event loop of the actor's process; its methods, plain or `async`, are called there,
any number at a time. Nothing is started again or asked again behind the caller's back: who has an
actor decides what its end means (`rl.executors.keep`).
"""

import importlib
import inspect
import pickle
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol


class ActorDied(Exception):
    """The actor has ended, or answers no more: what was called is lost."""


class CallFailed(Exception):
    """A method raised what cannot travel; it is told in words."""


class Actor(Protocol):
    """An object that works elsewhere. All methods belong to one event loop."""

    async def call(self, method: str, *args: Any) -> Any:
        """What the object's method gives.

        Raises:
            ActorDied: before the answer came, or before the call.
            Exception: what the method raised.
        """
        ...

    def alive(self) -> bool:
        """Whether it is not known to have ended."""
        ...

    def kill(self) -> None:
        """Ends it at once; what was called raises ActorDied."""
        ...

    async def close(self) -> None:
        """Lets the object's `close` come to its end, if it has one, and ends the actor."""
        ...


@dataclass(frozen=True)
class Executor:
    """Where actors are started.

    Attributes:
        start: (name for messages, "package.module:function", its keyword arguments, number among
            its like) -> the actor, once the factory is done. Raises what the factory raised, or
            ActorDied.
        close: ends what was started for all actors, such as a cluster of this machine.
        address: host at which actors reach a server of this process.
    """

    start: Callable[[str, str, Mapping[str, Any], int], Awaitable[Actor]]
    close: Callable[[], Awaitable[None]]
    address: Callable[[], str]


async def make_object(factory: str, arguments: Mapping[str, Any]) -> Any:
    """Calls a factory by its name "package.module:function"; it may be `async`."""
    module, _, name = factory.partition(":")
    made = getattr(importlib.import_module(module), name)(**arguments)
    return await made if inspect.isawaitable(made) else made


async def call_method(target: Any, method: str, args: tuple[Any, ...]) -> Any:
    """Calls a public method, plain or `async`."""
    if method.startswith("_"):
        raise AttributeError(f"{method} is not a public method")
    found = getattr(target, method)(*args)
    return await found if inspect.isawaitable(found) else found


async def close_object(target: Any) -> None:
    """Calls the object's `close`, if it has one."""
    if hasattr(target, "close"):
        await call_method(target, "close", ())


def portable(error: BaseException) -> Exception:
    """An exception as it can travel: itself with a note of where it was raised, or its words."""
    told = "".join(traceback.format_exception(error))
    if isinstance(error, Exception):
        try:
            copy = pickle.loads(pickle.dumps(error))
        except Exception:
            copy = None
        if copy is not None and type(copy) is type(error):
            copy.add_note(f"in the actor's process:\n{told}")
            return copy
    return CallFailed(told)
