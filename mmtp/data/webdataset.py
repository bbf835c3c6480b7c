"""WebDataset shards: tar files whose members 17.json, 17.0.png, 17.1.jpg are one record.

    webdataset:/data/train-{000..127}.tar      webdataset:/data/*.tar

In the JSON, a picture is named by what stands behind the key: "0.png". Shards are local or mounted,
and not compressed. Opening reads every header once.
"""

import io
import itertools
import json
import os
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cogvit_jax.data import webdataset as shards
from cogvit_jax.data.records import CorruptRecord, Source
from mmtp.data.formats import ending, from_fields, to_fields
from mmtp.data.records import Document

_JSON = "json"


@dataclass(frozen=True)
class Sample:
    """Where the parts of a record lie; `fault`: why it cannot be read, "" where it can."""

    shard: str
    key: str
    parts: Mapping[str, shards.Span]
    fault: str = ""


@dataclass(frozen=True)
class WebDataset:
    """The records of all shards, read by position: no file stays open, so it pickles."""

    samples: tuple[Sample, ...]

    def __len__(self) -> int:
        """Number of records in all shards."""
        return len(self.samples)

    def place(self, index: int) -> str:
        """Shard and key of a record."""
        return f"{self.samples[index].shard}/{self.samples[index].key}"

    def __getitem__(self, index: int) -> Document:
        """Reads one record; CorruptRecord where its parts are damaged or missing."""
        sample, place = self.samples[index], self.place(index)
        if sample.fault:
            raise CorruptRecord(f"{place}: {sample.fault}")
        with open(sample.shard, "rb") as file:

            def load(extension: str) -> bytes:
                if extension not in sample.parts:
                    raise CorruptRecord(f"the shard has no member {sample.key}.{extension}")
                span = sample.parts[extension]
                file.seek(span.start)
                if len(data := file.read(span.size)) < span.size:
                    raise CorruptRecord(f"the shard ends within {sample.key}.{extension}")
                return data

            try:
                fields = json.loads(load(_JSON))
            except CorruptRecord as error:
                raise CorruptRecord(f"{place}: {error}") from error
            except (ValueError, RecursionError) as error:
                raise CorruptRecord(f"{place}: the JSON is damaged: {error}") from error
            return from_fields(fields, load, place)


def open_webdataset(rest: str) -> Source:
    """Opens shards given by path, braces or glob.

    What is missing from a truncated shard is a record that raises CorruptRecord when it is read.

    Raises:
        FileNotFoundError: a shard is missing, or the glob matches nothing.
        ValueError: a shard is not an uncompressed tar.
    """
    patterns = shards.expand_braces(rest)
    paths = [path for pattern in patterns for path in shards.existing(pattern)]
    records: Any = WebDataset(tuple(itertools.chain.from_iterable(map(_index, paths))))
    return Source(f"webdataset:{rest}", records, flippable=False)


def write_webdataset(path: str | Path, documents: Iterable[Document]) -> int:
    """Writes one shard; returns how many documents.

    The file appears under its name only once it is whole, and is the same for the same documents.
    """
    partial = f"{path}.partial"
    count = 0
    with tarfile.open(partial, "w", format=tarfile.USTAR_FORMAT) as tar:
        for count, document in enumerate(documents, 1):
            pictures: dict[str, bytes] = {}

            def store(picture: bytes, pictures: dict[str, bytes] = pictures) -> str:
                name = f"{len(pictures)}.{ending(picture)}"
                pictures[name] = picture
                return name

            fields = to_fields(document, store)
            members = {_JSON: json.dumps(fields, ensure_ascii=False).encode(), **pictures}
            for extension, content in members.items():
                member = tarfile.TarInfo(f"{count - 1:09d}.{extension}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    os.replace(partial, path)
    return count


def _index(shard: str) -> list[Sample]:
    """The records of a shard in order, and one more with the fault if it is truncated."""
    groups: dict[str, dict[str, shards.Span]] = {}
    faults: dict[str, str] = {}
    for name, span in shards.members(shard):
        if span is None:
            faults[""] = "the shard is truncated; what follows is lost"
            continue
        folder, base = os.path.split(name)
        stem, _, extension = base.partition(".")
        key = os.path.join(folder, stem)
        groups.setdefault(key, {})[extension] = span
    for key, parts in groups.items():
        if _JSON not in parts:
            faults.setdefault(key, f"the shard has no member {key}.{_JSON}")
    samples = [Sample(shard, key, parts, faults.get(key, "")) for key, parts in groups.items()]
    return samples + ([Sample(shard, "", {}, faults[""])] if "" in faults else [])
