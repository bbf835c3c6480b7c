"""Rollout engines and rewards where `config.executor` says, and the weights' way to them."""

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from cogvit_jax import compilation_cache
from cogvit_jax.settings import choose
from mmtp.generate import Engine
from mmtp.run import one_device
from rl.executors import inprocess, processes, ray_cluster
from rl.executors.actors import Executor
from rl.executors.keep import Patience
from rl.executors.settings import ExecutorSettings
from rl.lead import ALONE, Lead
from rl.programs.rl_servers import Folders, check_servers, make_server
from rl.programs.rl_settings import Read
from rl.rewards.remote import RemoteRewards
from rl.rewards.reward_settings import read, recipe_of
from rl.rewards.system import RewardSystem
from rl.rollout.local import LocalEngine
from rl.rollout.pool import EnginePool
from rl.rollout.protocol import RolloutEngine
from rl.rollout.worker import RemoteEngine, Where
from rl.store import FOLDER
from rl.types import Rollout, Verdict
from rl.weights import Published
from rl.weights_shared import SharedPublisher
from rl.weights_store import Store, folder_store, memory_store
from rl.weights_tcp import serve

EXECUTORS: dict[str, Callable[[ExecutorSettings], Executor]] = {
    "inprocess": inprocess.executor,
    "processes": processes.executor,
    "ray": ray_cluster.executor,
    "servers": inprocess.executor,  # of rewards; the servers run already
}


class Engines:
    """What a run needs of other processes, or of this one in their place."""

    def __init__(self, found: Read, lead: Lead = ALONE) -> None:
        """Starts nothing yet."""
        self._found, self._settings, self._lead = found, found.executor, lead
        self._near = found.executor.kind == "inprocess"
        self._patience = Patience(self._settings.restarts, self._settings.backoff_seconds)
        self._closing = contextlib.ExitStack()
        self._publisher: SharedPublisher | Folders | None = None
        self._rewards: RewardSystem | RemoteRewards | None = None
        self._pool: EnginePool | None = None

    def open(self, sources: Any) -> None:
        """Joins or starts what executes; on the trainer's thread, before all else.

        Args:
            sources: data-source tags of the run.

        Raises:
            ConfigError: that cannot be, or a tag has no recipe.
        """
        options = read(self._found.config.rewards, "config.rewards")
        for source in sources:
            recipe_of(options, source)
        kind = self._settings.kind
        self._executor = choose(EXECUTORS, kind, "config.executor.kind")(self._settings)
        if kind == "servers":
            check_servers(self._settings, sources)
            self._publisher = Folders(self._found, self._folder)
        elif not self._near:
            self._publisher = SharedPublisher(self._open_store(), self._found.weights, self._lead)

    def publish(self, version: int, params: Any) -> Any:
        """Gives what engines take; on the trainer's thread, for its next step may donate these.

        All processes call it, after the first one has called `open`, and it alone uses the result.
        """
        if self._near:
            return to_engine(self._found, params)
        if self._publisher is None:
            store = folder_store(self._folder)
            self._publisher = SharedPublisher(store, self._found.weights, self._lead)
        return self._publisher.publish(version, params)

    def leave(self) -> None:
        """Ends what `publish` uses, in a process that has not called `open`."""
        self._close_store()

    def pool(self, version: int, given: Any) -> EnginePool:
        """The engines, which are being started; on the driver's event loop.

        Args:
            version: of the policy.
            given: what `publish` gave for it.
        """
        make, num = self._make_remote, self._settings.engines
        if self._near:
            make = self._make_local
        elif self._settings.servers:
            make, num = partial(make_server, self._settings), len(self._settings.servers)
        arrived = None if self._near else _arrived
        self._pool = EnginePool(num, make, version, given, self._patience, arrived)
        return self._pool

    async def score(self, rollout: Rollout) -> Verdict:
        """The reward of a rollout."""
        if self._rewards is None:
            num, options = self._settings.rewards, self._found.config.rewards
            self._rewards = (
                RemoteRewards(num, self._start_rewards, self._patience)
                if num
                else RewardSystem(read(options, "config.rewards"))
            )
        return await self._rewards.score(rollout)

    async def close(self) -> None:
        """Ends all but the engines, which whoever has the pool closes first."""
        if self._rewards is not None:
            await self._rewards.close()
        await self._executor.close()
        await asyncio.to_thread(self._close_store)

    def _open_store(self) -> Store:
        """Empty: versions of an earlier run, or of steps that are done again, are not ours."""
        if self._settings.transport == "tcp":
            store, address = memory_store(), self._executor.address()
            host, port = self._closing.enter_context(serve(store, address))
            self._where = Where(host=host, port=port)
            return store
        self._where = Where(folder=str(self._folder))
        store = folder_store(self._folder)
        _clear(store)
        self._closing.callback(_clear, store)
        return store

    @property
    def _folder(self) -> Path:
        default = Path(self._found.workdir).absolute() / FOLDER / "weights"
        return Path(self._settings.folder or default)

    def _close_store(self) -> None:
        if self._publisher is not None:
            self._publisher.close()
        self._closing.close()

    async def _make_local(self, number: int, version: int, params: Any) -> RolloutEngine:
        """They share the devices' time, and the copy of the weights."""
        return make_engine(self._found, version, params)

    async def _make_remote(
        self, number: int, version: int, given: Future[Published]
    ) -> RolloutEngine:
        arguments = {
            "config": self._found.config.to_dict(),
            "where": self._where,
            "version": version,
            "cache": compilation_cache.FLAG.value,
            "workdir": self._found.workdir,
        }
        name, factory = f"rollout engine {number}", "rl.programs.rl_worker:make"
        actor = await self._executor.start(name, factory, arguments, number)
        try:
            has, _ = await actor.call("stats")
        except BaseException:
            await asyncio.gather(actor.close(), return_exceptions=True)
            raise
        return RemoteEngine(actor, has, self._settings.stall_seconds)

    def _start_rewards(self, number: int) -> Awaitable[Any]:
        section = self._found.config.rewards.to_dict()
        name, factory = f"reward process {number}", "rl.rewards.worker:make"
        return self._executor.start(name, factory, {"section": section}, number)


def make_engine(found: Read, version: int, params: Any) -> LocalEngine:
    """A rollout engine on this process's first device."""
    engine = Engine(found.engine_model, params, found.engine_settings, version)
    return LocalEngine(engine, found.local)


def to_engine(found: Read, params: Any) -> Any:
    """A copy of parameters where the engine is; the training step gives its own away.

    All processes call it together; the first one gets the copy, the others None in its place.
    """
    target = NamedSharding(one_device(), PartitionSpec())
    if jax.process_count() == 1:
        return jax.device_put(_copied(params), target)
    return jax.tree.map(functools.partial(_gather, target), params)


@jax.jit
def _copied(params: Any) -> Any:
    """In one call, whose results share no memory with what they are of (device_put may)."""
    return jax.tree.map(jnp.copy, params)


def _gather(target: NamedSharding, array: jax.Array) -> jax.Array | None:
    """The whole of an array that several processes have parts of, as a copy."""
    assert isinstance(array.sharding, NamedSharding)
    whole = _replicated(NamedSharding(array.sharding.mesh, PartitionSpec()))(array)
    if jax.process_index():
        return None
    (device,) = target.device_set
    (found,) = (shard.data for shard in whole.addressable_shards if shard.device == device)
    return jax.make_array_from_single_device_arrays(array.shape, target, [found])


@functools.cache
def _replicated(placed: NamedSharding) -> Callable[[jax.Array], jax.Array]:
    return jax.jit(jnp.copy, out_shardings=placed)


async def _arrived(written: Future[Any]) -> None:
    await asyncio.shield(asyncio.wrap_future(written))


def _clear(store: Store) -> None:
    for version in store.versions():
        store.delete(version)
