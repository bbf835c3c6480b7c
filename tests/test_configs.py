"""Every config file builds; its smoke variant trains, evaluates and saves."""

import importlib
import io
from pathlib import Path

import jax
import numpy as np
import pytest
from rich.console import Console

from cogvit_jax import metrics, optim, run_dir, train_loop, train_step, tree
from cogvit_jax import programs as encoder_programs
from mmtp import programs as language_programs
from rl import programs as rl_programs

FOLDER = Path(__file__).parents[1] / "configs"
NAMES = sorted(p.stem for p in FOLDER.glob("*.py") if "def get_config(" in p.read_text())


@pytest.fixture(scope="module", autouse=True)
def fast_compilation():
    """Compiling is nearly all of this file's time."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def build(config, workdir=""):
    """The program of a config, of whichever package has it."""
    if config.program in rl_programs.PROGRAMS:
        return rl_programs.build(config, workdir=workdir)
    language = config.program in language_programs.PROGRAMS
    return (language_programs if language else encoder_programs).build(config)


def get_config(name, variant=None):
    return importlib.import_module(f"configs.{name}").get_config(variant)


def prepare(config):
    """(program, shapes of the state, their shardings, optimizer) without computing anything."""
    program = build(config)
    params = jax.eval_shape(program.init, jax.random.key(0))
    optimizer = optim.build(config.optim, params, config.train.steps)
    shapes = train_step.state_shapes(program, optimizer.transform, config.seed)
    return (
        program,
        shapes,
        train_step.state_shardings(program, config.mesh.rules, shapes),
        optimizer,
    )


def test_there_are_configs():
    assert "stage2" in NAMES


LONG = ("vlm_pretrain", "vlm_sft")  # most of a minute each
SMOKED = [pytest.param(n, marks=pytest.mark.slow) if n in LONG else n for n in NAMES]


@pytest.mark.parametrize("name", SMOKED)
def test_smoke_variant_trains_evaluates_and_saves(name, tmp_path):
    config = get_config(name, "smoke")
    console = Console(file=io.StringIO(), width=200)
    run_dir.save_config(config, str(tmp_path), console)
    state = train_loop.run(build(config, str(tmp_path)), config, str(tmp_path), console)
    assert int(state.step) == 2
    lines = metrics.read_jsonl(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines if "loss" in line] == [1, 2]
    assert all(np.isfinite(line["loss"]) for line in lines if "loss" in line)
    assert (tmp_path / "checkpoints" / "2").is_dir()
    assert (tmp_path / "curves.png").stat().st_size > 1000
    assert all(p.stat().st_size > 1000 for p in (tmp_path / "plots").glob("*.png"))
    assert list((tmp_path / "plots").glob("*.png"))
    assert list((tmp_path / "tensorboard").glob("events*"))
    # What the run was started with, and what it ended with, can be read back.
    again = run_dir.load_config(str(tmp_path))
    assert run_dir.load_params(build(again), again, str(tmp_path))[1] == 2


@pytest.mark.parametrize("name", NAMES)
def test_full_run_fits_its_mesh_rules_and_optimizer(name):
    config = get_config(name)
    config.mesh.fsdp = 8  # the devices of the tests; the pod's torus has axes of 16
    _, shapes, placed, optimizer = prepare(config)
    split = [s for s in jax.tree.leaves(placed.params) if not s.is_fully_replicated]
    assert split, "a pod-sized model is sharded"
    total = sum(x.size for x in jax.tree.leaves(shapes.params))
    biggest = max(
        x.size
        for x, s in zip(jax.tree.leaves(shapes.params), jax.tree.leaves(placed.params), strict=True)
        if s.is_fully_replicated
    )
    assert biggest < total / 1000
    assert set(jax.tree.leaves(optimizer.groups)) <= set(config.optim.groups)


def test_stage2_trains_the_403m_encoder_from_the_report():
    config = get_config("stage2")
    config.mesh.fsdp = 8
    _, shapes, _, optimizer = prepare(config)
    blocks = [x.size for n, x in tree.named_leaves(shapes.params) if n.startswith("vision/blocks/")]
    assert sum(blocks) == 403_024_896
    assert set(jax.tree.leaves(optimizer.groups)) == {"vision", "text", "projection"}
    assert config.data.global_batch == 65_536


@pytest.mark.parametrize("name", NAMES)
def test_configs_are_locked_and_name_their_variants(name):
    config = get_config(name)
    with pytest.raises(AttributeError, match="stpes"):
        config.train.stpes = 3
    with pytest.raises(ValueError, match=r"unknown config variant 'smok'; choices: .*smoke"):
        get_config(name, "smok")


@pytest.mark.parametrize("name", NAMES)
def test_every_field_of_a_variant_is_one_of_the_full_config(name):
    def fields(config):
        return {
            f"{key}.{sub}"
            for key, section in config.items()
            if hasattr(section, "keys")
            for sub in section
        }

    assert fields(get_config(name, "smoke")) == fields(get_config(name))
