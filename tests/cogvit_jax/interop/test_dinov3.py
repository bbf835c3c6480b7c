"""DINOv3 checkpoints under both names of their blocks, and every way not to fit the config."""

import jax
import numpy as np
import pytest

from cogvit_jax.interop import files
from cogvit_jax.interop.files import WeightsError
from cogvit_jax.models import dinov3
from cogvit_jax.models.dinov3 import Size
from cogvit_jax.models.teachers import build
from cogvit_jax.settings import ConfigError
from tests.parity.teachers import load, read_golden, settings, write

CONFIG = settings("dinov3")
STATE, ENTRIES, _ = read_golden("dinov3_mlp")
GATED_STATE, GATED_ENTRIES, _ = read_golden("dinov3_gated")
WEIGHT = "layer.1.attention.k_proj.weight"


@pytest.fixture
def gated(monkeypatch):
    monkeypatch.setitem(dinov3.SIZES, "tiny", Size(48, 2, 3, 112, gated=True))


def assert_takes(config, params, state):
    described = jax.tree.map(lambda x: (x.shape, x.dtype), params)
    assert described == jax.tree.map(lambda x: (x.shape, x.dtype), build(config).shapes())
    read = sum(x.size for name, x in state.items() if name != "embeddings.mask_token")
    assert sum(x.size for x in jax.tree.leaves(params)) == read


def test_parameters_are_those_that_the_teacher_takes(tmp_path):
    assert_takes(CONFIG, load(write(tmp_path, STATE, ENTRIES), CONFIG), STATE)


@pytest.mark.usefixtures("gated")
def test_parameters_of_a_gated_model(tmp_path):
    assert_takes(CONFIG, load(write(tmp_path, GATED_STATE, GATED_ENTRIES), CONFIG), GATED_STATE)


def test_both_names_of_the_blocks_and_shards_are_the_same(tmp_path):
    assert any(name.startswith("layer.0.") for name in STATE)  # as transformers 5.23 writes them
    params = load(write(tmp_path, STATE, ENTRIES), CONFIG)
    newer = {f"model.{n}" if n.startswith("layer.") else n: x for n, x in STATE.items()}
    jax.tree.map(np.testing.assert_array_equal, params, load(write(tmp_path, newer, {}), CONFIG))
    files.write_weights(tmp_path / "shards", STATE, ENTRIES, max_shard_bytes=2e4)
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 3
    jax.tree.map(np.testing.assert_array_equal, params, load(tmp_path / "shards", CONFIG))


def test_a_gated_checkpoint_as_the_size_with_the_same_widths(tmp_path):
    """S+ has all of S's arrays, of S's shapes, and a gate besides."""
    with pytest.raises(WeightsError, match=r"'hidden_act' is 'silu', expected 'gelu'"):
        load(write(tmp_path, GATED_STATE, GATED_ENTRIES), CONFIG)
    message = r"4 arrays are no part of DINOv3 tiny .*'layer\.0\.mlp\.gate_proj\.bias' \(112,\)"
    with pytest.raises(WeightsError, match=message):
        load(write(tmp_path, GATED_STATE, {}), CONFIG)


@pytest.mark.usefixtures("gated")
def test_a_plain_checkpoint_as_a_gated_size(tmp_path):
    with pytest.raises(WeightsError, match=r"no key 'layer\.0\.mlp\.gate_proj\.\w+' \("):
        load(write(tmp_path, STATE, {}), CONFIG)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({WEIGHT: None}, r"no key 'layer\.1\.attention\.k_proj\.weight' \(48, 48\).*nearest"),
        ({WEIGHT: np.zeros((48, 40), "f4")}, r"has shape \(48, 40\), expected \(48, 48\)"),
        ({"layer.0.attention.k_proj.bias": np.zeros(48, "f4")}, r"k_proj\.bias' \(48,\)"),
        ({"layer.2.norm1.weight": np.zeros(48, "f4")}, r"arrays are no part of DINOv3 tiny"),
        ({"layer.1.layer_scale2.lambda1": None}, r"no key 'layer\.1\.layer_scale2\.lambda1' \(48"),
        (
            {"embeddings.register_tokens": np.zeros((1, 3, 48), "f4")},
            r"register_tokens' has shape \(1, 3, 48\), expected \(1, 4, 48\)",
        ),
    ],
)
def test_a_checkpoint_that_does_not_fit(change, message, tmp_path):
    state = {name: x for name, x in (STATE | change).items() if x is not None}
    with pytest.raises(WeightsError, match=message):
        load(write(tmp_path, state, ENTRIES), CONFIG)


@pytest.mark.parametrize(
    "entry", [{"rope_theta": 1e4}, {"layer_norm_eps": 1e-6}, {"num_attention_heads": 4}]
)
def test_what_only_the_config_shows(entry, tmp_path):
    with pytest.raises(WeightsError, match=rf"checkpoint0.*{next(iter(entry))}"):
        load(write(tmp_path, STATE, ENTRIES | entry), CONFIG)


def test_another_patch_size_another_size_and_nothing(tmp_path):
    path = write(tmp_path, STATE, {})
    other = settings("dinov3", size="S")
    with pytest.raises(WeightsError, match=r"has shape \(48,.*expected \(384,"):
        load(path, other)
    with pytest.raises(ConfigError, match=r"config\.teachers\.size = 'XL'"):
        load(path, settings("dinov3", size="XL"))
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        load(tmp_path / "nowhere", CONFIG)


def test_another_model_altogether(tmp_path):
    siglip, entries, _ = read_golden("siglip2_fixed")
    with pytest.raises(WeightsError, match=r"'siglip_vision_model', expected 'dinov3_vit'"):
        load(write(tmp_path, siglip, entries), CONFIG)
    with pytest.raises(WeightsError, match=r"no key '.*' \(.*among 48"):
        load(write(tmp_path, siglip, {}), CONFIG)
