"""What a local copy holds, in one of three forms, and pictures that are read when asked for."""

import base64
import dataclasses
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cogvit_jax.data.records import Record, Records


class Stretch(NamedTuple):
    """A part of a file: `size` bytes from `start`; `encoded` in base64."""

    path: str
    start: int
    size: int
    encoded: bool = False


def read_stretch(part: Stretch) -> bytes:
    """The bytes; no file stays open.

    Raises:
        ValueError: the file ends before, or it is no base64.
    """
    file = os.open(part.path, os.O_RDONLY)
    try:
        data = os.pread(file, part.size, part.start)
    finally:
        os.close(file)
    if len(data) < part.size:
        raise ValueError(f"{part.path} ends within bytes {part.start} … {part.start + part.size}")
    return base64.b64decode(data) if part.encoded else data


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Encoded pictures in files; `names` are their ids."""

    parts: Sequence[Stretch]
    names: Sequence[str]

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.parts)

    def __getitem__(self, index: int) -> Record:
        """Reads one picture."""
        return Record(self.names[index], read_stretch(self.parts[index]), ())


@dataclasses.dataclass(frozen=True)
class Classification:
    """Pictures with a class each.

    Attributes:
        pictures: n of them.
        labels: int `[n]`, each an index into `classes`.
        groups: int `[n]` or None.
        classes, templates: names, and prompts with one `{}`.
    """

    pictures: Records
    labels: np.ndarray
    groups: np.ndarray | None
    classes: tuple[str, ...]
    templates: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Retrieval:
    """Pictures and captions; `owners` are the pictures that each caption describes."""

    pictures: Records
    captions: Sequence[str]
    owners: Sequence[tuple[int, ...]]


@dataclasses.dataclass(frozen=True)
class Matching:
    """Cues, each with candidate pictures of which some fit (WinoGAViL).

    Attributes:
        pictures: all of them, each once.
        cues: prompts.
        candidates: rows of `pictures` for each cue.
        fits: for each cue, which candidates fit; at least one does.
    """

    pictures: Records
    cues: Sequence[str]
    candidates: Sequence[np.ndarray]
    fits: Sequence[np.ndarray]
