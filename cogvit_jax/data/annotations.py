"""Captions and class names as users write them, brought to one form."""

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cogvit_jax.data.records import CorruptRecord

CLASSES_FILE = "classes.json"
DEFAULT_TEMPLATES = {"en": ("a photo of a {}",)}

Names = Mapping[str, tuple[str, ...]]


def captions_of(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """The captions of a JSON object.

    Example:
        {"captions": [{"lang": "en", "text": "a dress"}, "连衣裙"]} -> ("a dress", "连衣裙")

    Reads every one of the keys `caption`, `captions` and `text` that is there; each holds a string,
    an object with a `text`, or a list of those.

    Raises:
        ValueError: a caption of another type.
    """
    found = (entry[key] for key in ("caption", "captions", "text") if key in entry)
    return tuple(text for value in found for text in _texts(value))


def nonblank(captions: Iterable[str], record: str) -> tuple[str, ...]:
    """The captions without surrounding space and without blank ones.

    Raises:
        CorruptRecord: none is left; names the record.
    """
    kept = tuple(text for text in (caption.strip() for caption in captions) if text)
    if not kept:
        raise CorruptRecord(f"{record}: no caption, or all of them blank")
    return kept


def read_classes(folder: Path) -> tuple[Names, Names]:
    """Reads class names and prompts from `classes.json` in a folder.

    Example of the file:
        {"classes": {"en": ["dress", "hat"], "zh": ["连衣裙", "帽子"]},
         "templates": {"en": ["a photo of a {}"], "zh": ["一张{}的照片"]}}

    Returns:
        (classes, templates), both language -> names; both empty where there is no such file.

    Raises:
        ValueError: not of this form, lists of unequal length, or a template without `{}`.
    """
    path = folder / CLASSES_FILE
    if not path.exists():
        return {}, {}
    try:
        content = json.loads(path.read_text("utf-8"))
        classes = {key: tuple(names) for key, names in content["classes"].items()}
        templates = content.get("templates", DEFAULT_TEMPLATES)
        templates = {key: tuple(prompts) for key, prompts in templates.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f'{path}: expected {{"classes": {{"en": [...]}}, "templates": {{"en": [...]}}}}; '
            f"{type(error).__name__}: {error}"
        ) from error
    lengths = {key: len(names) for key, names in classes.items()}
    if "en" not in classes or len(set(lengths.values())) != 1:
        raise ValueError(
            f"{path}: 'classes' needs 'en' and equally many names per language; has {lengths}"
        )
    for prompt in (prompt for prompts in templates.values() for prompt in prompts):
        if "{}" not in prompt:
            raise ValueError(f"{path}: template {prompt!r} lacks '{{}}' for the class name")
    return classes, templates


def label_index(label: str | int | None, names: Sequence[str], where: str) -> int:
    """Index of a label given by name or by index; -1 for None.

    Args:
        label: as the user wrote it.
        names: class names, index = label.
        where: file and place, for the error.

    Raises:
        ValueError: no such class; names the nearest.
    """
    if label is None:
        return -1
    if isinstance(label, int) and 0 <= label < len(names):
        return label
    if label in names:
        return names.index(label)
    near = difflib.get_close_matches(str(label), names, n=1)
    hint = f"; nearest: {near[0]!r}" if near else ""
    raise ValueError(
        f"{where}: label {label!r} is not among the {len(names)} English class names{hint}; "
        f"add it to {CLASSES_FILE}"
    )


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping) and isinstance(value.get("text"), str):
        return [value["text"]]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    raise ValueError(f'a caption is a string or {{"lang": ..., "text": ...}}; got {value!r}')
