"""Live against transformers' CogViT towers: other parameters, the released size, and exports."""

import numpy as np
import pytest

from cogvit_jax.interop.cogvit import load_cogvit, load_merger, save_cogvit
from tests.parity import glm_ocr
from tests.parity.glm_ocr import TOLERANCE

pytestmark = pytest.mark.parity
CLIPS = ((1, 2, 4), (1, 8, 6), (4, 2, 20), (1, 14, 4), (6, 6, 10), (1, 2, 2))
KINDS = ("glm_ocr", "glm5_next")


@pytest.fixture(scope="module")
def maker():
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from tests.golden import make_glm_towers

    return make_glm_towers


def ours(folder, clips, packed, **overrides):
    """(features, merged tokens) of our encoder with the weights in `folder`."""
    params, fields = load_cogvit(folder, temporal=True)
    return glm_ocr.run_tower(
        glm_ocr.cogvit(fields, **overrides),
        params,
        clips,
        fields["patch_size"],
        packed=packed,
        temporal=True,
        merger=load_merger(folder),
        swiglu_limit=fields["swiglu_limit"],
    )


def assert_equal(found, expected):
    for mine, theirs in zip(found, expected, strict=True):
        for x, wanted in zip(mine, theirs, strict=True):
            np.testing.assert_allclose(x, wanted, **TOLERANCE)


def largest_difference(found, expected):
    return max(np.max(np.abs(x - y)) for x, y in zip(found, expected, strict=True))


def smallest_cosine(found, expected):
    x, y = (np.concatenate(arrays) for arrays in (found, expected))
    norms = np.linalg.norm(x, axis=-1) * np.linalg.norm(y, axis=-1)
    return np.min(np.sum(x * y, axis=-1) / norms)


def test_patches_are_those_of_glms_processor(maker):
    pictures = maker.make_clips(0, ((1, 4, 6), (1, 10, 2)), 14)
    processor = maker.Glm46VImageProcessorPil(do_resize=False)
    theirs = processor([picture[0] for picture in pictures])
    pixels, grids = maker.tower_inputs(pictures, 14)
    np.testing.assert_allclose(pixels, theirs["pixel_values"], atol=1e-6)
    np.testing.assert_array_equal(grids, theirs["image_grid_thw"])


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_pictures_and_videos_at_other_seeds(maker, tmp_path, kind, packed):
    for seed in (1, 2):
        tower = maker.make_tower(kind, seed, **maker.SIZES[kind])
        clips = maker.make_clips(seed, CLIPS, 4)
        tower.save_pretrained(tmp_path / str(seed))
        found = ours(tmp_path / str(seed), clips, packed)
        assert_equal(found, maker.run_tower(tower, clips))


def test_the_released_size_in_both_precisions(maker, tmp_path, capsys):
    tower = maker.make_tower("glm_ocr", 3)  # transformers' defaults are the released sizes
    clips = maker.make_clips(3, ((1, 4, 6), (2, 2, 10)), 14)
    tower.save_pretrained(tmp_path / "tower")
    expected = maker.run_tower(tower, clips)
    del tower
    found = ours(tmp_path / "tower", clips, True)
    worst = [largest_difference(*x) for x in zip(found, expected, strict=True)]
    half = ours(tmp_path / "tower", clips, True, dtype="bfloat16")
    cosines = [smallest_cosine(*x) for x in zip(half, expected, strict=True)]
    with capsys.disabled():
        print(f"\n24 x 1024: largest differences {worst}, smallest cosines in bf16 {cosines}")
    assert_equal(found, expected)
    assert min(cosines) > 0.999


@pytest.mark.parametrize("with_merger", [False, True])
@pytest.mark.parametrize("limit", [0.0, 0.75])
def test_transformers_loads_what_we_save(maker, tmp_path, limit, with_merger):
    from transformers import AutoModel

    from tests.cogvit_jax.interop.test_cogvit import fields, random_merger, random_vision

    params, settings = random_vision(), fields(swiglu_limit=limit)
    merger = random_merger() if with_merger else None
    save_cogvit(tmp_path / "tower", params, settings, merger)
    tower, report = AutoModel.from_pretrained(
        tmp_path / "tower", output_loading_info=True, attn_implementation="eager"
    )
    assert not report["unexpected_keys"]
    missing = {name.split(".")[0] for name in report["missing_keys"]}
    assert missing == (set() if with_merger else {"downsample", "merger"})
    clips = maker.make_clips(4, CLIPS, 4)[:2]
    statistics = settings["pixel_mean"], settings["pixel_std"]
    expected = maker.run_tower(tower.eval(), clips, *statistics)
    tower_of_ours = glm_ocr.cogvit(
        {name: settings[name] for name in load_cogvit(tmp_path / "tower")[1]}
    )
    found = glm_ocr.run_tower(
        tower_of_ours, params, clips, 4, packed=True, merger=merger, swiglu_limit=limit
    )
    assert_equal(found[: 1 + with_merger], expected[: 1 + with_merger])


@pytest.mark.parametrize("limit", [0.0, 0.75])
def test_transformers_makes_our_pixels_of_a_saved_tower(maker, tmp_path, limit):
    from transformers.models.glm5_next.image_processing_pil_glm5_next import (
        Glm5NextImageProcessorPil,
    )

    from tests.cogvit_jax.interop.test_cogvit import fields, random_vision

    settings = fields(swiglu_limit=limit)
    save_cogvit(tmp_path / "tower", random_vision(), settings)
    kind = Glm5NextImageProcessorPil if limit else maker.Glm46VImageProcessorPil
    processor = kind.from_pretrained(tmp_path / "tower")
    pictures = maker.make_clips(0, ((1, 4, 6),), 4)
    expected, _ = maker.tower_inputs(pictures, 4, settings["pixel_mean"], settings["pixel_std"])
    found = processor([pictures[0][0]], do_resize=False)["pixel_values"]
    np.testing.assert_allclose(found, expected, atol=1e-6)
