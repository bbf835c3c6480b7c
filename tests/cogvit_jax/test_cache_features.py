"""The command that computes teachers' features once: what it refuses, and how a fault ends."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from cogvit_jax.cache_features import cache_features, read_batches
from cogvit_jax.data.pictures import View
from cogvit_jax.data.records import Record, Source
from cogvit_jax.settings import ConfigError
from configs import stage1, stage2

ROOT = Path(__file__).parents[2]


def quiet():
    return Console(file=io.StringIO())


def test_a_config_without_caches_or_teachers_is_refused():
    with pytest.raises(ConfigError, match=r"set config\.teachers\.<name>\.cache"):
        cache_features(stage1.get_config("smoke"), quiet())
    with pytest.raises(ConfigError, match="'stage2' has no teachers"):
        cache_features(stage2.get_config("smoke"), quiet())


def test_random_crops_are_refused_before_any_work(tmp_path):
    config = stage1.get_config("smoke")
    config.teachers.texture.cache = str(tmp_path / "texture")
    with pytest.raises(ConfigError, match="crop_scale"):
        cache_features(config, quiet())
    assert not (tmp_path / "texture").exists()


def test_records_are_read_in_order_and_bad_ones_are_told_apart():
    picture = np.full((9, 6, 3), 7, np.uint8)
    records = (Record("a", picture, ()), Record("b", b"broken", ()), Record("c", picture + 1, ()))
    batches = list(read_batches(Source("s", records), View(8, 4), 2))
    assert [usable for _, usable in batches] == [[True, False], [True]]
    assert all(patches.shape == (2, 4, 48) for patches, _ in batches)
    assert batches[0][0][0].max() == 7
    assert batches[1][0][0].min() == 8
    assert batches[0][0][1].max() == batches[1][0][1].max() == 0


def test_the_command_ends_with_one_line_and_helps():
    def run(*arguments):
        command = [sys.executable, "-m", "cogvit_jax.cache_features", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    wrong = run("--config=configs/stage1.py:smoke")
    assert wrong.returncode == 1
    assert wrong.stderr.strip().splitlines()[-1].startswith("error: no teacher has a cache")
    assert "Computes teachers' features once" in run("--help").stdout
