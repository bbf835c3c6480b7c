"""A rollout engine in a process of its own, built from the trainer's config."""

import contextlib
from typing import Any

from jax.sharding import NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from cogvit_jax import compilation_cache
from mmtp.generate import Engine
from mmtp.run import one_device
from rl.programs.rl_settings import read
from rl.rollout.local import LocalEngine
from rl.rollout.worker import EngineWorker, Where, load, opened
from rl.weights_load import Subscriber


async def make(
    config: dict[str, Any], where: Where, version: int, cache: str | None, workdir: str
) -> EngineWorker:
    """What works in the engine's process (`rl.executors.actors`), on its first device.

    Args:
        config: of the run, as plain dicts.
        where: published weights are read.
        version: to begin with, or a newer one.
        cache: of compiled programs, as the trainer's flag says.
        workdir: of the run.
    """
    compilation_cache.enable(cache, workdir)
    mesh = one_device()
    found = read(ConfigDict(config), mesh, "")
    placed = NamedSharding(mesh, PartitionSpec())
    with contextlib.ExitStack() as stack:
        subscriber = Subscriber(stack.enter_context(opened(where)))
        loaded = load(subscriber, version, placed)
        engine = Engine(found.engine_model, loaded.params, found.engine_settings, loaded.version)
        local = LocalEngine(engine, found.local)
        return EngineWorker(local, subscriber, placed, stack.pop_all())
