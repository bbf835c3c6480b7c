"""Curves of sources are what the metrics file says."""

import json
import math

import numpy as np
import pytest

from cogvit_jax.settings import ConfigError
from rl.viewing import curves

ROWS = [
    {"step": 1, "rl/source/maze/reward_mean": 0.2, "rl/source/maze/reward_error": 0.1,
     "rl/source/maze/pass_at_1": 0.2, "rl/source/maze/pass_at_8": 0.6, "loss": 1.0},
    {"step": 3, "rl/source/maze/reward_mean": 0.4, "rl/source/maze/reward_error": 0.05,
     "rl/source/maze/pass_at_8": 0.7, "reward/source/maze/mean": 9.0,
     "reward/source/gui/a/mean": 0.5, "reward/source/gui/a/std": 0.5,
     "reward/source/gui/a/rollouts": 25},
    {"step": 4, "loss": 0.5},
]  # fmt: skip


def test_both_kinds_of_names_are_found():
    found = curves.curves(ROWS)
    assert list(found) == ["gui/a", "maze"]
    maze, gui = found["maze"], found["gui/a"]
    assert maze.steps.tolist() == [1, 3]
    assert maze.means.tolist() == [0.2, 0.4]
    assert maze.halves == pytest.approx([0.196, 0.098])
    assert (maze.k, maze.passed.tolist()) == (8, [0.6, 0.7])
    assert gui.halves == pytest.approx([1.96 * 0.5 / 5])
    assert (gui.k, math.isnan(gui.passed[0])) == (1, True)


def test_smoothing_by_hand():
    curve = curves.Curve(*np.array([[1, 2, 3], [0, 1, 0.5], [0.3, 0.4, 0], [0, 0, 1]]), 2)
    found = curves.smoothed(curve, 2)
    assert found.means == pytest.approx([0, 0.5, 0.75])
    assert found.halves == pytest.approx([0.3, 0.25, 0.2])
    assert curves.smoothed(curve, 1) is curve


def test_a_panel_of_each_source(tmp_path):
    found = curves.curves(ROWS)
    figure = curves.figure(found)
    assert [axes.get_title() for axes in figure.axes] == ["gui/a", "maze"]
    mean, passed = figure.axes[1].lines
    np.testing.assert_allclose(mean.get_ydata(), [0.2, 0.4])
    assert passed.get_label() == "pass@8"
    many = {f"source {i}": found["maze"] for i in range(9)}
    assert len(curves.figure(many).axes) == 9


def test_a_file_becomes_a_picture(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
    assert curves.draw(path, tmp_path / "sources.png", 2) == ["gui/a", "maze"]
    assert (tmp_path / "sources.png").stat().st_size > 5000
    path.write_text('{"step": 1, "loss": 2}\n')
    with pytest.raises(ConfigError, match="has no rewards of sources"):
        curves.draw(path, tmp_path / "other.png")
