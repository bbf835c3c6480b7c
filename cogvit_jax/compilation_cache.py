"""Compiled code kept on disk, so that a second start does not compile again."""

import hashlib
import os
import platform
from pathlib import Path

import jax
from absl import flags, logging
from etils import epath

MIN_COMPILE_SECONDS = 0.5  # what compiles faster is not kept

FLAG = flags.DEFINE_string(
    "compilation_cache",
    None,
    "Folder in which compiled code is kept for the next start, or 'off'. By default "
    "$JAX_COMPILATION_CACHE_DIR; else, where --workdir is remote (gs://), its folder xla, which "
    "all hosts read; else ~/.cache/cogvit_jax/xla. It may be deleted at any time. Let nobody "
    "write there whom you would not let run code as you.",
)


def enable(choice: str | None, workdir: str) -> str:
    """Switches JAX's persistent cache on; returns its folder, "" where there is none.

    Call it after `jax.distributed.initialize` and before the first compilation.

    Args:
        choice: a folder, "off", or None for the default that the flag describes.
        workdir: of the run.
    """
    if choice == "off":
        jax.config.update("jax_enable_compilation_cache", False)
        return ""
    chosen = choice or os.environ.get("JAX_COMPILATION_CACHE_DIR") or default_folder(workdir)
    folder = epath.Path(chosen).expanduser() if "://" not in chosen else epath.Path(chosen)
    if jax.default_backend() == "cpu":
        folder = folder / f"cpu-{machine()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        logging.warning("no compilation cache: %s is not writable (%s).", folder, error)
        return ""
    jax.config.update("jax_compilation_cache_dir", str(folder))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", MIN_COMPILE_SECONDS)
    return str(folder)


def default_folder(workdir: str) -> str:
    """Only process 0 writes, so a cache for many hosts must be where all of them read."""
    return f"{workdir.rstrip('/')}/xla" if "://" in workdir else "~/.cache/cogvit_jax/xla"


def machine() -> str:
    """Eight hex digits that differ where compiled CPU code may not run.

    XLA compiles for the very processor it runs on, and a home folder may be shared by many kinds.
    """
    features = [platform.machine(), platform.processor()]
    info = Path("/proc/cpuinfo")
    if info.exists():
        wanted = ("model name", "flags", "Features")
        lines = [x for x in info.read_text("utf-8").splitlines() if x.startswith(wanted)]
        features += sorted(set(lines))
    return hashlib.sha256("\n".join(features).encode()).hexdigest()[:8]
