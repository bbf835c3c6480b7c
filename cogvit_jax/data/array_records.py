"""ArrayRecord files: random access to msgpack records, with classes.json beside them.

A record is {"image": bytes, "captions": [str, ...], "label": int, "concept": str, "id": str}; the
last three are optional.
"""

import glob
import io
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import msgpack
import numpy as np
from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image

from cogvit_jax.data.annotations import CLASSES_FILE, captions_of, nonblank, read_classes
from cogvit_jax.data.records import CorruptRecord, Record, Source


@dataclass(frozen=True)
class ArrayRecords:
    """The records of several files; `name` is used for records that have no id."""

    source: ArrayRecordDataSource
    name: str

    def __len__(self) -> int:
        """Number of records in all files."""
        return len(self.source)

    def __getitem__(self, index: int) -> Record:
        """Reads one record; CorruptRecord where its bytes or fields are damaged."""
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} has {len(self)} records; asked for {index}")
        where = f"{self.name}[{index}]"
        try:
            fields = msgpack.unpackb(self.source[index])
            where = str(fields.get("id") or where)
            image, captions = fields["image"], captions_of(fields)
            label, concept = int(fields.get("label", -1)), str(fields.get("concept", ""))
        # RuntimeError: the file's own checksums.
        except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
            raise CorruptRecord(f"{where}: {type(error).__name__}: {error}") from error
        if not isinstance(image, bytes):
            raise CorruptRecord(f"{where}: 'image' is {type(image).__name__}, not an encoded file")
        return Record(where, image, nonblank(captions, where), concept, label)


def open_array_record(rest: str) -> Source:
    """Opens `array_record:` files given by path or glob, in sorted order.

    Raises:
        FileNotFoundError: nothing matches.
        ValueError: a file is not a whole ArrayRecord file.
    """
    files, paths = open_files(rest)
    classes, templates = read_classes(Path(paths[0]).parent)
    records = ArrayRecords(files, f"array_record:{rest}")
    return Source(f"array_record:{rest}", records, classes, templates)


def open_files(rest: str) -> tuple[ArrayRecordDataSource, list[str]]:
    """Files given by path or glob, in sorted order, and their paths; errors as above."""
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
    return ArrayRecordDataSource(paths), paths


def write_array_record(path: str | Path, records: Iterable[Record]) -> int:
    """Writes records to one file, pixels as 8-bit PNG; returns how many."""
    return write_packed(path, map(_packed, records))


def write_packed(path: str | Path, packed: Iterable[bytes]) -> int:
    """Writes one file, which appears under its name only once it is whole; returns how many."""
    partial = f"{path}.partial"
    # One record per group: reading one must not decompress its neighbours.
    writer = ArrayRecordWriter(partial, "group_size:1")
    count = 0
    try:
        for record in packed:
            writer.write(record)
            count += 1
    finally:
        writer.close()
    os.replace(partial, path)
    return count


def write_classes(folder: str | Path, source: Source) -> None:
    """Writes a source's class names and prompts to `classes.json`, if it has any.

    Raises:
        ValueError: the folder has a different one, which its other files depend on.
    """
    existing = read_classes(Path(folder))
    if existing[0] and existing != (dict(source.classes), dict(source.templates)):
        path = Path(folder) / CLASSES_FILE
        raise ValueError(f"{path} holds other classes than {source.name}; use another folder")
    if source.classes:
        content = {"classes": dict(source.classes), "templates": dict(source.templates)}
        text = json.dumps(content, ensure_ascii=False, indent=1)
        (Path(folder) / CLASSES_FILE).write_text(text, "utf-8")


def _packed(record: Record) -> bytes:
    image = record.image
    if isinstance(image, np.ndarray):
        file = io.BytesIO()
        pixels = image if image.dtype == np.uint8 else (image >> 8).astype(np.uint8)
        Image.fromarray(pixels).save(file, "PNG")
        image = file.getvalue()
    fields = {"id": record.id, "image": image, "captions": list(record.captions)}
    if record.label >= 0:
        fields["label"] = record.label
    if record.concept:
        fields["concept"] = record.concept
    return cast(bytes, msgpack.packb(fields))
