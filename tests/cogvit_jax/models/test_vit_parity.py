"""CogViT equals transformers' GLM-OCR and GLM-5.3-Flash towers, from pixels to features."""

import jax
import numpy as np
import pytest

from cogvit_jax.interop.cogvit import load_cogvit
from cogvit_jax.models.vit import CogViT
from tests.parity import glm_ocr
from tests.parity.glm_ocr import TOLERANCE, numbered
from tests.random_params import random_params


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    """(golden arrays, folder of their checkpoint) by name."""

    def make(name):
        golden = glm_ocr.load_golden(name)
        return golden, glm_ocr.write_golden(tmp_path_factory.mktemp(name) / "tower", golden)

    return make


@pytest.mark.parametrize("packed", [False, True])
def test_pictures_equal_glm_ocr(load, packed):
    golden, folder = load("glm_ocr_tower")
    params, fields = load_cogvit(folder)
    assert fields["pixel_mean"] == tuple(golden["pixel_mean"])
    assert fields["pixel_std"] == tuple(golden["pixel_std"])
    pictures = numbered(golden, "picture")
    tower = glm_ocr.cogvit(fields)
    ours, _ = glm_ocr.run_tower(tower, params, pictures, fields["patch_size"], packed=packed)
    for x, expected in zip(ours, numbered(golden, "features"), strict=True):
        np.testing.assert_allclose(x, expected, **TOLERANCE)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["glm_ocr_small", "glm5_next_small"])
def test_pictures_and_videos_equal_the_towers_that_see_two_frames(load, name, packed):
    golden, folder = load(name)
    params, fields = load_cogvit(folder, temporal=True)
    tower, clips = glm_ocr.cogvit(fields), numbered(golden, "clip")
    ours, _ = glm_ocr.run_tower(
        tower, params, clips, fields["patch_size"], packed=packed, temporal=True
    )
    for x, expected in zip(ours, numbered(golden, "features"), strict=True):
        np.testing.assert_allclose(x, expected, **TOLERANCE)


def test_the_limit_of_the_mlp_matters(load):
    golden, folder = load("glm5_next_small")
    params, fields = load_cogvit(folder)
    assert fields["swiglu_limit"] == 0.75
    tower = glm_ocr.cogvit(fields | {"swiglu_limit": 0.0})
    ours, _ = glm_ocr.run_tower(
        tower, params, [golden["clip/0"]], fields["patch_size"], packed=False
    )
    assert np.max(np.abs(ours[0] - golden["features/0"])) > 0.1


def test_bfloat16_stays_close(load):
    golden, folder = load("glm_ocr_tower")
    params, fields = load_cogvit(folder)
    tower = glm_ocr.cogvit(fields, dtype="bfloat16")
    pictures = numbered(golden, "picture")
    ours, _ = glm_ocr.run_tower(tower, params, pictures, fields["patch_size"], packed=True)
    for x, expected in zip(ours, numbered(golden, "features"), strict=True):
        norms = np.linalg.norm(x, axis=-1) * np.linalg.norm(expected, axis=-1)
        assert np.min(np.sum(x * expected, axis=-1) / norms) > 0.999


def test_the_tower_has_no_parameter_that_we_lack_and_we_none_that_it_lacks(load):
    golden, folder = load("glm_ocr_tower")
    params, fields = load_cogvit(folder)
    width, depth, num_heads, mlp_dim = (
        fields[n] for n in ("width", "depth", "num_heads", "mlp_dim")
    )
    model = CogViT(width, depth, num_heads, mlp_dim)
    patch = np.zeros((1, 1, 3 * fields["patch_size"] ** 2))
    ones = np.ones((1, 1), np.int32)
    ours = random_params(model.init, patch, np.zeros((1, 1, 2), np.int32), ones)
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, ours)
    second_frame = golden["state/patch_embed.proj.weight"][:, :, 1].size
    theirs = sum(x.size for x in glm_ocr.golden_state(golden).values())
    assert sum(x.size for x in jax.tree.leaves(params)) == theirs - second_frame
