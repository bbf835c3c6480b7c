"""What a suite's figures are written to: JSON to go on from, and open_clip's CSV."""

import csv
import dataclasses
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from cogvit_jax.evals.suite.tasks import Task
from cogvit_jax.metrics import write_atomically
from cogvit_jax.settings import ConfigError

# The first columns of docs/openclip_results.csv of github.com/mlfoundations/open_clip.
MODEL_COLUMNS = ("name", "pretrained", "params (M)", "FLOPs (B)")
# Ours, behind open_clip's.
RUN_COLUMNS = ("Average perf. on datasets run", "Datasets run")


@dataclasses.dataclass(frozen=True)
class Result:
    """Figures of one task.

    Attributes:
        value: the task's own metric.
        figures: all that were computed, by name.
        num_samples: pictures, or instances for WinoGAViL, of the local copy.
        num_unreadable: pictures left out.
        folder: where the data lay.
    """

    value: float
    figures: Mapping[str, float]
    num_samples: int
    num_unreadable: int
    folder: str


@dataclasses.dataclass(frozen=True)
class Model:
    """What a row of the CSV says of the model.

    Attributes:
        name, pretrained: the run's folder and its step.
        num_params: parameters.
        flops: of one picture and one text, forward.
    """

    name: str
    pretrained: str
    num_params: int
    flops: float


def header(tasks: Sequence[Task]) -> list[str]:
    """open_clip's columns of a suite (for clip38 exactly those of its file), then RUN_COLUMNS."""
    average = f"Average perf. on {len(tasks)} datasets"
    return [*MODEL_COLUMNS, average, *(task.name for task in tasks), *RUN_COLUMNS]


def row(model: Model, tasks: Sequence[Task], results: Mapping[str, Result]) -> list[str]:
    """A line of the CSV; tasks that did not run are blank.

    The suite's average is blank unless every task ran: a mean over fewer sets is no figure to
    compare with. The mean over those that ran, and their number, stand in RUN_COLUMNS.
    """
    values = [results[task.name].value for task in tasks if task.name in results]
    mean = f"{np.mean(values):.4f}" if values else ""
    cells = [f"{results[t.name].value:.4f}" if t.name in results else "" for t in tasks]
    about = [
        model.name,
        model.pretrained,
        f"{model.num_params / 1e6:.2f}",
        f"{model.flops / 1e9:.2f}",
    ]
    whole = mean if len(values) == len(tasks) else ""
    return [*about, whole, *cells, mean, str(len(values))]


def write_csv(
    path: epath.Path, model: Model, tasks: Sequence[Task], results: Mapping[str, Result]
) -> None:
    """Adds or replaces the model's row; other models' rows stay.

    Raises:
        ConfigError: the file has other columns.
    """
    rows = [line for line in read_csv(path, tasks) if line[:2] != [model.name, model.pretrained]]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows([header(tasks), *rows, row(model, tasks, results)])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, buffer.getvalue().encode())


def read_csv(path: epath.Path, tasks: Sequence[Task]) -> list[list[str]]:
    """The rows of a file of this suite; none where there is no file."""
    if not path.exists():
        return []
    lines = list(csv.reader(io.StringIO(path.read_text())))
    if not lines or lines[0] != header(tasks):
        raise ConfigError(f"--output={path} has other columns than this suite: name another file.")
    return lines[1:]


def load(path: epath.Path, step: int) -> dict[str, Result]:
    """Results of earlier calls at this step; none where the file is missing or of another step."""
    try:
        content = json.loads(path.read_text())
        if content["step"] == step:
            return {name: Result(**fields) for name, fields in content["tasks"].items()}
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        pass  # figures are computed anew where they cannot be read
    return {}


def save(path: epath.Path, step: int, tasks: Sequence[Task], results: Mapping[str, Result]) -> None:
    """Writes the results so far, and their mean by the name of what it is over."""
    found = {task.name: results[task.name] for task in tasks if task.name in results}
    content: dict[str, Any] = {
        "step": step,
        f"mean over {len(found)} of {len(tasks)} datasets": float(
            np.mean([result.value for result in found.values()])
        ),
        "tasks": {name: dataclasses.asdict(result) for name, result in found.items()},
    }
    write_atomically(path, json.dumps(content, indent=1, ensure_ascii=False).encode())
