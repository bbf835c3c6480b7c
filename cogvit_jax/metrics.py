"""Where numbers and pictures go (JSONL, TensorBoard, files), throughput and MFU."""

import contextlib
import json
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image
from tensorboardX import SummaryWriter

# Dense bf16 peak of one chip, FLOP/s, by `device_kind`; from the vendors' specifications. A device
# that is not listed gets no MFU.
PEAK_FLOPS = {
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5e": 197e12,
    "TPU v5": 459e12,
    "TPU v5p": 459e12,
    "TPU v6 lite": 918e12,
    "TPU v6e": 918e12,
    "TPU7x": 2307e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H200": 989e12,
}


class Writer:
    """Writes scalars to `metrics.jsonl` (the record of truth) and TensorBoard, pictures to both
    `plots/` and TensorBoard. Only process 0 writes.

    A resumed run drops the lines after its checkpoint first, so that every step stands once.
    """

    def __init__(self, workdir: str, first_step: int = 0):
        self.active = jax.process_index() == 0
        if not self.active:
            return
        self.workdir = Path(workdir)
        self.path = self.workdir / "metrics.jsonl"
        drop_lines_after(self.path, first_step)
        self._file = self.path.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(self.workdir / "tensorboard"), purge_step=first_step + 1)

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Writes floats and `[h, w, 3]` uint8 pictures of one step."""
        if not self.active:
            return
        scalars = {k: float(v) for k, v in values.items() if not _is_picture(v)}
        line = {k: (v if math.isfinite(v) else str(v)) for k, v in scalars.items()}
        self._file.write(json.dumps({"step": step, **line}) + "\n")
        self._file.flush()
        for name, value in scalars.items():
            self._board.add_scalar(name, value, step)
        for name in values.keys() - scalars.keys():
            self._picture(step, name, values[name])

    def close(self) -> None:
        """Flushes and closes all files."""
        if self.active:
            self._file.close()
            self._board.close()

    def _picture(self, step: int, name: str, pixels: np.ndarray) -> None:
        folder = self.workdir / "plots"
        folder.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{name.replace('/', '_')}_{step:07d}.png")
        self._board.add_image(name, pixels, step, dataformats="HWC")


def drop_lines_after(path: Path, step: int) -> None:
    """Rewrites a JSONL file without lines of later steps or cut-off lines, atomically."""
    if not path.exists():
        return
    kept = [line for line in read_jsonl(path) if line["step"] <= step]
    temporary = path.with_suffix(".tmp")
    temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
    temporary.replace(path)


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """All complete lines; a last line that a crash cut off is left out."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines


class StepTimer:
    """Throughput between two logs, per step, per second and as a share of the device's peak."""

    def __init__(self) -> None:
        peak = PEAK_FLOPS.get(jax.devices()[0].device_kind)
        self._peak = peak * jax.device_count() if peak else None
        self._reset()

    def _reset(self) -> None:
        self.start = time.perf_counter()
        self.steps, self.examples, self.flops, self.data_wait = 0, 0, 0.0, 0.0

    def add(self, examples: int, flops: float, data_wait: float) -> None:
        """Counts one step; `data_wait` is the time (s) it stood waiting for its batch."""
        self.steps += 1
        self.examples += examples
        self.flops += flops
        self.data_wait += data_wait

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Takes what is not training (evaluation, starting a save) out of the account."""
        began = time.perf_counter()
        yield
        self.start += time.perf_counter() - began

    def read(self) -> dict[str, float]:
        """Figures since the last call; call it when the device is done."""
        elapsed = max(time.perf_counter() - self.start, 1e-9)
        steps = max(self.steps, 1)
        stats = {
            "time/step_seconds": elapsed / steps,
            "time/examples_per_second": self.examples / elapsed,
            "time/data_wait_fraction": self.data_wait / elapsed,
            "time/tflops_per_second": self.flops / elapsed / 1e12,
        }
        if self._peak:
            stats["time/mfu"] = self.flops / elapsed / self._peak
        self._reset()
        return stats


def memory_stats() -> dict[str, float]:
    """Device memory in use and its peak, GiB, where the backend tells (not on CPU)."""
    stats = jax.local_devices()[0].memory_stats() or {}
    names = {"bytes_in_use": "memory/gib_in_use", "peak_bytes_in_use": "memory/gib_peak"}
    return {name: stats[key] / 2**30 for key, name in names.items() if key in stats}


def _is_picture(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == 3
