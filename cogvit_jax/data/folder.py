"""A folder of pictures with `captions.jsonl` or `captions.tsv`.

One JSON object per line:
    {"image": "a/1.jpg", "caption": "a red dress", "label": "dress"}
    {"image": "a/2.jpg", "captions": [{"lang": "en", "text": "a hat"}, "帽子"]}
or tab-separated: image, caption and, if wanted, label (a first line `image<TAB>caption` is a
heading). Lines of the same picture are merged. `label` and `concept` are optional; `classes.json`
(see annotations.py) gives labels their order, their names in other languages and their prompts.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cogvit_jax.data.annotations import (
    DEFAULT_TEMPLATES,
    captions_of,
    label_index,
    nonblank,
    read_classes,
)
from cogvit_jax.data.records import CorruptRecord, Record, Source

_FILES = ("captions.jsonl", "captions.tsv")


@dataclass(frozen=True)
class Entry:
    """What the captions file says of one picture; `where` is file:line."""

    image: str
    captions: tuple[str, ...]
    concept: str
    label: str | int | None
    where: str


@dataclass(frozen=True)
class FolderRecords:
    """The records of a folder; pictures are read on access.

    Attributes:
        root: the folder.
        entries: one per picture.
        labels: class index of each entry, or -1.
    """

    root: Path
    entries: tuple[Entry, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.entries)

    def __getitem__(self, index: int) -> Record:
        """Reads one picture; CorruptRecord if the file or its captions are missing."""
        entry = self.entries[index]
        captions = nonblank(entry.captions, entry.image)
        try:
            image = (self.root / entry.image).read_bytes()
        except OSError as error:
            raise CorruptRecord(f"{entry.image} ({entry.where}): {error}") from error
        return Record(entry.image, image, captions, entry.concept, self.labels[index])


def open_folder(rest: str) -> Source:
    """Opens `folder:/path`.

    Raises:
        FileNotFoundError: no such folder, or no captions file in it.
        ValueError: a line that cannot be read, or a label that is not in `classes.json`; named by
            file and line.
    """
    root = Path(rest).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"folder:{rest}: there is no folder {root}")
    path = next((root / name for name in _FILES if (root / name).exists()), None)
    if path is None:
        raise FileNotFoundError(
            f"{root} has no captions file; write {root / _FILES[0]} with one line per picture: "
            '{"image": "1.jpg", "caption": "a red dress"}'
        )
    entries = _merged(_read_jsonl(path) if path.suffix == ".jsonl" else _read_tsv(path))
    classes, templates = read_classes(root)
    if not classes:  # then a number is a name as well
        entries = [replace(e, label=None if e.label is None else str(e.label)) for e in entries]
    given = {entry.label for entry in entries} - {None}
    if not classes and given:
        classes, templates = {"en": tuple(sorted(map(str, given)))}, DEFAULT_TEMPLATES
    names = classes.get("en", ())
    labels = tuple(label_index(entry.label, names, entry.where) for entry in entries)
    records = FolderRecords(root, tuple(entries), labels)
    return Source(f"folder:{rest}", records, classes, templates)


def _read_jsonl(path: Path) -> Iterator[Entry]:
    for where, line in _lines(path):
        try:
            content = json.loads(line)
            captions = captions_of(content)
            image, concept = _string(content["image"]), _string(content.get("concept", ""))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f'{where}: expected {{"image": "1.jpg", "caption": "..."}}; '
                f"{type(error).__name__}: {error}"
            ) from error
        yield Entry(image, captions, concept, content.get("label"), where)


def _read_tsv(path: Path) -> Iterator[Entry]:
    for number, (where, line) in enumerate(_lines(path)):
        cells = line.split("\t")
        if number == 0 and cells[:2] == ["image", "caption"]:
            continue
        if len(cells) not in (2, 3):
            raise ValueError(
                f"{where}: expected image<TAB>caption[<TAB>label]; got {len(cells)} column(s)"
            )
        label = cells[2].strip() if len(cells) == 3 else ""
        yield Entry(cells[0].strip(), (cells[1],), "", label or None, where)


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """The lines of a file that are not blank, each with its file:line."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                text = line.decode("utf-8-sig").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise ValueError(f"{path}:{number}: not UTF-8; {error}") from error
            if text.strip():
                yield f"{path}:{number}", text


def _merged(entries: Iterator[Entry]) -> list[Entry]:
    """One entry per picture, in order of first mention."""
    merged: dict[str, Entry] = {}
    for entry in entries:
        first = merged.get(entry.image)
        merged[entry.image] = entry if first is None else _merge(first, entry)
    return list(merged.values())


def _merge(first: Entry, second: Entry) -> Entry:
    captions = first.captions + second.captions
    concept, label = (_agreed(name, first, second) for name in ("concept", "label"))
    return replace(first, captions=captions, concept=concept, label=label)


def _agreed(name: str, first: Entry, second: Entry) -> Any:
    """The value of a field that two lines of one picture must not contradict."""
    here, before = getattr(second, name), getattr(first, name)
    given = [value for value in (before, here) if value not in ("", None)]
    if len(given) == 2 and here != before:
        raise ValueError(
            f"{second.where}: {second.image} has {name} {here!r} here but {before!r} at "
            f"{first.where}"
        )
    return given[0] if given else before


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a string, got {value!r}")
    return value
