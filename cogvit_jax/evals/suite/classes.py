"""Class names and prompts of a task: beside its data, or from the table."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from cogvit_jax.data.annotations import CLASSES_FILE, read_classes
from cogvit_jax.evals.suite import names
from cogvit_jax.evals.suite.tasks import Task

CLASSNAMES, PROMPTS = "classnames.txt", "zeroshot_classification_templates.txt"
# Chinese-CLIP's file, and those of CLIP_benchmark, whose key is "imagenet1k".
ZH_LABELS, ZH_CLASSNAMES = "label_cn.txt", "cn_classnames.json"
ZH_PROMPTS = "cn_zeroshot_classification_templates.json"


def find_classes(
    task: Task, folder: Path, own: Sequence[str] = ()
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(class names, prompts with one `{}`) of a task.

    The first that there is of `classes.json`, `classnames.txt` (for Chinese `label_cn.txt`,
    `cn_classnames.json`), the table and `own`; prompts likewise, then `names.DEFAULT`.

    Args:
        task: a classification.
        folder: of its data.
        own: names that the data set itself has.

    Raises:
        ValueError: there are none, or not as many as the task has classes.
    """
    listed, prompts = read_classes(folder)
    listed, prompts = dict(listed), dict(prompts)
    found = listed.get(task.language) or _beside(task, folder) or _table(task) or _speaking(own)
    if not found:
        raise ValueError(_missing(task, folder))
    if len(found) != task.num_classes:
        raise ValueError(
            f"{folder}: {len(found)} class names, but {task.name} has {task.num_classes} classes"
        )
    templates = (listed and prompts.get(task.language)) or _prompts(task, folder)
    return tuple(found), tuple(_braced(folder, prompt) for prompt in templates)


def _beside(task: Task, folder: Path) -> Sequence[str]:
    if task.language == "en":
        return _lines(folder / CLASSNAMES)
    return _lines(folder / ZH_LABELS) or _by_key(folder / ZH_CLASSNAMES)


def _prompts(task: Task, folder: Path) -> Sequence[str]:
    if task.language == "en":
        found = _lines(folder / PROMPTS) or names.TEMPLATES.get(task.key, ())
    else:
        found = _by_key(folder / ZH_PROMPTS)
    return found or names.DEFAULT[task.language]


def _table(task: Task) -> Sequence[str]:
    return names.CLASSES.get(task.key, ()) if task.language == "en" else ()


def _speaking(own: Sequence[str]) -> Sequence[str]:
    """Names that say something; WordNet's numbers, such as n01440764, and counts do not."""
    return () if any(re.fullmatch(r"n?\d+", name) for name in own) else own


def _lines(path: Path) -> list[str]:
    """Lines with their blank ones, since CLEVR Distance has a class without a word."""
    text = path.read_text("utf-8-sig") if path.exists() else ""
    return [line.strip() for line in text.splitlines()]


def _by_key(path: Path) -> list[str]:
    if not path.exists():
        return []
    try:
        return [str(name) for name in json.loads(path.read_text("utf-8"))["imagenet1k"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f'{path}: expected {{"imagenet1k": [...]}}; {error!r}') from error


def _braced(folder: Path, prompt: str) -> str:
    """A prompt as published, with `{c}`, to one with `{}`."""
    prompt = prompt.replace("{c}", "{}")
    if prompt.count("{}") != 1:
        raise ValueError(f"{folder}: the prompt {prompt!r} needs '{{c}}' once, for the class name")
    return prompt


def _missing(task: Task, folder: Path) -> str:
    if task.language == "zh":
        files = f"{ZH_LABELS} (Chinese-CLIP) or {ZH_CLASSNAMES} (CLIP_benchmark)"
    else:
        files = f"{CLASSNAMES} (a name per line, as in the published copy)"
    return (
        f"{folder} has no class names, and the table holds none for {task.name}: add {files}, or "
        f"{CLASSES_FILE} with {task.num_classes} {task.language!r} names"
    )
