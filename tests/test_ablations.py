"""Ablations differ in what they are about only; runs are found again; tables say what runs say."""

import importlib
import io
import json
import subprocess

import numpy as np
import pytest
from matplotlib.figure import Figure
from rich.console import Console

from benchmarks import ablations
from cogvit_jax import programs
from configs import stage1
from tests.xla_flags import quick

# What a variant may set; everything else is the same in all.
ABOUT = {
    "teachers": {"teachers.semantic.weight", "teachers.texture.weight"},
    "mask_ratio": {"mask.ratio"},
    "normalization": {"teachers.semantic.normalize", "teachers.texture.normalize"},
    "qk_norm": {"vision.qk_norm"},
    "optimizer": {
        "optim.algorithm_rules",
        "optim.groups.vision.lr",
        "optim.groups.heads.lr",
    },
}


def variants(ablation):
    return importlib.import_module(f"configs.ablations.{ablation}").VARIANTS


def get_config(ablation, arg):
    return importlib.import_module(f"configs.ablations.{ablation}").get_config(arg)


def flat(config):
    found = {}
    for name, value in config.items():
        below = flat(value) if hasattr(value, "items") else {"": value}
        found |= {f"{name}.{rest}".rstrip("."): v for rest, v in below.items()}
    return found


def different(one, other):
    one, other = flat(one), flat(other)
    return {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}


def test_every_ablation_is_known():
    assert set(ABOUT) == set(ablations.ABLATIONS)


@pytest.mark.parametrize("ablation", ABOUT)
def test_variants_differ_in_what_they_are_about(ablation):
    configs = {v: get_config(ablation, v) for v in variants(ablation)}
    first = next(iter(configs.values()))
    for name, config in configs.items():
        assert different(first, config) <= ABOUT[ablation], name
    assert len({str(config) for config in configs.values()}) == len(configs)


@pytest.mark.parametrize("ablation", ABOUT)
def test_variants_build_and_share_one_tower(ablation):
    tower = stage1.get_config("tiny").tower
    for variant in variants(ablation):
        config = get_config(ablation, variant)
        assert config.tower == tower
        program = programs.build(config)
        assert "attention" in program.evaluators
        smoke = get_config(ablation, f"{variant}:smoke")
        assert smoke.train.steps == 2
        with pytest.raises(AttributeError, match="stpes"):
            smoke.train.stpes = 3
        assert flat(smoke).keys() == flat(config).keys()


@pytest.mark.parametrize("arg", [None, "", "bth", ":smoke", "both:smok"])
def test_unknown_variants_are_errors_with_the_choices(arg):
    with pytest.raises(ValueError, match=r"unknown config variant .*both, semantic, texture"):
        get_config("teachers", arg)


def quiet():
    return Console(file=io.StringIO(), width=200)


def pretend(run, steps=8, shift=0.0):
    """A complete run's files; losses fall from 2 to 1, to which `shift` is added."""
    (run.workdir / "checkpoints" / str(run.config.train.steps)).mkdir(parents=True)
    (run.workdir / "config.json").write_text(json.dumps(run.config.to_dict()))
    rows = [
        {"step": s, "loss/semantic": 1 + shift + (s < 0.75 * steps), "knn/digits": s / steps}
        for s in range(1, steps + 1)
    ]
    last = {"step": steps, "attention/vision/max_logit": 20.0 + shift, "knn/digits_pixels_8": 0.5}
    lines = [json.dumps(row) for row in (*rows, last)]
    (run.workdir / "metrics.jsonl").write_text("\n".join(lines) + "\n")


def test_complete_runs_are_not_repeated_and_shared_between_ablations(tmp_path, monkeypatch):
    trained = []

    def train(command, **_):
        workdir = next(x for x in command if x.startswith("--workdir=")).partition("=")[2]
        trained.append(workdir)
        pretend(next(r for r in (*runs, *others) if str(r.workdir) == workdir))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(ablations.subprocess, "run", train)
    runs, others = ablations.plan("teachers", [0, 1], tmp_path), []
    ablations.run_all(runs, quiet())
    assert trained == [str(r.workdir) for r in runs]
    assert len(trained) == 6
    runs = ablations.plan("teachers", [0, 1, 2], tmp_path)
    ablations.run_all(runs, quiet(), processes=2)
    assert len(trained) == 9
    # Where the base setting is a variant of another ablation it is not trained again.
    others = ablations.plan("mask_ratio", [0, 1], tmp_path)
    ablations.run_all(others, quiet())
    names = {f"mask_ratio/{v}-{s}" for v in ("0.15", "0.55", "0.75") for s in (0, 1)}
    assert set(trained[9:]) == {str(tmp_path / name) for name in names}
    assert others[2].workdir == tmp_path / "teachers" / "both-0"
    with pytest.raises(ValueError, match=r"both-0 holds a run of another config"):
        ablations.plan("teachers", [0], tmp_path, steps=7)


def test_a_failed_run_ends_with_its_log(tmp_path, monkeypatch):
    run = ablations.plan("teachers", [0], tmp_path, smoke=True)[0]

    def fail(command, stdout, **_):
        print("error: the reason", file=stdout)
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(ablations.subprocess, "run", fail)
    with pytest.raises(RuntimeError, match=r"both-0 failed.*\n.*\n?error: the reason"):
        ablations.train(run)


def test_table_and_plot_say_what_the_runs_say(tmp_path):
    runs = ablations.plan("qk_norm", [0, 1], tmp_path)
    for run in runs:
        pretend(run, shift=run.seed + 10 * (run.variant == "off"))
    found = ablations.summarise(runs)
    assert found["on"]["loss/semantic"] == [1.0, 2.0]  # of the last quarter
    assert found["off"]["attention/vision/max_logit"] == [30.0, 31.0]
    lines = ablations.markdown(runs).splitlines()
    assert lines[0] == "| qk_norm | loss, semantic | kNN, digits | max logit |"
    assert lines[2] == "| on | 1.500 ± 0.707 | 1.000 ± 0.000 | 20.5 ± 0.7 |"
    assert "seeds 0, 1; 200 steps; kNN of pixels 0.500" in lines[-1]
    figure = ablations.draw(runs)
    panels = {ax.get_title(): ax for ax in figure.axes}
    assert set(panels) == {"loss, semantic", "kNN, digits", "max logit"}
    on, off = panels["loss, semantic"].lines
    np.testing.assert_allclose(on.get_ydata()[[0, -1]], [2.5, 1.5])
    np.testing.assert_allclose(off.get_ydata() - on.get_ydata(), 10)
    assert isinstance(figure, Figure)


def test_losses_of_different_tasks_are_not_compared(tmp_path):
    runs = ablations.plan("normalization", [0], tmp_path)
    for run in runs:
        pretend(run)
    assert not any("loss" in name for name in ablations.cells(runs)[0])
    assert ablations.cells(runs)[1] == ["ema_std", "1.000", "20.0"]


def test_an_unknown_ablation_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"--ablation=teacher: choose of teachers, mask_ratio"):
        ablations.plan("teacher", [0], tmp_path)


@pytest.mark.slow
def test_smoke_form_runs_and_is_found_again(tmp_path, monkeypatch, xla_cache):
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    monkeypatch.setenv("XLA_FLAGS", quick())
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(xla_cache))
    # The texture teacher alone has no tower to be trained first.
    runs = ablations.plan("teachers", [1], tmp_path / "runs", smoke=True)[2:]
    ablations.run_all(runs, quiet())
    assert [step for step, _ in ablations.curve(runs[0], "loss/texture")] == [1, 2]
    again = ablations.plan("teachers", [1], tmp_path / "runs", smoke=True)
    assert [run.is_complete for run in again] == [False, False, True]
    assert ablations.compared("teachers") == list(ablations.METRICS)
    header, row = ablations.cells(runs)
    assert header == ["teachers"] + [
        name for metric, name in ablations.METRICS.items() if "semantic" not in metric
    ]
    assert row[0] == "texture"
    assert all(-1 <= float(x) < 100 for x in row[1:])  # cosines of an untrained student
