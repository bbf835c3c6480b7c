"""Variants differ in what they are about only; runs are planned once; tables say what runs say."""

import io
import json
import subprocess

import numpy as np
import pytest
from rich.console import Console

from benchmarks import ablations, rl_ablation
from benchmarks import rl_ablation_plots as plots
from benchmarks import rl_ablation_tables as tables
from cogvit_jax.settings import ConfigError
from configs import rl
from configs.ablations import rl as config_file
from rl import algorithm, programs
from rl.envs import CATEGORIES
from rl.programs import rl_tasks
from tests.test_ablations import different, flat
from tests.xla_flags import quick

VARIANTS = tuple(config_file.VARIANTS)
ABOUT = {"staleness": "rollout", "hierarchy": "curriculum", "teacher": "algorithm"}


def quiet():
    return Console(file=io.StringIO(), width=200)


@pytest.mark.parametrize("question", ABOUT)
def test_variants_differ_in_what_they_are_about(question):
    base = config_file.get_config(rl_ablation.BASE)
    for variant in rl_ablation.QUESTIONS[question]:
        found = different(base, config_file.get_config(variant))
        assert {name.partition(".")[0] for name in found} <= {ABOUT[question]}, variant


def test_every_question_has_one_base_and_all_variants_are_asked():
    for variants in rl_ablation.QUESTIONS.values():
        assert [rl_ablation.same(v) for v in variants].count(rl_ablation.BASE) == 1
    asked = {v for variants in rl_ablation.QUESTIONS.values() for v in variants}
    assert asked | {tables.START} == set(VARIANTS)


def test_staleness_teachers_and_levels_are_what_their_names_say():
    configs = {variant: config_file.get_config(variant) for variant in VARIANTS}
    staleness = [configs[v].rollout.max_staleness for v in ("sync", "async", "partial")]
    assert staleness == [0, 1, 2]
    assert configs["partial"].rollout.partial == "continue"
    chosen = {v: algorithm.read(configs[v].algorithm) for v in ("reward", "distill", "mixed")}
    assert [bool(c.distill_weights) for c in chosen.values()] == [False, True, True]
    assert [c.advantage for c in chosen.values()] == ["grpo", "none", "grpo"]
    levels = {CATEGORIES[name].level for name in rl.TINY_CATEGORIES}
    assert {level for level, *_ in configs["hierarchy"].curriculum.levels} < levels


@pytest.mark.parametrize("variant", ["partial", "hierarchy", "distill", "start"])
def test_variants_build_and_have_a_smoke_form(variant):
    config = config_file.get_config(variant)
    smoke = config_file.get_config(f"{variant}:smoke")
    assert smoke.train.steps <= 2
    with pytest.raises(AttributeError, match="stpes"):
        smoke.train.stpes = 3
    assert flat(smoke).keys() == flat(config).keys()
    for one in (config, smoke):
        if one.algorithm.distill_weights:
            with one.unlocked():
                one.teachers = ("runs/multi",)
        assert set(programs.build(one).evaluators) == {"heldout", "blank"}


@pytest.mark.parametrize("arg", [None, "", "mult", ":smoke", "multi:smok"])
def test_unknown_variants_are_errors_with_the_choices(arg):
    with pytest.raises(ValueError, match=r"unknown config variant .*multi, single_"):
        config_file.get_config(arg)


def test_categories_that_are_not_trained_are_asked():
    config = config_file.get_config("single_handwriting")
    assert set(rl_tasks.Tasks(config, None).state["levels"]) == {"handwriting"}
    asked = rl_tasks.held_out(config, 2, config.evals.categories)
    assert sorted(task.category for task in asked) == sorted(2 * rl.TINY_CATEGORIES)
    assert {task.category for task in rl_tasks.held_out(config, 1)} == {"handwriting"}
    config.unlock()
    config.evals.categories = ("handwritign",)
    with pytest.raises(ConfigError, match=r"config\.evals\.categories: 'handwritign'.*handwriting"):
        programs.build(config)


def planned(root, *variants, **rest):
    return rl_ablation.plan(variants, [0], root, init_from="/model", **rest)


def test_variants_that_are_the_same_run_are_trained_once(tmp_path, monkeypatch):
    trained = []

    def train(command, **_):
        workdir = next(x for x in command if x.startswith("--workdir=")).partition("=")[2]
        assert command[2] == "rl.main"
        trained.append(workdir.rpartition("/")[2])
        pretend(next(run for run in runs if str(run.workdir) == workdir))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(ablations.subprocess, "run", train)
    runs = planned(tmp_path, "multi", "async", "sync")
    rl_ablation.run_all(runs, quiet())
    assert trained == ["start-0", "multi-0", "sync-0"]
    runs = planned(tmp_path, "flat", "hierarchy")
    rl_ablation.run_all(runs, quiet())
    assert trained[3:] == ["hierarchy-0"]
    with pytest.raises(ValueError, match=r"sync-0 holds a run of another config"):
        planned(tmp_path, "sync", steps=7)


def test_teachers_are_trained_before_pupils(tmp_path):
    runs = planned(tmp_path, "mixed", "distill")
    assert [run.variant for run in runs] == ["start", "multi", "mixed", "distill"]
    assert runs[2].config.teachers == (str(runs[1].workdir),)
    assert f"--config.teachers=('{runs[1].workdir}',)" in runs[3].options
    runs = planned(tmp_path, "distill", teacher="/other")
    assert [run.variant for run in runs] == ["start", "distill"]
    assert runs[1].config.teachers == ("/other",)


@pytest.mark.parametrize(
    ("match", "variants", "model"),
    [(r"--variants=syn: choose of multi", ["syn"], "x"), (r"--init_from", ["sync"], "")],
)
def test_plans_that_cannot_be_are_refused(tmp_path, match, variants, model):
    with pytest.raises(ValueError, match=match):
        rl_ablation.plan(variants, [0], tmp_path, model)


def pretend(run, gain=0.0):
    """A complete run's files; held-out rewards are 0.25 and what was gained."""
    (run.workdir / "checkpoints" / str(run.config.train.steps)).mkdir(parents=True)
    (run.workdir / "config.json").write_text(json.dumps(run.config.to_dict()))
    rows = [
        {
            "step": step,
            "grad_norm": 1.0 if step != 35 else 9.0,
            "rl/reward_mean": 0.5 + 0.1 * (-1) ** step,
            "time/step_seconds": 100.0 if step == 1 else 2.0,
            "staleness/mean": step % 2,
            "rl/staleness_max": step % 3,
            "rl/schedule/wasted": step / 400,
            "skipped": 1.0,
        }
        for step in range(1, run.config.train.steps + 1)
    ]
    last = {"step": rows[-1]["step"]}
    for name in rl.TINY_CATEGORIES:
        own = run.variant in ("multi", f"single_{name}")
        last |= {f"heldout/reward/{name}": 0.25 + gain * own, f"blank/reward/{name}": 0.125}
    last |= {"heldout/reward": 0.25 + gain / 6, "blank/reward": 0.125}
    text = "\n".join(json.dumps(row) for row in (*rows, last))
    (run.workdir / "metrics.jsonl").write_text(text + "\n")


def test_tables_and_pictures_say_what_the_runs_say(tmp_path):
    runs = planned(tmp_path, "multi", "single_handwriting")
    for run, gain in zip(runs, (0.0, 0.5, 0.6), strict=True):
        pretend(run, gain)
    found = tables.figures(runs[1])
    assert found["steps_per_second"] == 0.5  # without the first step, which compiles
    assert found["spikes"] == 1
    assert found["reward_std"] == pytest.approx(0.1)
    assert found["staleness"] == 0.5
    assert found["staleness_max"] == 2
    assert found["wasted"] == 0.1
    gains = tables.transfer(tables.summarise(runs))
    assert gains["handwriting"] == {
        name: pytest.approx(0.6 * (name == "handwriting")) for name in sorted(rl.TINY_CATEGORIES)
    }
    assert set(gains["all"].values()) == {0.5}
    text = tables.markdown(runs)
    assert "| start | 0.250 | 0.250 |" in text
    assert "| single_handwriting | 0.350 |" in text
    assert text.count("+0.600") == 1
    assert "40 steps of 18 groups of 8" in text
    drawn = plots.drawings(runs)
    panels = {ax.get_title(): ax for ax in drawn["curves"].axes}
    line, _ = panels["reward, held out"].lines
    np.testing.assert_allclose(line.get_xydata(), [[0, 0.25], [40, 0.25 + 0.5 / 6]])
    assert len(panels["reward, trained tasks"].lines[0].get_xdata()) == 8
    texts = [t.get_text() for t in drawn["transfer"].axes[0].texts]
    assert len(texts) == 12
    assert texts.count("+0.60") == 1
    rl_ablation.write(runs, tmp_path / "out", "categories")
    assert len(list((tmp_path / "out").iterdir())) == 4


def test_without_single_categories_nothing_is_said_of_transfer(tmp_path):
    runs = planned(tmp_path, "flat")
    for run in runs:
        pretend(run)
    assert "gain on" not in tables.markdown(runs)
    assert set(plots.drawings(runs)) == {"curves"}


@pytest.mark.slow
def test_a_pupil_is_taught_by_another_run(tmp_path, monkeypatch, xla_cache):
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    monkeypatch.setenv("XLA_FLAGS", quick())
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(xla_cache))
    root = tmp_path / "runs"
    given = {"teacher": str(root / "rl" / "start-0"), "smoke": True}
    runs = rl_ablation.plan(["distill"], [0], root, **given)
    rl_ablation.run_all(runs, quiet())
    begun, pupil = map(tables.figures, runs)
    assert len(ablations.curve(runs[1], "kl/teachers")) == 2
    for name in rl.TINY_CATEGORIES:
        assert 0 <= pupil[f"heldout/reward/{name}"] <= 1
        assert 0 <= begun[f"heldout/reward/{name}"] <= 1
    again = rl_ablation.plan(["distill"], [0], root, **given)
    assert all(run.is_complete for run in again)
    assert "| distill |" in tables.markdown(again)
