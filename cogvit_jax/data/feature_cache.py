"""Teachers' features, computed once and kept in ArrayRecord files, one per source.

A folder holds `meta.json` and, for source number k, `k.array_record`: record i is the features
`[m, d]` of the source's record i as bfloat16, or nothing where that record cannot be used. Features
belong to whole pictures: with random crops every epoch has others.
"""

import dataclasses
import functools
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordWriter

from cogvit_jax.data.records import CorruptRecord
from cogvit_jax.settings import ConfigError

DTYPE = np.dtype(ml_dtypes.bfloat16)
META = "meta.json"


@dataclasses.dataclass(frozen=True)
class FeatureCache:
    """Features of one teacher; picklable.

    Attributes:
        folder: where they are.
        shape: (m, d) of one picture's.
    """

    folder: str
    shape: tuple[int, int]
    dtype: np.dtype = DTYPE

    def read(self, source: int, index: int) -> np.ndarray:
        """`[m, d]` of a record; CorruptRecord where there are none or they are damaged."""
        try:
            data = _open(str(file_of(self.folder, source)))[index]
        except (RuntimeError, IndexError) as error:
            raise CorruptRecord(f"features {self.folder} [{source}, {index}]: {error}") from error
        if len(data) != self.shape[0] * self.shape[1] * self.dtype.itemsize:
            raise CorruptRecord(
                f"features {self.folder} [{source}, {index}]: {len(data)} bytes, expected "
                f"{self.shape} of {self.dtype}"
            )
        return np.frombuffer(data, self.dtype).reshape(self.shape)


def open_cache(folder: str, expected: dict[str, Any], field: str) -> FeatureCache:
    """Opens a cache that was written for the same teacher, pictures and sources.

    Args:
        folder: of the cache.
        expected: the `meta.json` that it must have.
        field: of the config that names the folder.

    Raises:
        FileNotFoundError: it has not been written (whole).
        ConfigError: it was written for something else; names what differs.
    """
    path = Path(folder) / META
    if not path.exists():
        raise FileNotFoundError(
            f"{field} = {folder!r} holds no finished cache: write it with python -m "
            "cogvit_jax.cache_features --config=… and the same fields."
        )
    found = json.loads(path.read_text())
    wanted = json.loads(json.dumps(expected))
    differ = [k for k in sorted(found | wanted) if found.get(k) != wanted.get(k)]
    if differ:
        lines = (f"{k}: cache {found.get(k)}, config {wanted.get(k)}" for k in differ)
        raise ConfigError(
            f"{field} = {folder!r} belongs to another run: {'; '.join(lines)}. Restore the fields, "
            "or write a cache into another folder."
        )
    return FeatureCache(folder, (found["shape"][0], found["shape"][1]))


def write_source(folder: str, source: int, batches: Iterable[Sequence[np.ndarray | None]]) -> None:
    """Writes one source's features, in order of its records; None where one cannot be used.

    The file appears under its name only once it is whole.
    """
    path = file_of(folder, source)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = f"{path}.partial"
    writer = ArrayRecordWriter(partial, "group_size:1")
    try:
        for batch in batches:
            for features in batch:
                writer.write(b"" if features is None else features.astype(DTYPE).tobytes())
    finally:
        writer.close()
    os.replace(partial, path)


def finish(folder: str, meta: dict[str, Any]) -> None:
    """Marks a cache as whole."""
    partial = Path(folder) / f"{META}.partial"
    partial.write_text(json.dumps(meta, indent=1))
    os.replace(partial, Path(folder) / META)


def file_of(folder: str, source: int) -> Path:
    """Where the features of source number `source` are."""
    return Path(folder) / f"{source}.array_record"


@functools.lru_cache(maxsize=64)
def _open(path: str) -> ArrayRecordDataSource:
    """One reader per file and process."""
    return ArrayRecordDataSource([path])
