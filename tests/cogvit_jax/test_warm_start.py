"""Starting from another run's parameters: renamed, resampled, left fresh, or refused."""

import io
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from rich.console import Console

from cogvit_jax import checkpoint, settings, sharding, train_loop
from cogvit_jax.checkpoint import CheckpointError
from cogvit_jax.settings import ConfigError
from cogvit_jax.warm_start import resample_patches, resample_positions, source_name, warm_start

RULES = (("^vision/", "tower/"), (".*", ""))
CONFIG = ConfigDict({"vision": {"qk_norm": True, "rope_theta": 1e4}})


def tree_of(rng, patch=2, places=6, extra=()):
    def normal(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    return {
        "patch_embedding": {"kernel": normal(3 * patch * patch, 8)},
        "blocks": {"mlp": {"kernel": normal(2, 8, 8)}},
        "positions": normal(places, 8),
        **{name: normal(1, 1, 8) for name in extra},
    }


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=300)


@pytest.fixture
def source(tmp_path):
    params = {
        "tower": tree_of(np.random.default_rng(0), extra=("mask_token",)),
        "head": np.ones((3,), np.float32),
    }
    checkpoint.save_params(str(tmp_path), params)
    return str(tmp_path), params


def fresh(mesh, **sizes):
    params = {"vision": tree_of(np.random.default_rng(1), **sizes), "scale": np.float32(2)}
    return sharding.replicate(mesh, params)


def test_takes_what_the_rules_name_and_leaves_the_rest(make_mesh, source, console):
    workdir, saved = source
    before = fresh(make_mesh(8))
    after = warm_start(before, workdir, RULES, CONFIG, console)
    want = {k: v for k, v in saved["tower"].items() if k != "mask_token"}
    jax.tree.map(np.testing.assert_array_equal, after["vision"], want)
    assert float(after["scale"]) == 2
    assert jax.tree.all(jax.tree.map(lambda a, b: a.sharding == b.sharding, before, after))
    said = console.file.getvalue()
    assert "3 of 4 parameters" in said
    assert "fresh: scale" in said


def test_parameters_arrive_where_the_mesh_splits_them(make_mesh, source, console):
    workdir, saved = source
    mesh = make_mesh(8, data=1, fsdp=8)
    params = fresh(mesh)
    rules = (("mlp/kernel$", ("fsdp", None)), (".*", ()))
    placed = sharding.place(params, sharding.param_shardings(mesh, rules, params))
    after = warm_start(placed, workdir, RULES, CONFIG, console)
    kernel = after["vision"]["blocks"]["mlp"]["kernel"]
    assert kernel.addressable_shards[0].data.shape == (2, 1, 8)
    np.testing.assert_array_equal(kernel, saved["tower"]["blocks"]["mlp"]["kernel"])


def test_another_resolution_resamples_patches_and_positions(make_mesh, source, console):
    workdir, saved = source
    after = warm_start(fresh(make_mesh(1), patch=4, places=9), workdir, RULES, CONFIG, console)
    kernel = after["vision"]["patch_embedding"]["kernel"]
    old = saved["tower"]["patch_embedding"]["kernel"]
    np.testing.assert_allclose(kernel, resample_patches(old, 48), rtol=1e-6)
    assert after["vision"]["positions"].shape == (9, 8)
    assert "resampled: vision/patch_embedding/kernel" in console.file.getvalue().replace("\n", "")


@pytest.mark.parametrize(("old", "new"), [(2, 4), (4, 7), (14, 16)])
def test_resampled_kernels_say_of_an_enlarged_patch_what_the_old_said_of_the_patch(old, new):
    # FlexiViT's defining property, eq. 6: <B x, w'> = <x, w> for every patch x.
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((3 * old * old, 5)).astype(np.float32)
    patch = rng.standard_normal((old, old, 3)).astype(np.float32)
    enlarged = np.asarray(jax.image.resize(patch, (new, new, 3), "linear"))
    found = enlarged.reshape(-1) @ resample_patches(kernel, 3 * new * new)
    np.testing.assert_allclose(found, patch.reshape(-1) @ kernel, rtol=2e-4, atol=2e-5)


def test_positions_keep_their_ends_and_a_straight_line():
    line = np.linspace(0, 1, 5, dtype=np.float32)[:, None] * np.ones((1, 3), np.float32)
    longer = resample_positions(line, 9)
    assert longer.shape == (9, 3)
    assert np.all(np.diff(longer[1:-1, 0]) > 0)
    np.testing.assert_allclose(longer[[0, -1], 0], [0, 1], atol=1e-6)


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ((("^vision/", "twoer/"), (".*", "")), "no parameter 'twoer/"),
        ((("scale", "head"), (".*", "")), r"scale has shape \(\) here and \(3,\)"),
        ((("^visoin/", "tower/"), (".*", "")), "matches no parameter"),
    ],
)
def test_wrong_rules_and_shapes_are_refused(make_mesh, source, console, rules, words):
    with pytest.raises((CheckpointError, ConfigError), match=words):
        warm_start(fresh(make_mesh(1)), source[0], rules, CONFIG, console)


def test_the_nearest_name_is_named(make_mesh, source, console):
    rules = (("^vision/positions", "tower/position"), (".*", ""))
    with pytest.raises(CheckpointError, match="the nearest is 'tower/positions'"):
        warm_start(fresh(make_mesh(1)), source[0], rules, CONFIG, console)


def test_a_workdir_without_checkpoint_is_refused(make_mesh, tmp_path, console):
    with pytest.raises(CheckpointError, match="no complete checkpoint"):
        warm_start(fresh(make_mesh(1)), str(tmp_path / "empty"), RULES, CONFIG, console)


def test_another_function_of_equal_parameters_is_told(make_mesh, source, console, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"vision": {"qk_norm": False}}))
    warm_start(fresh(make_mesh(1)), source[0], RULES, CONFIG, console)
    assert "qk_norm: False, here True" in console.file.getvalue()


def test_source_names():
    assert source_name(RULES, "vision/norm/scale") == "tower/norm/scale"
    assert source_name(RULES, "text/norm/scale") == ""
    assert source_name((("a", "b"),), "c") == ""


def test_a_run_starts_from_another_and_a_resumed_one_does_not_again(toy, eight, tmp_path, console):
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    state = train_loop.run(toy.program(eight), toy.config(4), first, console)
    config = toy.config(2, init_from=first, init_rules=((".*", r"\g<0>"),))
    options = settings.read(train_loop.TrainSettings, config.train, "config.train")
    setup = train_loop.prepare(toy.program(eight), config, options, console)
    saved = checkpoint.Checkpointer(second)
    started, _ = train_loop.start(setup, saved, None, config, options, console)
    saved.close()
    jax.tree.map(np.testing.assert_array_equal, started.params, state.params)
    assert int(started.step) == 0
    train_loop.run(toy.program(eight), config, second, console)
    going_on = toy.config(4, init_from="nowhere", init_rules=((".*", r"\g<0>"),))
    assert int(train_loop.run(toy.program(eight), going_on, second, console).step) == 4


def test_parameters_alone_are_saved_and_read_back(tmp_path):
    params = {"a": {"b": jnp.arange(6.0).reshape(2, 3)}, "c": jnp.float32(4)}
    checkpoint.save_params(str(tmp_path), params)
    found, step = checkpoint.read_params(str(tmp_path))
    assert step == 0
    jax.tree.map(np.testing.assert_array_equal, found, params)
