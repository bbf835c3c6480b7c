"""Opens data sets by a short name, `scheme:rest`; every record is a `records.Document`."""

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from cogvit_jax.data import sources as pictures
from cogvit_jax.data.records import CorruptRecord, Source
from cogvit_jax.data.transforms import decode_image
from mmtp.data.array_records import open_array_record
from mmtp.data.jsonl import open_jsonl
from mmtp.data.records import Document, Image, Message, Text
from mmtp.data.tasks import open_tasks
from mmtp.data.webdataset import open_webdataset


@dataclass(frozen=True)
class Pairs:
    """Captioned pictures as plain documents: the picture, then one of its captions."""

    source: Source

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.source.records)

    def __getitem__(self, index: int) -> Document:
        """The picture, and a caption that its id chooses; CorruptRecord where there is none."""
        record = self.source.records[index]
        captions = [caption for caption in record.captions if caption.strip()]
        if not captions:
            raise CorruptRecord(f"{record.id} has no caption")
        caption = captions[zlib.crc32(record.id.encode()) % len(captions)]
        image = record.image
        if isinstance(image, np.ndarray) and image.dtype != np.uint8:
            image = decode_image(image)
        message = Message("", (Image(image), Text(caption)))
        return Document(record.id, "knowledge", (message,), {"captions": captions})


def open_pairs(rest: str) -> Source:
    """Opens a source of `cogvit_jax.data.sources`, such as "embedded:photos/train"."""
    records: Any = Pairs(pictures.open_source(rest))
    return Source(f"pairs:{rest}", records, flippable=False)


SCHEMES = {
    "array_record": open_array_record,
    "jsonl": open_jsonl,
    "pairs": open_pairs,
    "tasks": open_tasks,
    "webdataset": open_webdataset,
}


def open_source(spec: str) -> Source:
    """Opens a data set.

    Args:
        spec: `tasks:ocr/train` (drawn, offline), `jsonl:/data/train.jsonl`,
            `array_record:/data/*.array_record`, `webdataset:/data/{000..010}.tar`, or
            `pairs:SPEC` for captioned pictures as `cogvit_jax` opens them.

    Raises:
        ValueError: unknown scheme, an empty source, or contents that cannot be read.
        FileNotFoundError: nothing is there.
    """
    return pictures.open_by_scheme(spec, SCHEMES, example="jsonl")
