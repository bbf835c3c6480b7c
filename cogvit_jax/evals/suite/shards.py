"""WebDatasets in the layout that CLIP_benchmark and DataComp publish.

    wds_cifar10_test/
        classnames.txt  zeroshot_classification_templates.txt
        test/nshards.txt  test/0.tar  test/1.tar  ...

A sample is a picture with a `.cls` (its class's number) or a `.txt` (a caption per line); a `.npy`
or `.json` carries more. Unlike training, evaluation takes a copy whole or not at all: a figure on
part of a set is another figure.
"""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from cogvit_jax.data.annotations import captions_of
from cogvit_jax.evals.suite.classes import find_classes
from cogvit_jax.evals.suite.copies import (
    Classification,
    Pictures,
    Retrieval,
    Stretch,
    read_stretch,
)
from cogvit_jax.evals.suite.tasks import Task

_IMAGES = ("webp", "png", "jpg", "jpeg")
_BLOCK = 512  # bytes; a whole archive ends in blocks of zeros

Sample = dict[str, Stretch]


def open_shards(task: Task, folder: Path) -> Classification | Retrieval:
    """Reads labels or captions of all samples; pictures later.

    Raises:
        ValueError: a shard is missing, broken or no tar; a sample lacks a part; a label is out of
            range; class names are missing or of another number than the task's.
    """
    samples = {
        f"{path}/{key}": parts
        for path in shard_paths(folder)
        for key, parts in index_shard(path).items()
    }
    if not samples:
        raise ValueError(f"{folder}: the shards hold no samples")
    pictures = Pictures(
        [_part(name, parts, *_IMAGES) for name, parts in samples.items()], list(samples)
    )
    if not task.num_classes:
        return _retrieval(pictures, samples)
    classes, templates = find_classes(task, folder)
    labels = [_label(name, parts, len(classes)) for name, parts in samples.items()]
    groups = (
        [_group(name, parts, *task.group) for name, parts in samples.items()] if task.group else []
    )
    return Classification(
        pictures, np.asarray(labels), _numbered(groups) if groups else None, classes, templates
    )


def shard_paths(folder: Path) -> list[Path]:
    """`test/*.tar`, or `*.tar`, in order of their numbers.

    Raises:
        ValueError: `nshards.txt` promises more of them.
    """
    where = folder / "test" if any(folder.glob("test/*.tar")) else folder
    paths = sorted(where.glob("*.tar"), key=lambda path: (len(path.stem), path.stem))
    promised = where / "nshards.txt"
    if promised.exists() and promised.read_text().strip() != str(len(paths)):
        raise ValueError(
            f"{where} holds {len(paths)} shards, but nshards.txt says "
            f"{promised.read_text().strip()}: copy the missing ones"
        )
    return paths


def index_shard(path: Path) -> dict[str, Sample]:
    """{key: {extension: place}} of a whole shard, in order.

    Raises:
        ValueError: not an uncompressed tar file, or it breaks off.
    """
    samples: dict[str, Sample] = {}
    size = path.stat().st_size
    try:
        with tarfile.open(path, "r:") as tar:
            for member in filter(tarfile.TarInfo.isreg, tar):
                if member.offset_data + member.size > size:
                    raise tarfile.ReadError("it breaks off")
                # As webdataset itself does: the key ends at the first dot of the base name.
                head, slash, base = member.name.rpartition("/")
                stem, _, extension = base.partition(".")
                part = Stretch(str(path), member.offset_data, member.size)
                samples.setdefault(head + slash + stem, {})[extension.lower()] = part
            # tarfile stops in silence at a broken header.
            assert tar.fileobj is not None
            tar.fileobj.seek(tar.offset)
            if tar.fileobj.read(_BLOCK) != bytes(_BLOCK):
                raise tarfile.ReadError("it breaks off")
    except tarfile.ReadError as error:
        raise ValueError(f"{path} is not a whole, uncompressed tar file: {error}") from error
    return samples


def _retrieval(pictures: Pictures, samples: dict[str, Sample]) -> Retrieval:
    captions, owners = [], []
    for row, (name, parts) in enumerate(samples.items()):
        found = _captions(name, parts)
        if not found:
            raise ValueError(f"{name} has no caption")
        captions += found
        owners += [(row,)] * len(found)
    return Retrieval(pictures, captions, owners)


def _captions(name: str, parts: Sample) -> list[str]:
    if "txt" in parts:
        lines = read_stretch(parts["txt"]).decode("utf-8-sig").splitlines()
    else:
        lines = captions_of(_json(name, parts))
    return [line.strip() for line in lines if line.strip()]


def _label(name: str, parts: Sample, num_classes: int) -> int:
    if "cls" in parts:
        text = read_stretch(parts["cls"]).decode("ascii", "replace").strip()
    else:
        text = str(_json(name, parts).get("label"))
    if not text.isdigit() or int(text) >= num_classes:
        raise ValueError(
            f"{name}: label {text!r} is not among 0 … {num_classes - 1}, the {num_classes} classes "
            "that classnames.txt or the table names"
        )
    return int(text)


def _group(name: str, parts: Sample, key: str, column: int) -> Any:
    if "npy" in parts:
        try:
            row = np.load(io.BytesIO(read_stretch(parts["npy"])), allow_pickle=False)
            return row.reshape(-1)[column].item()
        except (ValueError, EOFError, IndexError) as error:
            raise ValueError(f"{name}.npy: {error}; expected {key!r} at {column}") from error
    content = _json(name, parts)
    if key not in content:
        raise ValueError(f"{name}.json lacks {key!r}, the group of the picture")
    return content[key]


def _numbered(groups: list[Any]) -> np.ndarray:
    place = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    return np.asarray([place[group] for group in groups])


def _json(name: str, parts: Sample) -> dict[str, Any]:
    try:
        content = json.loads(read_stretch(_part(name, parts, "json")))
    except json.JSONDecodeError as error:
        raise ValueError(f"{name}.json: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{name}.json holds {content!r}; expected an object")
    return content


def _part(name: str, parts: Sample, *kinds: str) -> Stretch:
    for kind in kinds:
        if kind in parts:
            return parts[kind]
    raise ValueError(f"{name} has {', '.join(sorted(parts))}; expected one of {', '.join(kinds)}")
