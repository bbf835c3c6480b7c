"""Compiled code is kept by default, apart for each kind of processor, and used again."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from cogvit_jax import compilation_cache as cache

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys, jax
from cogvit_jax import compilation_cache

hits = []
jax.monitoring.register_event_listener(lambda name, **_: hits.append(name))
compilation_cache.enable(sys.argv[1], "runs/none")
value = jax.jit(lambda x: (x @ x).sum())(jax.numpy.full((8, 8), 0.1))
print(hits.count("/jax/compilation_cache/cache_hits"), float(value))
"""
NAMES = (
    "jax_compilation_cache_dir",
    "jax_enable_compilation_cache",
    "jax_persistent_cache_min_compile_time_secs",
)


@pytest.fixture(autouse=True)
def restored(monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    before = {name: getattr(jax.config, name) for name in NAMES}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def test_a_second_process_loads_what_the_first_compiled(tmp_path):
    environment = os.environ | {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    outputs = []
    for _ in range(2):
        result = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(tmp_path)],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stderr
        assert not result.stderr  # no remark on other processors' features
        outputs.append(result.stdout.split())
    assert int(outputs[0][0]) == 0 < int(outputs[1][0])
    assert outputs[0][1] == outputs[1][1]


def test_where_it_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    kind = f"cpu-{cache.machine()}"
    assert cache.enable(None, "runs/x") == str(tmp_path / ".cache/cogvit_jax/xla" / kind)
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / ".cache/cogvit_jax/xla" / kind)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "mine"))
    assert cache.enable(None, "runs/x") == str(tmp_path / "mine" / kind)
    assert cache.enable(str(tmp_path / "given"), "runs/x") == str(tmp_path / "given" / kind)
    assert cache.default_folder("gs://bucket/run/") == "gs://bucket/run/xla"


def test_off_and_folders_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    assert cache.enable(str(tmp_path / "file" / "below"), "runs/x") == ""
    assert cache.enable("off", "runs/x") == ""
    assert not jax.config.jax_enable_compilation_cache


def test_other_processors_have_another_folder(monkeypatch):
    here = cache.machine()
    assert here == cache.machine()
    monkeypatch.setattr(Path, "read_text", lambda *_: "model name : Other\nflags : sse\n")
    assert cache.machine() != here
