"""CogViT's files: nothing is lost either way, and what cannot be held is refused."""

import dataclasses
import json

import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file

from cogvit_jax import tree
from cogvit_jax.interop.cogvit import load_cogvit, load_merger, save_cogvit
from cogvit_jax.interop.files import WeightsError, write_weights
from cogvit_jax.models import merger, vit
from tests.parity import glm_ocr
from tests.random_params import random_params

TINY = vit.VisionSettings(
    width=24,
    depth=2,
    num_heads=2,
    mlp_dim=36,
    patch_size=4,
    rope_theta=500.0,
    pixel_mean=(0.4, 0.5, 0.6),
    pixel_std=(0.2, 0.3, 0.25),
    dtype="float32",
)
GOLDEN = ("glm_ocr_small", "glm5_next_small")


def fields(**changes):
    return dataclasses.asdict(dataclasses.replace(TINY, **changes))


def random_vision():
    model, ones = vit.build(TINY), np.ones((1, 1), np.int32)
    patch, position = np.zeros((1, 1, 48), np.float32), np.zeros((1, 1, 2), np.int32)
    return jax.tree.map(np.asarray, random_params(model.init, patch, position, ones))


@pytest.fixture(scope="module")
def params():
    return random_vision()


def random_merger(mlp_dim=60):
    shapes = jax.eval_shape(lambda: merger.init(jax.random.key(0), 24, 20, mlp_dim))
    rng = np.random.default_rng(1)
    return jax.tree.map(
        lambda x: np.float32(0.2) * rng.standard_normal(x.shape, np.float32), shapes
    )


def assert_identical(ours, expected):
    """The same names and the same bits."""
    ours, expected = dict(tree.named_leaves(ours)), dict(tree.named_leaves(expected))
    assert ours.keys() == expected.keys()
    for name, x in ours.items():
        assert x.dtype == expected[name].dtype
        np.testing.assert_array_equal(x, expected[name], err_msg=name)


@pytest.mark.parametrize("limit", [0.0, 7.5])
@pytest.mark.parametrize("frames", [1, 2])
def test_ours_to_files_and_back(tmp_path, params, limit, frames):
    kernel = params["patch_embedding"]["kernel"]
    video = np.concatenate([kernel + i for i in range(frames)])
    ours = params | {"patch_embedding": params["patch_embedding"] | {"kernel": video}}
    mine = fields(swiglu_limit=limit)
    with_token = ours | {"mask_token": np.ones((1, 1, 24), np.float32)}
    save_cogvit(tmp_path / "tower", with_token, mine, random_merger())
    back, found = load_cogvit(tmp_path / "tower", temporal=frames == 2)
    assert_identical(back, ours)
    assert_identical(load_merger(tmp_path / "tower"), random_merger())
    assert found == {name: mine[name] for name in found}
    assert {"width", "mlp_dim", "rope_theta", "swiglu_limit", "pixel_mean"} <= found.keys()


@pytest.mark.parametrize("prefix", ["", "visual.", "model.visual."])
@pytest.mark.parametrize("name", GOLDEN)
def test_files_of_transformers_to_ours_and_back(tmp_path, name, prefix):
    golden = glm_ocr.load_golden(name)
    folder = glm_ocr.write_golden(tmp_path / "theirs", golden, prefix)
    ours, found = load_cogvit(folder, temporal=True)
    save_cogvit(tmp_path / "ours", ours, found, load_merger(folder))
    assert_identical(
        load_file(tmp_path / "ours" / "model.safetensors"), glm_ocr.golden_state(golden)
    )


@pytest.mark.parametrize("name", GOLDEN)
def test_config_says_what_transformers_says(tmp_path, name):
    golden = glm_ocr.load_golden(name)
    folder = glm_ocr.write_golden(tmp_path / "theirs", golden)
    save_cogvit(tmp_path / "ours", *load_cogvit(folder), load_merger(folder))
    ours = json.loads((tmp_path / "ours" / "config.json").read_text())
    theirs = json.loads(str(golden["config"]))
    assert ours == {key: theirs[key] for key in ours}
    left_to_defaults = theirs.keys() - ours.keys()
    assert left_to_defaults <= {
        "attention_dropout",
        "image_size",
        "initializer_range",
        "transformers_version",
    }


def test_a_kernel_of_images_is_split_over_two_equal_frames(tmp_path, params):
    save_cogvit(tmp_path / "tower", params, fields())
    kernel = load_file(tmp_path / "tower" / "model.safetensors")["patch_embed.proj.weight"]
    ours = params["patch_embedding"]["kernel"].reshape(4, 4, 3, 24)
    np.testing.assert_array_equal(kernel[:, :, 0], kernel[:, :, 1])
    for row, column, channel in np.ndindex(4, 4, 3):
        expected = ours[row, column, channel]
        np.testing.assert_array_equal(kernel[:, channel, :, row, column].sum(axis=1), expected)


def test_bfloat16_rounds_once(tmp_path, params):
    save_cogvit(tmp_path / "tower", params, fields(), dtype="bfloat16")
    stored = load_file(tmp_path / "tower" / "model.safetensors")
    assert {x.dtype for x in stored.values()} == {np.dtype(ml_dtypes.bfloat16)}
    rounded = jax.tree.map(lambda x: x.astype(ml_dtypes.bfloat16).astype(np.float32), params)
    assert_identical(load_cogvit(tmp_path / "tower")[0], rounded)


def test_a_whole_models_config_and_processor_are_read(tmp_path):
    golden = glm_ocr.load_golden("glm5_next_small")
    vision = json.loads(str(golden["config"])) | {"rope_parameters": {"rope_theta": 99.0}}
    state = {f"model.visual.{name}": x for name, x in glm_ocr.golden_state(golden).items()}
    state |= {"model.language_model.norm.weight": np.ones(3, np.float32)}
    del vision["model_type"]
    config = {"model_type": "glm5_next", "vision_config": vision}
    write_weights(tmp_path / "model", state, config)
    processor = {"image_processor": {"image_mean": [0.1, 0.2, 0.3], "image_std": [1, 2, 3]}}
    (tmp_path / "model" / "processor_config.json").write_text(json.dumps(processor))
    _, found = load_cogvit(tmp_path / "model" / "model.safetensors")
    assert found["pixel_mean"] == (0.1, 0.2, 0.3)
    assert found["rope_theta"] == 99.0
    assert found["swiglu_limit"] == 0.75


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model_type": "glm4v_vision"},
            r"config\.json: model_type is 'glm4v_vision'.*glm4v ",
        ),
        ({"model_type": None}, r"model_type is None, expected one of glm_ocr"),
        ({"rms_norm_eps": 1e-6}, r"rms_norm_eps is 1e-06, expected 1e-05"),
        ({"temporal_patch_size": 1}, r"temporal_patch_size is 1, expected 2"),
        ({"hidden_act": "gelu"}, r"hidden_act is 'gelu', expected 'silu'"),
    ],
)
def test_other_models_are_refused(tmp_path, changes, message):
    golden = glm_ocr.load_golden("glm_ocr_small")
    config = json.loads(str(golden["config"])) | changes
    write_weights(tmp_path / "tower", glm_ocr.golden_state(golden), config)
    with pytest.raises(WeightsError, match=message):
        load_cogvit(tmp_path / "tower")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("blocks.1.norm2.weight"), r"no key 'blocks\.1\.norm2\.weight' \(32,\)"),
        (lambda s: s.pop("patch_embed.proj.weight"), r"0 keys end in 'patch_embed\.proj\.weight'"),
        (
            lambda s: s.update({"x.patch_embed.proj.weight": s["patch_embed.proj.weight"]}),
            r"2 keys end in 'patch_embed\.proj\.weight', expected one",
        ),
        (
            lambda s: s.update({"blocks.1.mlp.up_proj.bias": np.zeros(57, np.float32)}),
            r"'blocks\.1\.mlp\.up_proj\.bias' has shape \(57,\), expected \(56,\)",
        ),
    ],
)
def test_damaged_checkpoints_name_key_and_shapes(tmp_path, change, message):
    golden = glm_ocr.load_golden("glm_ocr_small")
    state = glm_ocr.golden_state(golden)
    change(state)
    write_weights(tmp_path / "tower", state, json.loads(str(golden["config"])))
    with pytest.raises(WeightsError, match=message):
        load_cogvit(tmp_path / "tower")


def test_what_the_format_cannot_hold_is_refused(tmp_path, params):
    wide = params | {"head": {"kernel": np.zeros(3)}}
    for given, changes, extra, message in (
        (params, {"qk_norm": False}, None, r"vision\.qk_norm is False"),
        (params, {"patch_size": 6}, None, r"\(48, 24\); patches of 6 x 6 pixels need \(108, 24\)"),
        (
            params,
            {"depth": 3},
            None,
            r"'blocks/attention/k_norm/scale' has shape \(2, 12\), exp",
        ),
        (wide, {}, None, r"parameter 'head/kernel' has shape \(3,\), expected None"),
        (params, {}, random_merger(61), r"gate/kernel has shape \(20, 61\), expected \(20, 60\)"),
    ):
        with pytest.raises(WeightsError, match=message):
            save_cogvit(tmp_path / "tower", given, fields(**changes), extra)
    assert not (tmp_path / "tower").exists()
    save_cogvit(tmp_path / "tower", params, fields(swiglu_limit=1.0), random_merger(61))
    with pytest.raises(FileExistsError, match="is not an empty folder"):
        save_cogvit(tmp_path / "tower", params, fields())
