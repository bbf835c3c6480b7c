"""Live against transformers' GLM-4V tower: other parameters, and the released width and heads."""

import functools

import numpy as np
import pytest

from cogvit_jax.interop.glm4v import load_glm4v
from cogvit_jax.models import glm4v
from tests.parity import glm_ocr
from tests.parity.glm_ocr import TOLERANCE

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def maker():
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from tests.golden import make_glm_towers

    return make_glm_towers


def encode(settings, params, *inputs):
    return glm4v.encode(params, settings, *inputs)


def compare(maker, folder, tower, clips, packed):
    tower.save_pretrained(folder)
    params, merger, settings = load_glm4v(folder, temporal=True)
    found = glm_ocr.run_tower(
        functools.partial(encode, settings),
        params,
        clips,
        tower.config.patch_size,
        packed=packed,
        temporal=True,
        merger=merger,
    )
    for mine, theirs in zip(found, maker.run_tower(tower, clips), strict=True):
        for x, expected in zip(mine, theirs, strict=True):
            np.testing.assert_allclose(x, expected, **TOLERANCE)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("seed", [1, 2])
def test_pictures_and_videos_at_other_seeds(maker, tmp_path, seed, packed):
    tower = maker.make_tower("glm4v", seed, **maker.SIZES["glm4v"])
    clips = maker.make_clips(seed, ((1, 2, 30), (4, 8, 6), (1, 24, 24), (1, 26, 2)), 4)
    compare(maker, tmp_path / "tower", tower, clips, packed)


def test_the_released_width_and_heads(maker, tmp_path):
    # 2 of 24 blocks and a narrower merger: the whole tower is 3.6 GB.
    tower = maker.make_tower("glm4v", 3, depth=2, intermediate_size=1024)
    clips = maker.make_clips(3, ((1, 10, 4), (2, 4, 14)), 14)
    compare(maker, tmp_path / "tower", tower, clips, True)
