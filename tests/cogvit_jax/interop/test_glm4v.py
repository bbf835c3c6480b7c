"""Reading GLM-4V's tower: settings, prefixes, and errors that name what is wrong."""

import json

import jax
import numpy as np
import pytest

from cogvit_jax.interop.files import WeightsError, write_weights
from cogvit_jax.interop.glm4v import load_glm4v
from tests.parity import glm_ocr


@pytest.fixture(scope="module")
def golden():
    return glm_ocr.load_golden("glm4v_small")


def write(folder, golden, **config):
    state = glm_ocr.golden_state(golden)
    write_weights(folder, state, json.loads(str(golden["config"])) | config)
    return folder


@pytest.mark.parametrize("prefix", ["visual.", "model.visual."])
def test_every_number_of_the_file_is_read(golden, tmp_path, prefix):
    folder = glm_ocr.write_golden(tmp_path / "tower", golden, prefix)
    params, merger, settings = load_glm4v(folder, temporal=True)
    assert settings.num_heads == 2
    assert params["positions"].shape == (24, 24, 32)
    found = sum(x.size for x in jax.tree.leaves((params, merger)))
    assert found == sum(x.size for x in glm_ocr.golden_state(golden).values())


def test_one_frame_of_pictures_is_the_sum_of_two(golden, tmp_path):
    folder = write(tmp_path / "tower", golden)
    both, one = (load_glm4v(folder, t)[0]["patch_embedding"]["kernel"] for t in (True, False))
    np.testing.assert_array_equal(both.reshape(2, *one.shape).sum(axis=0), one)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"model_type": "glm_ocr_vision"},
            r"model_type is 'glm_ocr_vision'.*interop\.cogvit",
        ),
        ({"attention_bias": True}, r"attention_bias is True, expected False"),
        ({"spatial_merge_size": 4}, r"spatial_merge_size is 4, expected 2"),
        ({"num_heads": 5}, r"width 32 is not divisible by num_heads 5"),
    ],
)
def test_other_models_are_refused(golden, tmp_path, config, message):
    with pytest.raises(WeightsError, match=message):
        load_glm4v(write(tmp_path / "tower", golden, **config))


def test_positions_must_be_a_square(golden, tmp_path):
    table = {"state/embeddings.position_embedding.weight": np.zeros((575, 32), np.float16)}
    with pytest.raises(WeightsError, match="holds 575 positions, expected a square"):
        load_glm4v(write(tmp_path / "tower", golden | table))
