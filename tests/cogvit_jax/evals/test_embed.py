"""Patch features come back in row-major grids, in order, whatever the batch and the devices."""

import jax.numpy as jnp
import numpy as np
import pytest

from cogvit_jax.data.records import Record, Source
from cogvit_jax.data.text import load_tokenizer
from cogvit_jax.evals.embed import Embedder, load_picture, mean_of_patches
from cogvit_jax.evals.retrieval import retrieval

ONES = np.ones(5, np.float32)


def pictures(count: int) -> list[Record]:
    """Noise of many aspect ratios."""
    rng = np.random.default_rng(count)
    sizes = rng.integers(4, 40, (count, 2))
    return [
        Record(str(i), rng.integers(0, 256, (h, w, 3), dtype=np.uint8), ("x",))
        for i, (h, w) in enumerate(sizes.tolist())
    ]


@pytest.mark.parametrize(("devices", "batch"), [(1, 3), (8, 8), (8, 5)])
def test_patches_are_those_of_the_picture_at_its_place(known_encoder, devices, batch):
    embedder, records = known_encoder(devices, 2, 16, batch), pictures(19)
    grids = list(embedder.patches(ONES, records))
    assert len(grids) == len(records)
    for record, grid in zip(records, grids, strict=True):
        image = load_picture(record, 2, 16).astype(np.float32) / 255
        rows, columns = image.shape[0] // 2, image.shape[1] // 2
        colours = image.reshape(rows, 2, columns, 2, 3).mean((1, 3))
        # Means of four pixels in f32: a few units in the last place.
        np.testing.assert_allclose(grid[..., :3], colours, atol=1e-6)
        np.testing.assert_array_equal(grid[..., 3:], np.indices((rows, columns)).transpose(1, 2, 0))


def test_corrupt_record_has_no_patches_and_keeps_its_place(known_encoder):
    records = pictures(3)
    records[1] = Record("bad", b"no picture", ("x",))
    grids = list(known_encoder(2).patches(ONES, records))
    assert grids[1].shape == (0, 0, 5)
    assert min(grids[0].size, grids[2].size) > 0


def test_picture_is_the_mean_of_its_patches(known_encoder):
    embedder, records = known_encoder(2), pictures(5)
    images, usable = embedder.images(ONES, records)
    means = [grid.reshape(-1, 5).mean(0) for grid in embedder.patches(ONES, records)]
    np.testing.assert_allclose(images, means, rtol=1e-5)
    assert usable.all()


def test_padding_does_not_count_in_the_mean():
    features = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 3)), jnp.bfloat16)
    segments = jnp.asarray([[1, 1, 0, 0], [0, 0, 0, 0]])
    found = np.asarray(mean_of_patches(features, segments))
    np.testing.assert_allclose(found[0], np.asarray(features[0, :2], np.float32).mean(0), rtol=1e-6)
    np.testing.assert_array_equal(found[1], 0)


def test_without_a_text_tower_texts_are_an_error_that_says_what_to_give(known_encoder):
    source = Source("noise", pictures(2))
    with pytest.raises(ValueError, match="no text tower: give it `embed_texts`"):
        known_encoder().texts(ONES, ["a cat"])
    with pytest.raises(ValueError, match="no text tower"):
        retrieval(known_encoder(), source, ONES)
    assert len(known_encoder().sample(source)) == 1


def test_without_features_patches_are_an_error(make_mesh):
    towers = Embedder(
        lambda p, x: x["patches"][:, 0], lambda p, x: x, make_mesh(1), load_tokenizer(), 4, 2, 4, 2
    )
    with pytest.raises(ValueError, match="no patch features: give it `features`"):
        next(towers.patches({}, pictures(1)))


def test_no_pictures_are_an_error(known_encoder):
    with pytest.raises(ValueError, match="no pictures"):
        next(known_encoder().patches(ONES, []))
