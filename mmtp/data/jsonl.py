"""JSON lines with pictures as files beside them: `jsonl:/data/train.jsonl`.

One record a line; paths of pictures are relative to the folder of the file.
"""

import functools
import glob
import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cogvit_jax.data.records import CorruptRecord, Source
from mmtp.data.formats import ending, from_fields, to_fields
from mmtp.data.records import Document

_CHUNK = 1 << 24


@dataclass(frozen=True)
class JsonLines:
    """The lines of several files, read by position: no file stays open, so it pickles.

    Attributes:
        paths: the files.
        lines: for each line that is not blank: file, line from 1, first byte, number of bytes.
    """

    paths: tuple[str, ...]
    lines: np.ndarray

    def __len__(self) -> int:
        """Number of records in all files."""
        return len(self.lines)

    def place(self, index: int) -> str:
        """File and line of a record."""
        return f"{self.paths[self.lines[index, 0]]}:{self.lines[index, 1]}"

    def __getitem__(self, index: int) -> Document:
        """Reads one record and its pictures; CorruptRecord where they are damaged."""
        path, place = self.paths[self.lines[index, 0]], self.place(index)
        start, size = (int(n) for n in self.lines[index, 2:])
        with open(path, "rb") as file:
            file.seek(start)
            line = file.read(size)
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise CorruptRecord(f"{place}: the line is not JSON: {error}") from error
        return from_fields(fields, functools.partial(_read, Path(path).parent), place)


def open_jsonl(rest: str) -> Source:
    """Opens files given by path or glob, in sorted order.

    Raises:
        FileNotFoundError: nothing matches.
    """
    paths = sorted(glob.glob(os.path.expanduser(rest)))
    if not paths:
        raise FileNotFoundError(f"jsonl:{rest}: no such file")
    lines = [(number, *line) for number, path in enumerate(paths) for line in _lines(path)]
    records: Any = JsonLines(tuple(paths), np.array(lines, np.int64).reshape(-1, 4))
    return Source(f"jsonl:{rest}", records, flippable=False)


def write_jsonl(path: str | Path, documents: Iterable[Document]) -> int:
    """Writes one file, and the pictures below `<its name>_pictures`; returns how many documents.

    Pictures are named by their content. The file appears under its name only once it is whole.
    """
    path = Path(path)
    folder = path.with_name(f"{path.stem}_pictures")
    partial = path.with_name(f"{path.name}.partial")
    count = 0
    with open(partial, "w", encoding="utf-8") as file:
        for document in documents:
            fields = to_fields(document, functools.partial(_store, folder))
            file.write(json.dumps(fields, ensure_ascii=False) + "\n")
            count += 1
    os.replace(partial, path)
    return count


def _lines(path: str) -> list[tuple[int, int, int]]:
    """(line from 1, first byte, number of bytes) of every line that is not blank."""
    found, place = [], 0
    with open(path, "rb", buffering=_CHUNK) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                found.append((number, place, len(line)))
            place += len(line)
    return found


def _read(folder: Path, reference: str) -> bytes:
    return (folder / reference).read_bytes()


def _store(folder: Path, picture: bytes) -> str:
    name = hashlib.sha256(picture).hexdigest()[:24]
    file = folder / name[:2] / f"{name}.{ending(picture)}"
    if not file.exists() or file.stat().st_size != len(picture):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(picture)
    return file.relative_to(folder.parent).as_posix()
