"""ArrayRecord files of msgpack records with the pictures inside: the fastest to read at random.

array_record:/data/train-*.array_record
"""

import glob
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordWriter

from cogvit_jax.data.records import CorruptRecord, Source
from mmtp.data.formats import from_fields, to_fields
from mmtp.data.records import Document


@dataclass(frozen=True)
class ArrayRecords:
    """The records of several files; `name` as the user wrote it."""

    source: ArrayRecordDataSource
    name: str

    def __len__(self) -> int:
        """Number of records in all files."""
        return len(self.source)

    def place(self, index: int) -> str:
        """Files and number of a record."""
        return f"{self.name}[{index}]"

    def __getitem__(self, index: int) -> Document:
        """Reads one record; CorruptRecord where its bytes or fields are damaged."""
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} has {len(self)} records; asked for {index}")
        try:
            fields = msgpack.unpackb(self.source[index])
        # RuntimeError: the file's own checksums.
        except (ValueError, RuntimeError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise CorruptRecord(f"{self.place(index)}: the record is damaged: {reason}") from error
        return from_fields(fields, _embedded, self.place(index))


def open_array_record(rest: str) -> Source:
    """Opens files given by path or glob, in sorted order.

    Raises:
        FileNotFoundError: nothing matches.
        ValueError: a file is not a whole ArrayRecord file.
    """
    paths = sorted(glob.glob(os.path.expanduser(rest)))
    if not paths:
        raise FileNotFoundError(f"array_record:{rest}: no such file")
    for path in paths:
        try:
            len(ArrayRecordDataSource([path]))
        except RuntimeError as error:
            raise ValueError(
                f"{path} is not a whole ArrayRecord file (unfinished copy?): {error}"
            ) from error
    records: Any = ArrayRecords(ArrayRecordDataSource(paths), f"array_record:{rest}")
    return Source(f"array_record:{rest}", records, flippable=False)


def write_array_record(path: str | Path, documents: Iterable[Document]) -> int:
    """Writes one file; returns how many documents.

    The file appears under its name only once it is whole.
    """
    partial = f"{path}.partial"
    # One record per group: reading one must not decompress its neighbours.
    writer = ArrayRecordWriter(partial, "group_size:1")
    count = 0
    try:
        for document in documents:
            writer.write(msgpack.packb(to_fields(document, _embedded)))
            count += 1
    finally:
        writer.close()
    os.replace(partial, path)
    return count


def _embedded(picture: Any) -> bytes:
    if not isinstance(picture, bytes):
        raise CorruptRecord(f"a picture is a {type(picture).__name__}, not an encoded file")
    return picture
