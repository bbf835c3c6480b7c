"""Rollouts by servers that run already (vLLM, SGLang): their engines, and weights as files.

A version of the policy is a folder of safetensors in GLM-OCR's format, written in a thread beside
the training; a server reads it when it is told to, so both must see the folder.
"""

import asyncio
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import jax

from cogvit_jax.interop.files import WeightsError
from cogvit_jax.settings import ConfigError
from mmtp.data.records import Text, Video
from mmtp.interop.glm_save import require_expressible, save_glm
from rl.envs import CATEGORIES, make_task
from rl.executors.settings import ExecutorSettings
from rl.programs.rl_settings import Read
from rl.rollout import server
from rl.rollout.dialects import DIALECTS
from rl.rollout.protocol import EngineDied
from rl.rollout.server import ServerEngine, ServerSettings

PAUSE = 1.0  # seconds between two tries to reach a server


class Folders:
    """A publisher whose versions are folders; made and used by the trainer's thread.

    Args:
        found: the run's settings.
        root: of the folders; those of earlier versions there are removed.

    Raises:
        ConfigError: the format has no form for this model.
    """

    def __init__(self, found: Read, root: Path) -> None:
        try:
            require_expressible(found.model)
        except WeightsError as problem:
            raise ConfigError(f"config.executor.kind = 'servers': {problem}") from problem
        self._found, self._root = found, root
        # A server may still be reading the version that it is behind the trainer by.
        self._keep = max(found.weights.keep, found.rollout.max_staleness + 2)
        self._thread = ThreadPoolExecutor(1, "publish-folders")
        root.mkdir(parents=True, exist_ok=True)
        self._remove(0)

    def publish(self, version: int, params: Any) -> Future[str]:
        """Copies parameters to the host, and gives the folder that they are being written to."""
        return self._thread.submit(self._write, version, jax.device_get(params))

    def close(self) -> None:
        """Waits for what is being written, and removes all versions."""
        self._thread.shutdown()
        self._remove(0)

    def _remove(self, keep: int) -> None:
        """All versions but the newest ones; nothing else that is there."""
        versions = sorted(self._root.glob("[0-9]" * 8))
        for folder in versions[: len(versions) - keep]:
            shutil.rmtree(folder, ignore_errors=True)

    def _write(self, version: int, params: Any) -> str:
        folder = self._root / f"{version:08d}"
        save_glm(
            folder,
            self._found.model,
            params,
            self._found.config.data.tokenizer,
            dtype=self._found.weights.dtype,
        )
        self._remove(self._keep)
        return str(folder)


def settings_of(settings: ExecutorSettings, number: int) -> ServerSettings:
    """Of one of the servers."""
    return ServerSettings(
        settings.servers[number],
        settings.dialect,
        settings.model,
        settings.logprobs,
        settings.hang_seconds,
    )


def check_servers(settings: ExecutorSettings, sources: Sequence[str]) -> None:
    """Raises ConfigError: a field of `config.executor`, or a category that servers would refuse."""
    for number in range(len(settings.servers)):
        server.check(settings_of(settings, number), "config.executor")
    dialect = DIALECTS[settings.dialect]
    for name in sources:
        parts = make_task(CATEGORIES[name], 0).observation.parts
        video = any(isinstance(part, Video) for part in parts)
        if video or (not dialect.pictures and any(not isinstance(p, Text) for p in parts)):
            shown = "clips" if video else "pictures"
            raise ConfigError(
                f"config.executor.dialect = {settings.dialect!r}: such servers take no {shown} "
                f"beside token ids, and {name} has some. Choose config.tasks.categories without, "
                "or another config.executor.kind."
            )


async def make_server(
    settings: ExecutorSettings, number: int, version: int, folder: Future[str]
) -> ServerEngine:
    """An engine in front of a server, which has been given these weights.

    Raises:
        EngineDied: it does not take them, or could not be reached for `hang_seconds`, in which a
            server that was started again should be up.
    """
    engine = ServerEngine(settings_of(settings, number), -1)
    until = time.monotonic() + settings.hang_seconds
    try:
        while engine.version < version:
            try:
                await engine.publish(version, folder)
            except EngineDied as problem:
                unreachable = isinstance(problem.__cause__, httpx.TransportError)
                if not unreachable or time.monotonic() + PAUSE > until:
                    raise
                await asyncio.sleep(PAUSE)
    except BaseException:
        await engine.close()
        raise
    return engine
