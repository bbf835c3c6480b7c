"""Where numbers go, on disks and in object stores, and what a resumed run does with them."""

import json
import sys

import numpy as np
import pytest
from absl import logging
from etils import epath
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry
from ml_collections import ConfigDict
from rich.console import Console

from cogvit_jax import checkpoint, metrics, plots, run_dir
from cogvit_jax.settings import ConfigError


class Bucket(MemoryFileSystem):
    """Stands in for Google's object store: whole objects only."""

    protocol = ("gcs", "gs")

    @classmethod
    def _strip_protocol(cls, path):
        return "/" + str(path).removeprefix("gs://").removeprefix("gcs://").strip("/")

    def open(self, path, mode="rb", **options):
        assert "a" not in mode, "object stores cannot append"
        return super().open(path, mode, **options)

    def mv(self, *arguments, **options):
        raise AssertionError("renaming copies in an object store")


@pytest.fixture
def bucket(monkeypatch):
    """gs:// without a network."""
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    monkeypatch.setitem(_registry, "gcs", Bucket)
    epath.backend.fsspec_backend._get_filesystem.cache_clear()
    yield epath.Path("gs://bucket/run")
    Bucket.store.clear()
    epath.backend.fsspec_backend._get_filesystem.cache_clear()


def test_drop_lines_after(tmp_path):
    path = epath.Path(tmp_path / "metrics.jsonl")
    metrics.drop_lines_after(path, 3)  # nothing there yet
    assert not path.exists()
    lines = [json.dumps({"step": s, "name": "数字"}) for s in (1, 2, 2, 3, 4)]
    for rest in ("", '{"step": 5, "lo', "\n", '{"step": 5}'):
        path.write_text("\n".join([*lines, rest]))
        metrics.drop_lines_after(path, 3)
        assert [m["step"] for m in metrics.read_jsonl(path)] == [1, 2, 2, 3]
    assert not list(tmp_path.glob("*.tmp"))


def write_run(workdir, first, last):
    writer = metrics.Writer(str(workdir), first)
    for step in range(first + 1, last + 1):
        writer.write(step, {"loss": 1 / step, "grid": np.full((4, 6, 3), step, np.uint8)})
    return writer


def test_remote_and_local_runs_hold_the_same(bucket, tmp_path):
    for workdir in (bucket, epath.Path(tmp_path)):
        write_run(workdir, 0, 5).close()
        write_run(workdir, 3, 6).close()  # resumed at 3
        lines = metrics.read_jsonl(workdir / "metrics.jsonl")
        assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
        plots.curves(workdir / "metrics.jsonl", tmp_path / "curves.png")
    names = {p.name for p in (bucket / "plots").iterdir()}
    assert names == {p.name for p in (tmp_path / "plots").iterdir()}
    for name in names:
        picture = (bucket / "plots" / name).read_bytes()
        assert picture == (tmp_path / "plots" / name).read_bytes()


def test_remote_lines_are_written_in_time_and_on_flush(bucket):
    path = bucket / "metrics.jsonl"
    lines = metrics.RemoteLines(path, interval=1000)
    lines.add("1\n")
    assert not path.exists()
    lines.flush()
    assert path.read_text() == "1\n"
    eager = metrics.RemoteLines(path, interval=0)
    eager.add("2\n")
    assert path.read_text() == "1\n2\n"


def test_a_remote_run_without_tensorboards_store_package_says_so(bucket, monkeypatch):
    monkeypatch.setattr("tensorboardX.record_writer.GCS_ENABLED", False)
    said = []
    monkeypatch.setattr(logging, "warning", lambda text, *values: said.append(text % values))
    write_run(bucket, 0, 1).close()
    assert (
        "no TensorBoard files in gs://bucket/run/tensorboard: pip install google-cloud-storage"
        in said[0]
    )


def test_remote_config_and_checks(bucket):
    checkpoint.require_writable(str(bucket))
    assert not [p for p in bucket.iterdir() if p.name.startswith(".probe")]
    config = ConfigDict({"seed": 3, "data": {"train": "数字"}})
    run_dir.save_config(config, str(bucket), Console())
    assert run_dir.load_config(str(bucket)) == config


def test_a_remote_workdir_without_its_package_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    epath.backend.fsspec_backend._get_filesystem.cache_clear()
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(ConfigError, match=r"--workdir=gs://bucket/run: .*pip install gcsfs"):
        checkpoint.require_writable("gs://bucket/run")


def test_a_workdir_in_an_unknown_store_is_told():
    with pytest.raises(ConfigError, match=r"--workdir=gcs://bucket/run: .*'gcs://'.*gs://"):
        checkpoint.require_writable("gcs://bucket/run")


def test_laps_count_the_steps_between_two_logs(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    timer = metrics.StepTimer()
    for _ in range(2):
        timer.add(8, 1e12, 0.5)
    lap = timer.lap()
    timer.add(8, 1e12, 0.0)  # dispatched before the numbers of the lap are there
    now[0] = 1.0
    with timer.paused():
        now[0] = 3.0
    now[0] = 6.0
    assert timer.read(lap) == {
        "time/step_seconds": 2.0,
        "time/examples_per_second": 4.0,
        "time/data_wait_fraction": 0.25,
        "time/tflops_per_second": 0.5,
    }
