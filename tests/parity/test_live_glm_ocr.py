"""Live against transformers' GLM-OCR tower: other random parameters, and the released size."""

import numpy as np
import pytest

from tests.parity.glm_ocr import TOLERANCE, features, model_for, params_from_torch

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def maker():
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from tests.golden import make_glm_ocr_tower

    return make_glm_ocr_tower


def largest_difference(maker, seed, grids, packed, **sizes):
    from tests.golden.torch_modules import state_arrays

    tower = maker.make_tower(seed, **sizes)
    pictures = maker.make_pictures(seed, grids, sizes["patch_size"])
    expected = maker.features(tower, pictures)
    params = params_from_torch(state_arrays(tower))
    model = model_for(params, *maker.PIXEL_STATISTICS.values())
    ours = features(model, params, pictures, sizes["patch_size"], packed)
    for x, wanted in zip(ours, expected, strict=True):
        np.testing.assert_allclose(x, wanted, **TOLERANCE)
    return max(np.max(np.abs(x - y)) for x, y in zip(ours, expected, strict=True))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("seed", [1, 2])
def test_equals_glm_ocr_at_other_seeds(maker, seed, packed):
    grids = ((2, 4), (8, 6), (2, 20), (14, 4), (6, 10), (2, 2))
    largest_difference(maker, seed, grids, packed, **maker.SIZES)


def test_equals_glm_ocr_at_the_released_size(maker, capsys):
    released = {"hidden_size": 1024, "num_heads": 16, "depth": 24, "intermediate_size": 4096}
    worst = largest_difference(maker, 3, ((4, 6), (2, 10)), True, **released, patch_size=14)
    with capsys.disabled():
        print(f"\n24 x 1024: largest difference {worst:.1e}")
