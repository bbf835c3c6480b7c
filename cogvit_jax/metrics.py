"""Where numbers and pictures go (JSONL, TensorBoard, files), throughput and MFU."""

import contextlib
import dataclasses
import io
import json
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging
from etils import epath
from PIL import Image
from tensorboardX import SummaryWriter, record_writer
from tensorboardX.proto.summary_pb2 import Summary  # type: ignore[attr-defined]

from cogvit_jax import topology


class Writer:
    """Writes scalars to `metrics.jsonl` (the record of truth) and TensorBoard, pictures to both
    `plots/` and TensorBoard. Only process 0 writes.

    A resumed run drops the lines after its checkpoint first, so that every step stands once. On a
    remote workdir TensorBoard files are left out where tensorboardX cannot write them.
    """

    def __init__(self, workdir: str, first_step: int = 0):
        self.active = jax.process_index() == 0
        if not self.active:
            return
        self.workdir = epath.Path(workdir)
        self.path = self.workdir / "metrics.jsonl"
        drop_lines_after(self.path, first_step)
        self._lines = RemoteLines(self.path) if is_remote(self.path) else LocalLines(self.path)
        self._board = open_board(self.workdir / "tensorboard", first_step + 1)

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Writes floats and `[h, w, 3]` uint8 pictures of one step."""
        if not self.active:
            return
        scalars = {k: float(v) for k, v in values.items() if not _is_picture(v)}
        line = {k: (v if math.isfinite(v) else str(v)) for k, v in scalars.items()}
        self._lines.add(json.dumps({"step": step, **line}) + "\n")
        for name in values.keys() - scalars.keys():
            self._picture(step, name, values[name])
        if self._board:
            # One event of all: with one each, a step of hundreds of scalars takes milliseconds.
            found = [Summary.Value(tag=name, simple_value=v) for name, v in scalars.items()]
            assert self._board.file_writer is not None  # while it is open
            self._board.file_writer.add_summary(Summary(value=found), step)

    def flush(self) -> None:
        """Returns when all lines so far are in the file."""
        if self.active:
            self._lines.flush()

    def close(self) -> None:
        """Flushes and closes all files."""
        if self.active:
            self._lines.flush()
            if self._board:
                self._board.close()

    def _picture(self, step: int, name: str, pixels: np.ndarray) -> None:
        folder = self.workdir / "plots"
        folder.mkdir(exist_ok=True)
        save_picture(folder / f"{name.replace('/', '_')}_{step:07d}.png", pixels)
        if self._board:
            self._board.add_image(name, pixels, step, dataformats="HWC")


class LocalLines:
    """Lines appended to a local file, each at once."""

    def __init__(self, path: epath.Path):
        self._path = path

    def add(self, line: str) -> None:
        """Appends a line."""
        with self._path.open("a") as file:
            file.write(line)

    def flush(self) -> None:
        """Nothing is held back."""


class RemoteLines:
    """Lines of a file in an object store, which cannot append: the whole file is written again.

    That happens at most every `interval` seconds, and on `flush`. A killed run loses at
    most that many seconds of lines, none from before its last checkpoint.
    """

    def __init__(self, path: epath.Path, interval: float = 30.0):
        self._path, self._interval = path, interval
        self._text = path.read_text() if path.exists() else ""
        self._written, self._time = len(self._text), time.monotonic()

    def add(self, line: str) -> None:
        """Adds a line, and writes the file if it is time."""
        self._text += line
        if time.monotonic() - self._time >= self._interval:
            self.flush()

    def flush(self) -> None:
        """Writes the file if it has lines to come."""
        if len(self._text) > self._written:
            self._path.write_text(self._text)
        self._written, self._time = len(self._text), time.monotonic()


def open_board(folder: epath.Path, first_step: int) -> SummaryWriter | None:
    """TensorBoard files; None, with a note, where their package for a remote store is missing."""
    scheme, remote, _ = str(folder).partition("://")
    packages = {
        "gs": (record_writer.GCS_ENABLED, "pip install google-cloud-storage"),
        "s3": (record_writer.S3_ENABLED, "pip install boto3"),
    }
    there, remedy = packages.get(scheme, (False, "tensorboardX writes to gs:// and s3:// only"))
    if remote and not there:
        logging.warning(
            "no TensorBoard files in %s: %s. Metrics and pictures are written without them.",
            folder,
            remedy,
        )
        return None
    return SummaryWriter(str(folder), purge_step=first_step)


def is_remote(path: epath.Path | str) -> bool:
    """Whether a path names an object store, such as gs://bucket/run."""
    return "://" in str(path)


def write_atomically(path: epath.Path, data: bytes) -> None:
    """Replaces a file as a whole; object stores always do."""
    if is_remote(path):
        path.write_bytes(data)
        return
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(data)
    temporary.replace(path)


def save_picture(path: epath.Path, pixels: np.ndarray) -> None:
    """Writes `[h, w, 3]` uint8 pixels as a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    path.write_bytes(buffer.getvalue())


def drop_lines_after(path: epath.Path, step: int) -> None:
    """Rewrites a JSONL file without lines of later steps or cut-off lines, atomically."""
    if not path.exists():
        return
    kept = [line for line in read_jsonl(path) if line["step"] <= step]
    write_atomically(path, "".join(json.dumps(line) + "\n" for line in kept).encode())


def read_jsonl(path: Path | epath.Path) -> list[dict[str, Any]]:
    """All complete lines; a last line that a crash cut off is left out."""
    lines = []
    for text in path.read_bytes().decode().splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines


@dataclasses.dataclass
class Lap:
    """What the steps between two logs add up to; `data_wait` in seconds."""

    steps: int = 0
    examples: int = 0
    flops: float = 0.0
    data_wait: float = 0.0


class StepTimer:
    """Throughput between two logs, per step, per second and as a share of the device's peak.

    `lap` is called when the last of the steps is dispatched, `read` when its numbers are there.
    """

    def __init__(self) -> None:
        peak = topology.peak_flops(jax.devices()[0].device_kind)
        self._peak = peak * jax.device_count() if peak else None
        self.start = time.perf_counter()
        self._lap = Lap()

    def add(self, examples: int, flops: float, data_wait: float) -> None:
        """Counts one step; `data_wait` is the time (s) it stood waiting for its batch."""
        self._lap.steps += 1
        self._lap.examples += examples
        self._lap.flops += flops
        self._lap.data_wait += data_wait

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Takes what is not training (evaluation, starting a save) out of the account."""
        began = time.perf_counter()
        yield
        self.start += time.perf_counter() - began

    def lap(self) -> Lap:
        """What was counted since the last lap."""
        done, self._lap = self._lap, Lap()
        return done

    def read(self, lap: Lap) -> dict[str, float]:
        """A lap's figures; it ends now, and the next one begins."""
        now = time.perf_counter()
        elapsed, self.start = max(now - self.start, 1e-9), now
        stats = {
            "time/step_seconds": elapsed / max(lap.steps, 1),
            "time/examples_per_second": lap.examples / elapsed,
            "time/data_wait_fraction": lap.data_wait / elapsed,
            "time/tflops_per_second": lap.flops / elapsed / 1e12,
        }
        if self._peak:
            stats["time/mfu"] = lap.flops / elapsed / self._peak
        return stats


def memory_stats() -> dict[str, float]:
    """Device memory in use and its peak, GiB, where the backend tells (not on CPU)."""
    stats = jax.local_devices()[0].memory_stats() or {}
    names = {"bytes_in_use": "memory/gib_in_use", "peak_bytes_in_use": "memory/gib_peak"}
    return {name: stats[key] / 2**30 for key, name in names.items() if key in stats}


def _is_picture(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == 3
