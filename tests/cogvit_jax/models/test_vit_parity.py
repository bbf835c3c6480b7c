"""CogViT equals transformers' GLM-OCR vision tower, from pixels to features, padded and packed."""

from pathlib import Path

import jax
import numpy as np
import pytest

from tests.parity.glm_ocr import TOLERANCE, features, model_for, params_from_torch
from tests.random_params import random_params

GOLDEN = Path(__file__).parents[2] / "golden" / "glm_ocr_tower.npz"
PATCH_SIZE, NUM_PICTURES = 4, 4


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return dict(file)


@pytest.fixture(scope="module")
def params(golden):
    weights = {name: x for name, x in golden.items() if name.startswith("state/")}
    return params_from_torch(
        {name.removeprefix("state/"): x.astype(np.float32) for name, x in weights.items()}
    )


@pytest.mark.parametrize("packed", [False, True])
def test_equals_glm_ocr(golden, params, packed):
    model = model_for(params, golden["pixel_mean"], golden["pixel_std"])
    pictures = [golden[f"picture/{i}"] for i in range(NUM_PICTURES)]
    ours = features(model, params, pictures, PATCH_SIZE, packed)
    for i, x in enumerate(ours):
        np.testing.assert_allclose(x, golden[f"features/{i}"], **TOLERANCE)


def test_the_tower_has_no_parameter_that_we_lack_and_we_none_that_it_lacks(golden, params):
    model = model_for(params, golden["pixel_mean"], golden["pixel_std"])
    patch, position = np.zeros((1, 1, 3 * PATCH_SIZE**2)), np.zeros((1, 1, 2), np.int32)
    ours = random_params(model.init, patch, position, np.ones((1, 1), np.int32))
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, ours)
    second_frame = golden["state/patch_embed.proj.weight"][:, :, 1].size
    theirs = sum(x.size for name, x in golden.items() if name.startswith("state/"))
    assert sum(x.size for x in jax.tree.leaves(params)) == theirs - second_frame
