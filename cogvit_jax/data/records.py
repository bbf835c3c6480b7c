"""What every data source yields: a picture with its captions, and the set it belongs to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np


class CorruptRecord(ValueError):
    """A record that cannot be used (undecodable picture, no caption); skipped and counted."""


@dataclass(frozen=True)
class Record:
    """One picture and the captions that describe it.

    Example:
        Record(id="digits/0042", image=png_bytes, captions=("a handwritten seven", "手写数字七"),
               concept="digit 7", label=7)

    Attributes:
        id: unique within its source, stable over runs; named in logs when the record is corrupt.
        image: an encoded file, or pixels `[h, w]` or `[h, w, 3]` as uint8 or uint16.
        captions: alternatives, of which one is drawn each time the record is read.
        concept: pairs with equal concepts are positives of each other in the sigmoid loss; where
            it is empty the drawn caption itself is the concept.
        label: index into `Source.classes`; -1 where the record has no class.
    """

    id: str
    image: bytes | np.ndarray
    captions: tuple[str, ...]
    concept: str = ""
    label: int = -1


@runtime_checkable
class Records(Protocol):
    """Random access; `[i]` may raise CorruptRecord."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Record: ...


@dataclass(frozen=True)
class Source:
    """A finite set of records with random access.

    Attributes:
        name: as the user wrote it, for logs.
        records: picklable.
        classes: language -> class names, index = label; empty where the set has no classes.
        templates: language -> prompts with one `{}` for the class name.
        flippable: False where a mirrored picture means something else (digits, text).
    """

    name: str
    records: Records
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    templates: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    flippable: bool = True
