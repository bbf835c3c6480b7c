"""ArrayRecord files of msgpack records with the pictures inside: the fastest to read at random.

array_record:/data/train-*.array_record
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
from array_record.python.array_record_data_source import ArrayRecordDataSource

from cogvit_jax.data.array_records import open_files, write_packed
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
    files, _ = open_files(rest)
    records: Any = ArrayRecords(files, f"array_record:{rest}")
    return Source(f"array_record:{rest}", records, flippable=False)


def write_array_record(path: str | Path, documents: Iterable[Document]) -> int:
    """Writes one file; returns how many documents."""
    packed = (msgpack.packb(to_fields(document, _embedded)) for document in documents)
    return write_packed(path, packed)  # type: ignore[arg-type]  # packb is typed loosely


def _embedded(picture: Any) -> bytes:
    if not isinstance(picture, bytes):
        raise CorruptRecord(f"a picture is a {type(picture).__name__}, not an encoded file")
    return picture
