"""Computes teachers' features once: python -m cogvit_jax.cache_features --config=configs/stage1.py

Every teacher of the config whose `cache` names a folder sees every record of `config.data.train`
once; its features go there, and a run of the same config reads them instead of running the teacher.
They belong to whole pictures, so the config needs crop_scale (1.0, 1.0) and no flips. 256 patches
of a 1,152-wide teacher are 590 KB per picture.
"""

import dataclasses
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from absl import app, logging
from jax.sharding import Mesh
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cogvit_jax import commands, settings, sharding
from cogvit_jax.config_flag import CONFIG
from cogvit_jax.data import feature_cache
from cogvit_jax.data.mixture import open_mixture
from cogvit_jax.data.pictures import View, look
from cogvit_jax.data.records import CorruptRecord, Source
from cogvit_jax.data.transforms import decode_image
from cogvit_jax.programs import EXPECTED_ERRORS, stage1, teachers
from cogvit_jax.programs.teachers import Taught


def cache_features(config: Any, console: Console) -> dict[str, int]:
    """Writes the caches that a config names; returns how many pictures each holds.

    Raises:
        ConfigError: no teacher has a cache, pictures are cropped or flipped, or the program is
            another one.
        FileNotFoundError: a teacher's weights or a source are not there.
    """
    if config.program != "stage1":
        raise settings.ConfigError(
            f"config.program = {config.program!r} has no teachers: give a config of 'stage1'."
        )
    taught = teachers.read(config)
    stage1.make_example(config, taught)  # refuses random crops
    wanted = [dataclasses.replace(t, cache=None) for t in taught if t.cache]
    if not wanted:
        raise settings.ConfigError(
            "no teacher has a cache: set config.teachers.<name>.cache to a folder."
        )
    mesh_settings = settings.read(sharding.MeshSettings, config.mesh, "config.mesh")
    mesh = sharding.make_mesh(mesh_settings)
    frozen = teachers.load(tuple(wanted), config, mesh, console)
    sources, _ = open_mixture(config.data.train, "config.data.train")
    counts = {}
    for one in wanted:
        counts[one.name] = sum(
            _write(one, frozen[one.name], source, number, config.data.global_batch, mesh, console)
            for number, source in enumerate(sources)
        )
        feature_cache.finish(one.config.cache, stage1.cache_meta(config, one))
    return counts


def _write(
    one: Taught,
    params: Any,
    source: Source,
    number: int,
    batch_size: int,
    mesh: Mesh,
    console: Console,
) -> int:
    """One source's file; returns how many of its pictures could be used."""
    size = -(-batch_size // sharding.num_batch_shards(mesh)) * sharding.num_batch_shards(mesh)
    features = jax.jit(one.model.features)
    used = 0

    def batches(advance: Callable[[int], None]) -> Iterator[list[np.ndarray | None]]:
        nonlocal used
        for patches, usable in read_batches(source, one.view, size):
            found = features(params, sharding.put_batch(mesh, patches))
            rows = sharding.to_host(found).astype(feature_cache.DTYPE)
            yield [rows[i] if good else None for i, good in enumerate(usable)]
            used += sum(usable)
            advance(len(usable))

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task(f"{one.name}: {source.name}", total=len(source.records))
        steps = batches(lambda n: bar.advance(task, n))
        feature_cache.write_source(one.config.cache, number, steps)
    return used


def read_batches(source: Source, view: View, size: int) -> Iterator[tuple[np.ndarray, list[bool]]]:
    """(patches `[size, n, 3 p p]`, which records they are of) of a source, in order.

    Behind the last record stand empty pictures, which the second item leaves out.
    """
    empty = np.zeros((view.side**2, 3 * view.patch_size**2), np.uint8)
    for start in range(0, len(source.records), size):
        rows, usable = [], []
        for index in range(start, min(start + size, len(source.records))):
            try:
                image = decode_image(source.records[index].image, min_side=view.image_size)
                rows.append(look(image, view))
                usable.append(True)
            except CorruptRecord as error:
                logging.warning("record skipped: %s [%d]: %s", source.name, index, error)
                rows.append(empty)
                usable.append(False)
        yield np.stack(rows + [empty] * (size - len(rows))), usable


def main(argv: list[str]) -> None:
    """Entry point under absl."""
    if len(argv) > 1:
        raise app.UsageError(f"unknown argument {argv[1]!r}; fields are set as --config.a.b=value")
    console = Console()
    if jax.process_count() > 1:
        sys.exit("error: run this command on one host; several runs may read what it writes.")
    try:
        for name, count in cache_features(CONFIG.value, console).items():
            console.print(f"{name}: features of {count} pictures written.")
    except EXPECTED_ERRORS as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    commands.run(main, required=("config",))
