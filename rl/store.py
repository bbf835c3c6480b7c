"""Tasks, rollouts, verdicts and samples on disk: JSON lines beside pictures named by content.

    write("runs/rl/rollouts/000041.jsonl", rollouts)
    rollouts = list(read("runs/rl/rollouts/000041.jsonl"))

    000041.jsonl    {"version": 1, "kind": "rollout", "value": {...}} per line
    images/         SHA-256.png of pixels, SHA-256.bin of files that were given as bytes

What is read equals what was written: floats to the last bit, pixels, and tuples where the types of
`rl.types` have them. A file is written whole or not at all; one that is damaged, or that another
version wrote, is refused with its name and line.
"""

import dataclasses
import functools
import json
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import numpy as np

from mmtp.data.records import Image, Part, Text, Video
from rl.store_images import Pictures, put
from rl.types import Json, Observation, Rollout, Task, TrainingSample, Verdict

VERSION = 1
FOLDER = "rollouts"  # of a run's workdir, where its files are
IMAGES = "images"
Item: TypeAlias = Task | Rollout | Verdict | TrainingSample | Observation
KINDS: dict[str, type] = {
    "task": Task,
    "rollout": Rollout,
    "verdict": Verdict,
    "sample": TrainingSample,
    "observation": Observation,
}
NUMBERS = frozenset((int, float, bool))
PARTS: dict[str, type] = {"text": Text, "image": Image, "video": Video}
PLAIN: dict[Any, tuple[type, ...]] = {str: (str,), int: (int,), float: (float, int), bool: (bool,)}


class StoreError(ValueError):
    """A file that is damaged, or another version's; names file and line."""


def write(path: str | Path, items: Iterable[Item]) -> None:
    """Writes items, and their pictures that are not there yet, then puts the file in its place.

    Raises:
        ValueError: something in an item could not be read back as it is.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = Pictures(path.parent / IMAGES)
    names = {kind: name for name, kind in KINDS.items()}
    lines = []
    for number, item in enumerate(items):
        try:
            fields = {"version": VERSION, "kind": names[type(item)]}
            lines.append(_line(fields | {"value": _encode(item, pictures)}))
        except (TypeError, ValueError, KeyError) as problem:
            raise ValueError(f"item {number} cannot be stored: {problem}") from problem
    put(path, b"".join(lines))


def remove(path: Path) -> None:
    """Deletes the oldest file of a folder, and the pictures that no later one has.

    A file is newer than its pictures, and one that is written later has touched all of its own.
    """
    folder, written = path.parent / IMAGES, path.stat().st_mtime_ns
    path.unlink()
    for picture in folder.iterdir() if folder.exists() else ():
        if picture.stat().st_mtime_ns < written:
            picture.unlink()


def read(path: str | Path) -> Iterator[Item]:
    """All items of a file, in order.

    Raises:
        StoreError: a line or picture is damaged, missing, or of another version.
    """
    path = Path(path)
    pictures = Pictures(path.parent / IMAGES)
    *lines, rest = path.read_bytes().split(b"\n")
    if rest:
        raise StoreError(f"{path}:{len(lines) + 1}: the file is cut off")
    for number, line in enumerate(lines, 1):
        try:
            found = json.loads(line.decode(), parse_constant=_refuse)
            if found["version"] != VERSION:
                raise ValueError(f"version {found['version']!r}; this program reads {VERSION}")
            yield _decode(KINDS[found["kind"]], found["value"], pictures)
        except (LookupError, TypeError, ValueError, AttributeError, OSError) as problem:
            reason = f"{type(problem).__name__}: {problem}"
            raise StoreError(f"{path}:{number}: {reason}") from problem


def _line(fields: Mapping[str, Json]) -> bytes:
    text = json.dumps(fields, ensure_ascii=False, allow_nan=False)
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:  # half a surrogate pair
        return json.dumps(fields, allow_nan=False).encode() + b"\n"


def _encode(value: Any, pictures: Pictures) -> Json:
    """Dataclasses as objects, with a name where a field may hold several; tuples as lists."""
    if isinstance(value, bytes | np.ndarray):
        return pictures.save(value)
    if isinstance(value, tuple):
        if NUMBERS.issuperset(map(type, value)):  # such as a token's each: quickly
            return list(value)
        return [_encode(v, pictures) for v in value]
    if not dataclasses.is_dataclass(value):
        return _plain(value)
    names = [name for name, kind in PARTS.items() if type(value) is kind]
    fields = {name: _encode(getattr(value, name), pictures) for name in _hints(type(value))}
    return ({"part": names[0]} if names else {}) | fields


def _decode(hint: Any, value: Json, pictures: Pictures) -> Any:
    """What `_encode` made of something of a type."""
    if hint == Part:
        return _decode_fields(PARTS[value["part"]], _without(value, "part"), pictures)
    if isinstance(hint, types.UnionType) and np.ndarray in typing.get_args(hint):
        return pictures.load(value)
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise TypeError(f"{value!r:.50} is no list")
        return tuple(_decode(typing.get_args(hint)[0], v, pictures) for v in value)
    if dataclasses.is_dataclass(hint):
        return _decode_fields(hint, value, pictures)
    if typing.get_origin(hint) is not None and not isinstance(hint, types.UnionType):
        kinds = (dict,) if typing.get_origin(hint) is Mapping else (str,)
    else:
        kinds = PLAIN.get(hint, (object,))
    if not isinstance(value, kinds) or (isinstance(value, bool) and hint in (int, float)):
        raise TypeError(f"{value!r:.50} is no {getattr(hint, '__name__', hint)}")
    return value


def _decode_fields(kind: Any, value: Json, pictures: Pictures) -> Any:
    hints = _hints(kind)
    if value.keys() != hints.keys():
        odd = sorted(value.keys() ^ hints.keys())
        raise ValueError(f"a {kind.__name__} with or without {', '.join(odd)}")
    return kind(**{name: _decode(hint, value[name], pictures) for name, hint in hints.items()})


def _plain(value: Json, depth: int = 100) -> Json:
    """The same, if JSON reads back what it writes."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if depth and type(value) is list:
        return [_plain(v, depth - 1) for v in value]
    if depth and isinstance(value, Mapping) and all(type(key) is str for key in value):
        return {key: _plain(v, depth - 1) for key, v in value.items()}
    raise TypeError(f"{value!r:.50} of type {type(value).__name__} is not JSON")


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {f.name: hints[f.name] for f in dataclasses.fields(kind)}


def _without(value: dict[str, Json], name: str) -> dict[str, Json]:
    return {key: v for key, v in value.items() if key != name}


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
