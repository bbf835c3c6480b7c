"""Reading and writing GLM's files: the same bytes back, and errors that say what to do."""

import json
import re
import warnings
from dataclasses import replace
from pathlib import Path

import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from cogvit_jax.interop.files import WeightsError
from cogvit_jax.models import vit
from cogvit_jax.settings import ConfigError
from mmtp.interop import glm_config
from mmtp.interop.glm import load_glm
from mmtp.interop.glm_save import save_glm
from mmtp.models import vlm
from mmtp.models.decoder import DecoderSettings, resolve
from mmtp.models.glm4v_tower import Glm4vTower
from mmtp.models.mtp_settings import MTPSettings
from tests.mmtp import tiny_vlm
from tests.mmtp.interop import glm_cases

MTP = "model.language_model.layers.2."


@pytest.fixture(scope="module")
def golden():
    return glm_cases.load_golden("ocr")


@pytest.fixture(scope="module")
def folder(golden, tmp_path_factory):
    return glm_cases.write_checkpoint(tmp_path_factory.mktemp("glm") / "ocr", golden)


def arrays(folder):
    return load_file(folder / "model.safetensors")


def rewrite(folder, target, change=None, **config):
    """A copy with other arrays, or other entries of text_config."""
    state, content = arrays(folder), json.loads((folder / "config.json").read_text())
    if change is not None:
        change(state)
    content["text_config"] |= config
    return glm_cases.write_files(target, state, content, copies=False)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_same_bytes_come_back(folder, tmp_path, dtype):
    model, params = load_glm(folder, dtype)
    save_glm(tmp_path / "out", model, params)
    before, after = arrays(folder), arrays(tmp_path / "out")
    assert before.keys() == after.keys()
    kind = {"float32": np.float32, "bfloat16": ml_dtypes.bfloat16}[dtype]
    for name, x in before.items():
        assert after[name].dtype == kind
        assert after[name].tobytes() == x.astype(kind).tobytes()
    again, same = load_glm(tmp_path / "out")  # in the dtype of the files
    assert again == model
    jax.tree.map(np.testing.assert_array_equal, same, params)


def test_ours_come_back_with_their_settings(tmp_path):
    tied = replace(tiny_vlm.model().decoder, tied=True)
    for depth, shared, decoder in ((2, False, tied), (0, True, tiny_vlm.model().decoder)):
        settings = replace(tiny_vlm.model(depth=depth, shared=shared), decoder=decoder)
        model = replace(settings, patch_dim=2 * settings.patch_dim)
        params = glm_cases.random_params(model, depth)
        target = tmp_path / str(depth)
        save_glm(target, model, params)
        found, same = load_glm(target)
        assert found.mtp == model.mtp
        assert found.decoder == model.decoder
        assert found.vision.clone(remat="none") == model.vision.clone(remat="none")
        jax.tree.map(np.testing.assert_array_equal, same, params)
        assert ("lm_head.weight" in arrays(target)) is not decoder.tied


def test_a_kernel_of_pictures_goes_into_two_frames(tmp_path):
    model = tiny_vlm.model()
    params = glm_cases.random_params(model)
    save_glm(tmp_path / "out", model, params)
    found, same = load_glm(tmp_path / "out")
    assert found.patch_dim == 2 * model.patch_dim
    halves = np.split(same["vision"]["patch_embedding"]["kernel"], 2)
    kernel = np.asarray(params["vision"]["patch_embedding"]["kernel"])
    np.testing.assert_array_equal(halves[0] + halves[1], kernel)


def test_parameters_have_the_shapes_of_new_ones(tmp_path):
    for kind in ("ocr", "4v", "4v_moe"):
        golden = glm_cases.load_golden(kind)
        model, params = load_glm(glm_cases.write_checkpoint(tmp_path / kind, golden))
        fresh = jax.eval_shape(lambda key, m=model: vlm.init(m, key), jax.random.key(0))
        assert jax.tree.map(lambda x: x.shape, fresh) == jax.tree.map(lambda x: x.shape, params)
        assert isinstance(model.vision, Glm4vTower) is (kind != "ocr")


def test_without_the_promised_layer_there_is_none(folder, tmp_path):
    def drop(state):
        for name in [n for n in state if n.startswith(MTP)]:
            del state[name]

    model, params = load_glm(rewrite(folder, tmp_path / "out", drop))
    assert model.mtp.depth == 0
    assert "mtp" not in params


def test_copies_may_lack_or_equal_but_not_differ(golden, folder, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, params = load_glm(glm_cases.write_checkpoint(tmp_path / "none", golden, copies=False))
    jax.tree.map(np.testing.assert_array_equal, params, load_glm(folder)[1])

    def change(state):
        state[f"{MTP}shared_head.head.weight"] = 1 + state["lm_head.weight"]

    with pytest.warns(UserWarning, match=r"layers\.2\.shared_head\.head\.weight' differs"):
        load_glm(rewrite(folder, tmp_path / "other", change))


def test_damaged_checkpoints_name_file_key_and_shapes(folder, tmp_path):
    key = "model.language_model.layers.1.mlp.gate_up_proj.weight"

    def lack(state):
        del state[key]

    def half(state):
        state[key] = state[key][:4]

    def more(state):
        state["model.language_model.layers.0.self_attn.q_proj.bias"] = np.zeros(4, np.float32)

    cases = (
        (lack, {}, r"lack.*no key 'layers\.1\.mlp\.gate_up_proj\.weight' \(112, 40\)"),
        (half, {}, rf"half.*{re.escape(key)}' has shape \(4, 40\), expected \(112, 40\)"),
        (more, {}, r"more: 1 arrays are no part .*layers\.0\.self_attn\.q_proj\.bias' \(4,\)"),
        (None, {"num_hidden_layers": 1}, r"no key 'layers\.1\.enorm\.weight' \(40,\).*the nearest"),
        (None, {"hidden_act": "gelu"}, r"config\.json: hidden_act is 'gelu', expected 'silu'"),
        (None, {"model_type": "llama"}, r"text_config\.model_type is 'llama', expected one of"),
        (None, {"rope_parameters": {"rope_type": "yarn"}}, r"rope_type is 'yarn'"),
        (None, {"rope_parameters": {"mrope_section": [1]}}, r"mrope_sections = \(1,\)"),
        (None, {"num_nextn_predict_layers": 0}, r"arrays are no part .*layers\.2\."),
    )
    for number, (change, config, message) in enumerate(cases):
        target = tmp_path / (change.__name__ if change else f"config{number}")
        with pytest.raises(WeightsError, match=message):
            load_glm(rewrite(folder, target, change, **config))
    with pytest.raises(ConfigError, match="dtype = 'float8' is not known"):
        load_glm(folder, "float8")


def test_a_tower_that_holds_more_is_refused(tmp_path):
    golden = glm_cases.load_golden("4v")
    folder = glm_cases.write_checkpoint(tmp_path / "4v", golden)
    state = arrays(folder) | {"model.visual.blocks.0.attn.q_norm.weight": np.ones(4, np.float32)}
    save_file(state, folder / "model.safetensors")
    with pytest.raises(WeightsError, match=r"1 arrays are no part of the model.*q_norm"):
        load_glm(folder)


def test_what_the_format_cannot_say_is_refused(tmp_path):
    model = tiny_vlm.model()
    params = glm_cases.random_params(model)
    for change, message in (
        (
            {"decoder": replace(model.decoder, qk_norm=True)},
            r"decoder\.qk_norm is True",
        ),
        ({"mtp": replace(model.mtp, image_embed="own")}, r"mmtp\.image_embed is 'own'"),
        (
            {"mtp": replace(model.mtp, conventions="maxtext")},
            r"mmtp\.own_norm is False",
        ),
        ({"vision": model.vision.clone(swiglu_limit=1.0)}, r"vision\.swiglu_limit is 1\.0"),
    ):
        with pytest.raises(WeightsError, match=message):
            save_glm(tmp_path / "out", replace(model, **change), params)
    assert not (tmp_path / "out").exists()
    with pytest.raises(WeightsError, match=r"<\|image\|> at \d+, the model at 12"):
        save_glm(tmp_path / "out", model, params, tokenizer_json="")


def test_older_files_name_their_rotations_otherwise():
    text = {
        "hidden_size": 4096,
        "num_hidden_layers": 40,
        "num_attention_heads": 32,
        "num_key_value_heads": 2,
        "intermediate_size": 13696,
        "vocab_size": 151552,
        "rope_theta": 10000.0,
        "partial_rotary_factor": 0.5,
        "rope_scaling": {"rope_type": "default", "mrope_section": [8, 12, 12]},
    }
    config = {"model_type": "glm4v", "image_token_id": 151343, "text_config": text}
    found = glm_config.read_config(config, Path("config.json"), "bfloat16")
    assert found.decoder == resolve(DecoderSettings("glm4v_9b", remat="none"))
    assert found.image_token == 151343


def test_the_released_sizes():
    """Numbers of parameters of zai-org/GLM-OCR's safetensors, by part."""
    model = vlm.VLM(
        vision=vit.build(vit.VisionSettings(size="L")),
        decoder=resolve(DecoderSettings("glm_0p5b")),
        mtp=MTPSettings(depth=1),
        image_token=59280,
        patch_dim=2 * 3 * 14**2,
    )
    shapes = jax.eval_shape(lambda key: vlm.init(model, key), jax.random.key(0))
    size = {part: sum(x.size for x in jax.tree.leaves(tree)) for part, tree in shapes.items()}
    assert size["decoder"] == 673_285_632
    assert size["vision"] + size["projector"] == 434_120_192
    copies = 2 * 59392 * 1536  # of the table and the output matrix
    assert size["mtp"] + copies == 217_852_416
