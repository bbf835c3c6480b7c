"""The program with what its default leaves out: a reference, old log-probabilities, a teacher."""

import io

import jax
import numpy as np
import pytest
from rich.console import Console

from cogvit_jax import metrics, run_dir, train_loop
from cogvit_jax.settings import ConfigError
from configs import rl as configs
from rl import programs


@pytest.fixture(scope="module", autouse=True)
def fast_compilation():
    """Compiling is nearly all of this file's time."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def small():
    config = configs.get_config("smoke")
    config.unlock()
    config.evals.tasks = 0
    config.train.eval_every = 0
    config.tasks.categories = ("counting",)
    return config


def run(config, workdir):
    console = Console(file=io.StringIO(), width=200)
    workdir.mkdir()
    program = programs.build(config, workdir=str(workdir))
    run_dir.save_config(config, str(workdir), console)
    train_loop.run(program, config, str(workdir), console)
    return [line for line in metrics.read_jsonl(workdir / "metrics.jsonl") if "loss" in line]


@pytest.mark.slow
def test_reference_old_policy_and_teacher_are_scored_and_told_of(tmp_path):
    config = small()
    run(config, tmp_path / "first")

    config.seed = 1  # another model than its teacher, and its own reference
    config.algorithm.preset = "grpo"
    config.algorithm.proximal = "old"
    config.algorithm.kl_weight = 0.1
    config.algorithm.distill_weights = (0.5,)
    config.teachers = (str(tmp_path / "first"),)
    lines = run(config, tmp_path / "second")
    first = lines[0]
    assert abs(first["kl/ref_k3"]) < 1e-9
    assert abs(first["kl/teachers"]) > 1e-3
    assert first["ratio/mean"] == pytest.approx(1, abs=1e-6)
    for name in ("ref_logprobs", "teacher_logprobs"):
        assert 0 <= lines[1][f"rl/{name}/copy_hidden_fraction"] <= 1
        assert lines[1][f"rl/{name}/copy_gigabytes"] > 0
    assert np.isfinite([line["loss"] for line in lines]).all()


def refused(match, **changes):
    config = small()
    for name, value in changes.items():
        config.update_from_flattened_dict({name.replace("__", "."): value})
    with pytest.raises(ConfigError, match=match):
        programs.build(config, workdir="")


@pytest.mark.parametrize(
    ("match", "changes"),
    [
        (r"config.sampling.top_k = 0, top_p = 0.9", {"sampling__top_p": 0.9}),
        (r"config.sampling.max_length = 300 is more than", {"sampling__max_length": 300}),
        (r"config.sampling.temperature = 0", {"sampling__temperature": 0.0}),
        (r"config.mesh.stage = 2", {"mesh__stage": 2}),
        (r"config.algorithm.preset", {"algorithm__preset": "gpro"}),
        (r"config.rollout.min_valid = 9", {"rollout__min_valid": 9}),
        (r"config.packing.rows = 0", {"packing__rows": 0}),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(match, changes):
    refused(match, **changes)
