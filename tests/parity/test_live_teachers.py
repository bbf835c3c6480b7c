"""Live against transformers' SigLIP2 and DINOv3, by way of its checkpoints on disk.

Other random parameters, head sizes and grids than the golden files', and the released sizes of
So400m and DINOv3-L (with small patches, which the towers do not notice).
"""

import jax
import numpy as np
import pytest

from cogvit_jax.models import dinov3, siglip2
from tests.parity.teachers import TOLERANCE, features, load, settings, smallest_cosine

pytestmark = pytest.mark.parity

NAMES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
GRIDS = ((5, 11), (16, 16), (23, 4))


@pytest.fixture(scope="module")
def maker():
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from tests.golden import make_dinov3, make_siglip2_vision, saved_checkpoint

    return {"siglip2": make_siglip2_vision, "dinov3": make_dinov3, "files": saved_checkpoint}


def compare(model, expected, pictures, config, tmp_path):
    """Largest difference in f32; asserts it, and the direction in bfloat16."""
    model.save_pretrained(tmp_path)
    worst, least = 0.0, 1.0
    for dtype in ("float32", "bfloat16"):
        config = settings(config.kind, size=config.size, image_size=config.image_size, dtype=dtype)
        params = jax.tree.map(jax.numpy.asarray, load(tmp_path, config))
        for picture, wanted in zip(pictures, expected, strict=True):
            found = features(params, picture, config)
            if dtype == "float32":
                np.testing.assert_allclose(found, wanted, **TOLERANCE)
                worst = max(worst, float(np.max(np.abs(found - wanted))))
            else:
                least = min(least, smallest_cosine(found, wanted))
    assert least > 0.999
    return f"{config.kind} {config.size}: largest difference {worst:.1e}, bf16 cosine {least:.5f}"


@pytest.mark.parametrize("seed", [1, 2])
def test_siglip2_at_a_fixed_resolution(maker, seed, tmp_path, monkeypatch):
    monkeypatch.setitem(siglip2.SIZES, "tiny", (144, 4, 2, 200))  # heads of 72, as So400m's
    module = maker["siglip2"]
    tower = module.make_fixed(seed, side=9, **dict(zip(NAMES, (144, 4, 2, 200), strict=True)))
    pictures = maker["files"].make_pictures(seed, ((9, 9),) * 3)
    expected = module.fixed_features(tower, pictures)
    compare(tower, expected, pictures, settings("siglip2", image_size=36), tmp_path)


@pytest.mark.parametrize("seed", [1, 2])
def test_siglip2_naflex_among_padding(maker, seed, tmp_path, monkeypatch):
    monkeypatch.setitem(siglip2.SIZES, "tiny", (144, 4, 2, 200))
    module = maker["siglip2"]
    tower = module.make_naflex(seed, **dict(zip(NAMES, (144, 4, 2, 200), strict=True)))
    pictures = maker["files"].make_pictures(seed, GRIDS)
    expected = module.naflex_features(tower, pictures)
    compare(tower, expected, pictures, settings("siglip2_naflex"), tmp_path)


@pytest.mark.parametrize("form", ["mlp", "gated", "no_bias"])
def test_dinov3(maker, form, tmp_path, monkeypatch):
    gated, biased = form != "mlp", form != "no_bias"
    monkeypatch.setitem(dinov3.SIZES, "tiny", dinov3.Size(128, 4, 2, 200, gated, biased))
    module = maker["dinov3"]
    model = module.make_model(7, form, **dict(zip(NAMES, (128, 4, 2, 200), strict=True)))
    pictures = maker["files"].make_pictures(7, GRIDS)
    expected = module.features(model, pictures)
    compare(model, expected, pictures, settings("dinov3"), tmp_path)


@pytest.mark.parametrize("kind", ["siglip2", "siglip2_naflex", "dinov3"])
def test_released_sizes(maker, kind, tmp_path, capsys):
    module = maker[kind.split("_")[0]]
    if kind == "dinov3":
        size, numbers = "L", (1024, 24, 16, 4096)
        model = module.make_model(3, "mlp", **dict(zip(NAMES, numbers, strict=True)))
        grids, run = ((6, 6), (3, 10)), module.features
    else:
        size, numbers = "So400m", (1152, 27, 16, 4304)
        make = module.make_fixed if kind == "siglip2" else module.make_naflex
        model = make(3, **dict(zip(NAMES, numbers, strict=True)))
        grids = ((6, 6), (6, 6)) if kind == "siglip2" else ((6, 6), (3, 10))
        run = module.fixed_features if kind == "siglip2" else module.naflex_features
    pictures = maker["files"].make_pictures(3, grids)
    expected = run(model, pictures)
    told = compare(model, expected, pictures, settings(kind, size=size), tmp_path)
    with capsys.disabled():
        print(f"\n{told}")
