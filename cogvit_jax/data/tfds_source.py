"""TensorFlow Datasets prepared as ArrayRecord, read without TensorFlow.

    tfds:my_pairs:train          tfds:cifar10:train[:10%]          tfds:/data/my_pairs/1.0.0:train

The features must include `image`; captions come from `caption`, `captions` or `text`, or, where
there are none, from the class names of `label`.
"""

import os
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from cogvit_jax.data.annotations import DEFAULT_TEMPLATES, captions_of, nonblank
from cogvit_jax.data.records import CorruptRecord, Record, Source

_TEXTS = ("caption", "captions", "text")


@dataclass(frozen=True)
class TfdsRecords:
    """The examples of a split.

    Attributes:
        source: random access to the examples, pictures still encoded.
        name: prefix of the record ids.
        names: class names; empty where there are none.
        texts: the features that hold captions; empty: captions are made from `names`.
    """

    source: Any
    name: str
    names: tuple[str, ...]
    texts: tuple[str, ...]

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.source)

    def __getitem__(self, index: int) -> Record:
        """Reads one example; CorruptRecord where it is damaged or has no caption."""
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} has {len(self)} records; asked for {index}")
        where = f"{self.name}[{index}]"
        try:
            example = self.source[index]
        except (RuntimeError, ValueError) as error:
            raise CorruptRecord(f"{where}: {type(error).__name__}: {error}") from error
        label = int(example["label"]) if self.names else -1
        concept = ""
        if self.texts:
            captions = captions_of({key: _decoded(example[key]) for key in self.texts})
        elif label >= 0:
            # Prompts differ, the class does not: it is what makes two pictures a match.
            concept = self.names[label]
            captions = tuple(prompt.format(concept) for prompt in DEFAULT_TEMPLATES["en"])
        else:
            captions = ()
        return Record(where, example["image"], nonblank(captions, where), concept, label)


def open_tfds(rest: str) -> Source:
    """Opens `tfds:name:split`, or `tfds:/folder/of/the/version:split`.

    Raises:
        ValueError: not of this form, an unknown data set or split, not prepared as ArrayRecord, or
            without pictures, or with neither captions nor labels.
    """
    match = re.fullmatch(r"([^\[]+):([^:\[]+(?:\[.*)?)", rest)  # a slice may hold colons
    if match is None:
        raise ValueError(f"tfds:{rest}: expected tfds:name:split, e.g. tfds:cifar10:train")
    import tensorflow_datasets as tfds  # half a second, and needed by this scheme alone

    builder, source = _load(tfds, *match.groups())
    features = dict(builder.info.features.items())
    texts = tuple(key for key in _TEXTS if key in features)
    label = features.get("label")
    names = tuple(str(text).replace("_", " ") for text in getattr(label, "names", None) or ())
    if "image" not in features or not (texts or names):
        raise ValueError(
            f"tfds:{rest} has features {sorted(features)}; needs 'image' and one of "
            f"{_TEXTS} or a 'label' with class names"
        )
    records = TfdsRecords(source, f"tfds:{rest}", names, texts)
    classes, templates = ({"en": names}, DEFAULT_TEMPLATES) if names else ({}, {})
    return Source(f"tfds:{rest}", records, classes, templates)


def _load(tfds: Any, name: str, split: str) -> tuple[Any, Any]:
    """(builder, data source); errors name the data set and the remedy."""
    try:
        if os.path.isdir(os.path.expanduser(name)):
            builder = tfds.builder_from_directory(os.path.expanduser(name))
        else:
            builder = tfds.builder(name)
        decoders = {"image": tfds.decode.SkipDecoding()}
        return builder, builder.as_data_source(split, decoders=decoders)
    # TFDS has no common base class for these.
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else ""
        raise ValueError(
            f"tfds:{name}:{split} cannot be opened: {type(error).__name__}: {reason} If it is not "
            f"prepared: tfds.builder({name!r}, file_format='array_record').download_and_prepare()"
        ) from error


def _decoded(value: Any) -> Any:
    """Text as stored (bytes, str, array or list of them) to str or lists of it."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.ndarray | list | tuple):
        return [_decoded(item) for item in value]
    if isinstance(value, dict):
        return _decoded(value.get("text", []))
    return str(value)
