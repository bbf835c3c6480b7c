"""Published forms that are no WebDatasets: Chinese retrieval sets and WinoGAViL."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from cogvit_jax.evals.suite.copies import Matching, Pictures, Retrieval, Stretch
from cogvit_jax.evals.suite.tasks import Task

_SPLITS = ("test", "valid")


def open_chinese_clip(task: Task, folder: Path) -> Retrieval:
    """`test_imgs.tsv` (id, tab, base64) and `test_texts.jsonl`, as Chinese-CLIP publishes them.

    Example of a line of texts:
        {"text_id": 8428, "text": "高级感托特包斜挎", "image_ids": [1076345, 517602]}

    A split whose texts name no picture, as MUGE's test set, is passed over for `valid`.

    Raises:
        ValueError: no split has both files and answers, or a picture or a field is missing.
    """
    for split in _SPLITS:
        pictures, texts = folder / f"{split}_imgs.tsv", folder / f"{split}_texts.jsonl"
        if not (pictures.exists() and texts.exists()):
            continue
        lines = _json_lines(texts, "text", "image_ids")
        if any(line["image_ids"] for line in lines):
            parts = _index_tsv(pictures)
            row = {name: number for number, name in enumerate(parts)}
            try:
                owners = [tuple(row[str(i)] for i in line["image_ids"]) for line in lines]
            except KeyError as error:
                raise ValueError(
                    f"{texts} names picture {error}, which {pictures} lacks"
                ) from error
            names = [f"{pictures}:{name}" for name in parts]
            captions = [line["text"] for line in lines]
            return Retrieval(Pictures(list(parts.values()), names), captions, owners)
    raise ValueError(
        f"{folder}: {task.name} needs test_imgs.tsv and test_texts.jsonl, or valid_imgs.tsv and "
        "valid_texts.jsonl, with image_ids"
    )


def open_xm3600(task: Task, folder: Path) -> Retrieval:
    """`captions.jsonl` and `images/KEY.jpg` of Crossmodal-3600 (arXiv:2205.12522).

    Of each picture's captions in the language the first is taken, as CLIP_benchmark does.

    Raises:
        ValueError: a field or a picture is missing.
    """
    path = folder / "captions.jsonl"
    parts, names, captions = [], [], []
    for line in _json_lines(path, "image/key", task.language):
        picture = folder / "images" / f"{line['image/key']}.jpg"
        parts.append(_whole(picture, path))
        names.append(str(picture))
        captions.append(line[task.language]["caption"][0])
    return Retrieval(Pictures(parts, names), captions, [(row,) for row in range(len(parts))])


def open_winogavil(task: Task, folder: Path) -> Matching:
    """`winogavil_dataset.csv` and `winogavil_images/NAME.jpg` (arXiv:2207.12576).

    Columns `cue`, and `candidates` and `associations` as JSON lists of picture names. The prompt is
    "A cue" or "An cue" in lower case, as in DataComp's evaluation.

    Raises:
        ValueError: a column, a picture or an association is missing.
    """
    path = folder / "winogavil_dataset.csv"
    row: dict[str, int] = {}
    cues, candidates, fits = [], [], []
    with path.open(encoding="utf-8-sig", newline="") as file:
        for number, line in enumerate(csv.DictReader(file), 2):
            try:
                shown, right = json.loads(line["candidates"]), json.loads(line["associations"])
                cue = line["cue"].lower()
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{path}: line {number}: {error!r}") from error
            if not set(right) & set(shown) or not cue:
                raise ValueError(f"{path}: line {number} has no cue, or no candidate that fits")
            cues.append(f"{'An' if cue[0] in 'aeiou' else 'A'} {cue}")
            candidates.append(np.asarray([row.setdefault(name, len(row)) for name in shown]))
            fits.append(np.isin(shown, right))
    files = [folder / "winogavil_images" / f"{name}.jpg" for name in row]
    pictures = Pictures([_whole(file, path) for file in files], [str(file) for file in files])
    return Matching(pictures, cues, candidates, fits)


def _json_lines(path: Path, *keys: str) -> list[dict[str, Any]]:
    lines = []
    # Not splitlines: captions hold characters at which that would break a line.
    for number, text in enumerate(path.read_text("utf-8-sig").split("\n"), 1):
        if not text.strip():
            continue
        try:
            lines.append({key: json.loads(text)[key] for key in keys})
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path}: line {number}: {error!r}; needs {', '.join(keys)}"
            ) from error
    return lines


def _index_tsv(path: Path) -> dict[str, Stretch]:
    """{id: where its base64 lies}, a line each."""
    parts: dict[str, Stretch] = {}
    start = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            name, tab, data = line.partition(b"\t")
            if not tab:
                raise ValueError(f"{path}: line {number} has no tab between id and picture")
            first = start + len(name) + 1
            parts[name.decode()] = Stretch(str(path), first, len(data.rstrip()), encoded=True)
            start += len(line)
    return parts


def _whole(picture: Path, listed: Path) -> Stretch:
    if not picture.exists():
        raise ValueError(f"{picture} is missing, which {listed} names")
    return Stretch(str(picture), 0, picture.stat().st_size)
