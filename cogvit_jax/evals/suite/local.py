"""A task's data on this machine: which folder holds it, and what is in it."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from cogvit_jax.data.array_records import open_array_record
from cogvit_jax.data.records import CorruptRecord, Record, Records, Source
from cogvit_jax.data.tfds_source import open_tfds
from cogvit_jax.evals.suite import published, shards
from cogvit_jax.evals.suite.classes import find_classes
from cogvit_jax.evals.suite.copies import Classification, Matching, Retrieval
from cogvit_jax.evals.suite.tasks import Task

Copy = Classification | Retrieval | Matching


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a task's data lies, and how it is read; nothing is read before `open`."""

    folder: Path
    open: Callable[[], Copy]


def find(task: Task, data_dir: Path) -> Place | None:
    """The first folder below `data_dir` that holds the task in a form that is known; None: none.

    Forms: WebDataset as CLIP_benchmark publishes it (`test/0.tar`, or the shards in the folder
    itself), ArrayRecord, TensorFlow Datasets prepared below `data_dir`, and those of
    `published.py`.
    """
    for name in task.folders:
        folder = data_dir / name
        for form, opener in FORMS.items():
            if any(folder.glob(form)):
                return Place(folder, lambda opener=opener, folder=folder: opener(task, folder))
    name, _, split = task.tfds.partition(":")
    versions = sorted((data_dir / name).glob("*/dataset_info.json")) if name else []
    if versions:
        folder = versions[-1].parent
        return Place(folder, lambda: _open_tfds(task, folder, split))
    return None


def looked_for(task: Task, data_dir: Path) -> str:
    """The folders that `find` tries, for people."""
    tried = [str(data_dir / name) for name in task.folders]
    if task.tfds:
        tried.append(str(data_dir / task.tfds.partition(":")[0] / "VERSION"))
    return ", ".join(tried)


def _open_tfds(task: Task, folder: Path, split: str) -> Classification:
    source = open_tfds(f"{folder}:{split}")
    return _classification(task, folder, source, source.classes)


def _open_array_record(task: Task, folder: Path) -> Classification | Retrieval:
    source = open_array_record(str(folder / "*.array_record"))
    if task.num_classes:
        return _classification(task, folder, source, {})
    captions = [source.records[i].captions for i in range(len(source.records))]
    owners = [row for row, texts in enumerate(captions) for _ in texts]
    texts = [text for texts in captions for text in texts]
    return Retrieval(Lenient(source.records), texts, [(row,) for row in owners])


def _classification(
    task: Task, folder: Path, source: Source, names: Mapping[str, tuple[str, ...]]
) -> Classification:
    """Raises ValueError for a label that is missing or out of range, or a worst-group task."""
    if task.group:
        raise ValueError(
            f"{folder}: {task.name} needs the group of each picture, which only the WebDataset "
            f"form carries (.npy, or {task.group[0]!r} in .json)"
        )
    classes, templates = find_classes(task, folder, names.get("en", ()))
    records = Lenient(source.records)
    labels = [records[i].label for i in range(len(records))]
    for number, label in enumerate(labels):
        if not 0 <= label < len(classes):
            raise ValueError(
                f"{records[number].id}: label {label} is outside 0 … {len(classes) - 1}, the "
                f"classes of {task.name}"
            )
    return Classification(records, np.asarray(labels), None, classes, templates)


@dataclasses.dataclass(frozen=True)
class Lenient:
    """A source's records, where an unreadable one is a record without a usable picture."""

    records: Records

    def __len__(self) -> int:
        """Number of records."""
        return len(self.records)

    def __getitem__(self, index: int) -> Record:
        """The record; where it is corrupt, one whose picture counts as unreadable."""
        try:
            return self.records[index]
        except CorruptRecord as error:
            return Record(str(error), b"", (), label=0)


# What to look for in a folder -> how it is read; the first that is there.
FORMS: dict[str, Callable[[Task, Path], Copy]] = {
    "test/*.tar": shards.open_shards,
    "*.tar": shards.open_shards,
    "*.array_record": _open_array_record,
    "*_texts.jsonl": published.open_chinese_clip,
    "captions.jsonl": published.open_xm3600,
    "winogavil_dataset.csv": published.open_winogavil,
}
