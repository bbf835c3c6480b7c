"""WebDataset shards: tar files whose members 0001.jpg, 0001.txt (or 0001.json) form a sample.

    webdataset:/data/train-{000..127}.tar      webdataset:/data/*.tar

A `.txt` holds one caption per line, a `.json` an object with `caption`, `captions` or `text` and,
if wanted, `concept` and `label`; labels need a `classes.json` beside the first shard (see
annotations.py). Shards are local or mounted, and not compressed.

Opening reads every header once (some 50,000 members a second from a local disk); for large sets
convert to ArrayRecord (convert.py), which carries its own index.
"""

import glob
import itertools
import json
import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from absl import logging

from cogvit_jax.data.annotations import captions_of, label_index, nonblank, read_classes
from cogvit_jax.data.records import CorruptRecord, Record, Source

_IMAGES = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "ppm", "pgm")
_CAPTIONS = ("json", "txt")  # the first one that a sample has is used
_BLOCK = 512  # bytes; tar headers and the end-of-archive marker come in these


class Span(NamedTuple):
    """A stretch of a shard, in bytes."""

    start: int
    size: int


class Sample(NamedTuple):
    """Where the parts of a sample lie; `kind` is the caption's extension."""

    shard: str
    key: str
    image: Span
    caption: Span
    kind: str


@dataclass(frozen=True)
class WebDatasetRecords:
    """The samples of all shards, read by position: no file stays open, so it pickles."""

    samples: tuple[Sample, ...]
    names: tuple[str, ...]

    def __len__(self) -> int:
        """Number of complete samples."""
        return len(self.samples)

    def __getitem__(self, index: int) -> Record:
        """Reads one sample; CorruptRecord where its caption or its bytes are unusable."""
        sample = self.samples[index]
        name = f"{sample.shard}/{sample.key}"
        file = os.open(sample.shard, os.O_RDONLY)
        try:
            image, caption = _read(file, sample.image, name), _read(file, sample.caption, name)
        finally:
            os.close(file)
        captions, concept, label = _parse(caption, sample.kind, name)
        label = label_index(label, self.names, name)
        return Record(name, image, nonblank(captions, name), concept, label)


def open_webdataset(rest: str) -> Source:
    """Opens `webdataset:` shards given by path, braces or glob.

    Truncated shards give their complete samples and a warning.

    Raises:
        FileNotFoundError: a shard is missing, or the glob matches nothing.
        ValueError: a shard is not an uncompressed tar.
    """
    paths = [path for pattern in expand_braces(rest) for path in existing(pattern)]
    samples = tuple(itertools.chain.from_iterable(map(_index, paths)))
    classes, templates = read_classes(Path(paths[0]).parent)
    records = WebDatasetRecords(samples, classes.get("en", ()))
    return Source(f"webdataset:{rest}", records, classes, templates)


def expand_braces(pattern: str) -> list[str]:
    """Expands `{000..010}` (inclusive, zeros kept) and `{a,b}`, as a shell does; no nesting."""
    match = re.search(r"\{([^{}]*)\}", pattern)
    if match is None:
        return [pattern]
    numbers = re.fullmatch(r"(\d+)\.\.(\d+)", match[1])
    if numbers:
        first, last = numbers.groups()
        choices = [str(n).zfill(len(first)) for n in range(int(first), int(last) + 1)]
    else:
        choices = match[1].split(",")
    head, tails = pattern[: match.start()], expand_braces(pattern[match.end() :])
    return [head + choice + tail for choice in choices for tail in tails]


def existing(pattern: str) -> list[str]:
    """Files that a path or a glob names."""
    pattern = os.path.expanduser(pattern)
    paths = sorted(glob.glob(pattern)) if glob.has_magic(pattern) else [pattern]
    missing = [path for path in paths if not os.path.isfile(path)]
    if missing or not paths:
        raise FileNotFoundError(f"webdataset: no shard at {missing[0] if missing else pattern}")
    return paths


def _index(shard: str) -> list[Sample]:
    """The complete samples of a shard, in order."""
    groups: dict[str, dict[str, Span]] = {}
    size, cut = os.path.getsize(shard), False
    for name, span in members(shard):
        if span is None or span.start + span.size > size:
            cut = True
            continue
        # As webdataset itself does: the key ends at the first dot of the base name.
        folder, base = os.path.split(name)
        stem, _, extension = base.partition(".")
        groups.setdefault(os.path.join(folder, stem), {})[extension.lower()] = span
    samples = [sample for key, parts in groups.items() if (sample := _sample(shard, key, parts))]
    if cut:
        logging.warning("%s is truncated: using its %d complete samples", shard, len(samples))
    elif len(samples) < len(groups):
        lacking = len(groups) - len(samples)
        logging.warning("%s: %d samples lack a picture or a caption; skipped", shard, lacking)
    return samples


def members(shard: str) -> Iterator[tuple[str, Span | None]]:
    """Name and place of each file; a last ("", None) if the archive breaks off."""
    try:
        with tarfile.open(shard, "r:") as tar:
            try:
                for member in tar:
                    if member.isreg():
                        yield member.name, Span(member.offset_data, member.size)
            except tarfile.ReadError:
                yield "", None
                return
            # tarfile stops in silence at a broken header; a whole archive ends in zeros.
            tar.fileobj.seek(tar.offset)
            if tar.fileobj.read(_BLOCK) != bytes(_BLOCK):
                yield "", None
    except tarfile.ReadError as error:
        raise ValueError(f"{shard} is not an uncompressed tar file: {error}") from error


def _sample(shard: str, key: str, parts: dict[str, Span]) -> Sample | None:
    image = next((parts[kind] for kind in _IMAGES if kind in parts), None)
    kind = next((kind for kind in _CAPTIONS if kind in parts), None)
    return Sample(shard, key, image, parts[kind], kind) if image and kind else None


def _read(file: int, span: Span, name: str) -> bytes:
    data = os.pread(file, span.size, span.start)
    if len(data) < span.size:
        raise CorruptRecord(f"{name}: the shard ends within this sample")
    return data


def _parse(caption: bytes, kind: str, name: str) -> tuple[tuple[str, ...], str, str | int | None]:
    """(captions, concept, label) of a caption file."""
    try:
        if kind == "txt":
            return tuple(caption.decode("utf-8-sig").splitlines()), "", None
        content = json.loads(caption)
        return captions_of(content), content.get("concept") or "", content.get("label")
    except (ValueError, TypeError, AttributeError) as error:
        raise CorruptRecord(f"{name}.{kind}: {type(error).__name__}: {error}") from error
