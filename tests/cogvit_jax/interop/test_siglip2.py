"""SigLIP2 checkpoints in every form they come in, and every way not to fit the config."""

import jax
import numpy as np
import pytest

from cogvit_jax.interop import files, siglip2
from cogvit_jax.interop.files import WeightsError
from cogvit_jax.models.teachers import build
from cogvit_jax.models.text import TextSettings
from cogvit_jax.settings import ConfigError
from tests.parity.teachers import GOLDEN, load, read_golden, settings, write

FIXED, NAFLEX = settings("siglip2"), settings("siglip2_naflex")
STATE, CONFIG, _ = read_golden("siglip2_fixed")
NAFLEX_STATE, NAFLEX_CONFIG, _ = read_golden("siglip2_naflex")
WEIGHT = "encoder.layers.1.mlp.fc2.weight"
TEXT = TextSettings(width=48, depth=3, num_heads=3, mlp_dim=112, qk_norm=False)


def text_state():
    with np.load(GOLDEN / "siglip2_text.npz") as file:
        return {n.removeprefix("state/"): x for n, x in file.items() if n.startswith("state/")}


def whole_model():
    """The names of a file with both towers."""
    vision = {f"vision_model.{name}": x for name, x in STATE.items()}
    text = {f"text_model.{name}": x for name, x in text_state().items()}
    return vision | text | {"logit_scale": np.zeros(1, "f4"), "logit_bias": np.zeros(1, "f4")}


def assert_same(params, others):
    jax.tree.map(np.testing.assert_array_equal, params, others)


@pytest.mark.parametrize(
    ("config", "state", "entries"),
    [(FIXED, STATE, CONFIG), (NAFLEX, NAFLEX_STATE, NAFLEX_CONFIG)],
)
def test_parameters_are_those_that_the_teacher_takes(config, state, entries, tmp_path):
    params = load(write(tmp_path, state, entries), config)
    shapes = build(config).shapes()
    assert jax.tree.map(lambda x: (x.shape, x.dtype), params) == jax.tree.map(
        lambda x: (x.shape, x.dtype), shapes
    )
    read = sum(x.size for name, x in state.items() if not name.startswith("head."))
    assert sum(x.size for x in jax.tree.leaves(params)) == read


def test_all_forms_of_one_checkpoint_are_the_same(tmp_path):
    params = load(write(tmp_path, STATE, CONFIG), FIXED)
    prefixed = {f"vision_model.{name}": x for name, x in STATE.items()}
    assert_same(params, load(write(tmp_path, prefixed, {}), FIXED))
    whole = whole_model()
    nested = {"model_type": "siglip", "vision_config": CONFIG}
    assert_same(params, load(write(tmp_path, whole, nested), FIXED))
    files.write_weights(tmp_path / "shards", whole, nested, max_shard_bytes=3e4)
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 3
    assert_same(params, load(tmp_path / "shards", FIXED))
    old = STATE | {"embeddings.position_ids": np.arange(36)[None]}  # transformers before 4.31
    assert_same(params, load(write(tmp_path, old, CONFIG), FIXED))
    headless = {name: x for name, x in STATE.items() if not name.startswith("head.")}
    assert_same(params, load(write(tmp_path, headless, CONFIG), FIXED))


def test_dtype_is_the_configs_and_rounded_once(tmp_path):
    path = write(tmp_path, STATE, CONFIG)
    whole, half = load(path, FIXED), load(path, settings("siglip2", dtype="bfloat16"))
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x, y.astype(x.dtype)), half, whole)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (settings("siglip2", size="B"), r"num_attention_heads' is 3, expected 12"),
        (settings("siglip2", size="Bo"), r"config\.teachers\.size = 'Bo'"),
        (NAFLEX, r"kind = 'siglip2_naflex'.*\(48, 3, 4, 4\), as of a 'siglip2'"),
        (
            settings("siglip2", image_size=32),
            r"image_size = 32 with patch_size = 4 gives 8 x 8 patches.*"
            r"checkpoint0 has 36 positions \(6 x 6\): set image_size to 24",
        ),
    ],
)
def test_a_config_that_does_not_fit(config, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        load(write(tmp_path, STATE, CONFIG), config)


def test_a_naflex_checkpoint_as_a_fixed_one(tmp_path):
    with pytest.raises(ConfigError, match=r"kind = 'siglip2'.*\(48, 48\), as of a 'siglip2_naf"):
        load(write(tmp_path, NAFLEX_STATE, NAFLEX_CONFIG), FIXED)


def test_another_size_without_a_config(tmp_path):
    path = write(tmp_path, STATE, {})
    message = r"self_attn\.\w_proj\.\w+' has shape \(48,.*\), expected \(768,"
    with pytest.raises(WeightsError, match=message) as error:
        load(path, settings("siglip2", size="B"))
    assert "model.safetensors" in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({WEIGHT: None}, r"no key 'encoder\.layers\.1\.mlp\.fc2\.weight' \(48, 112\).*nearest"),
        ({WEIGHT: np.zeros((112, 48), "f4")}, r"fc2\.weight' has shape \(112, 48\), expected \(48"),
        ({"encoder.layers.2.x.bias": np.zeros(3, "f4")}, r"1 arrays are no part of SigLIP2 tiny"),
        ({"embeddings.patch_embedding.weight": None}, r"no key 'embeddings\.patch_embedding\.w"),
        ({WEIGHT: np.zeros((48, 112), "i1")}, r"is I8, expected one of F32"),
    ],
)
def test_a_checkpoint_that_does_not_fit(change, message, tmp_path):
    state = {name: x for name, x in (STATE | change).items() if x is not None}
    with pytest.raises(WeightsError, match=message):
        load(write(tmp_path, state, CONFIG), FIXED)


@pytest.mark.parametrize(
    "entry", [{"layer_norm_eps": 1e-5}, {"hidden_act": "gelu"}, {"num_attention_heads": 4}]
)
def test_what_only_the_config_shows(entry, tmp_path):
    with pytest.raises(WeightsError, match=rf"checkpoint0.*{next(iter(entry))}"):
        load(write(tmp_path, STATE, CONFIG | entry), FIXED)


def test_text_of_a_whole_model_and_of_its_tower(tmp_path):
    """Its parity with transformers is `models/test_text.py`'s."""
    alone = siglip2.load_text(write(tmp_path, text_state(), {}), TEXT, 8)
    whole = siglip2.load_text(write(tmp_path, whole_model(), {"text_config": {}}), TEXT, 8)
    assert_same(alone, whole)
    assert alone["text_projection"]["kernel"].shape == (48, 40)
    read = sum(x.size for x in jax.tree.leaves(alone))
    assert read == sum(x.size for x in text_state().values())


@pytest.mark.parametrize(
    ("fields", "length", "message"),
    [
        ({"qk_norm": True}, 8, r"config\.text\.qk_norm = True"),
        ({}, 16, r"config\.data\.text_length = 16, but .* has 8 positions of text: set it to 8"),
        (
            {"vocab_size": 60},
            8,
            r"token_embedding\.weight' has shape \(61, 48\), expected \(60, 48",
        ),
        ({"depth": 2}, 8, r"arrays are no part of text"),
        ({"depth": 4}, 8, r"no key 'encoder\.layers\.3\."),
        ({"mlp_dim": 96}, 8, r"mlp\.fc2\.weight' has shape \(48, 112\), expected \(48, 96\)"),
    ],
)
def test_text_that_does_not_fit(fields, length, message, tmp_path):
    config = TextSettings(**(vars(TEXT) | fields))
    with pytest.raises(ValueError, match=message):
        siglip2.load_text(write(tmp_path, text_state(), {}), config, length)
