"""Principal components as colours, and the table that shows them."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from cogvit_jax import plots
from cogvit_jax.data.records import Record, Source
from cogvit_jax.evals.feature_maps import feature_maps, fit_colours, paint

ONES = np.ones(5, np.float32)


def test_components_are_the_principal_ones_with_the_largest_loading_positive():
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(300, 8)) * np.arange(8, 0, -1) @ rng.normal(size=(8, 8)) + 5).astype(
        np.float32
    )
    colours = fit_colours(x)
    expected = PCA(3).fit(x.astype(np.float64))
    cosines = np.sum(colours.components * expected.components_, axis=1)
    np.testing.assert_allclose(np.abs(cosines), 1, atol=1e-9)
    largest = np.abs(colours.components).argmax(1)
    assert np.all(colours.components[np.arange(3), largest] > 0)


def test_colours_fill_their_range_and_clip_beyond_it():
    x = np.random.default_rng(1).normal(size=(500, 6)).astype(np.float32)
    colours = fit_colours(x)
    found = paint(colours, x)
    assert found.dtype == np.uint8
    assert found.min() == 0
    assert found.max() == 255
    far = paint(colours, (colours.mean + 1e3 * colours.components[0])[None].astype(np.float32))
    assert far[0, 0] == 255
    near = paint(colours, colours.mean[None].astype(np.float32))
    assert 100 < near[0].min() <= near[0].max() < 155  # a symmetric cloud has its mean amid it


def test_order_of_patches_does_not_change_their_colours():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(400, 6)).astype(np.float32)
    order = rng.permutation(400)
    difference = paint(fit_colours(x), x)[order] - paint(fit_colours(x[order]), x[order]).astype(
        int
    )
    assert np.abs(difference).max() <= 1  # sums in another order may round a colour the other way


@pytest.mark.parametrize("x", [np.ones((5, 4)), np.ones((1, 4)), np.arange(6.0)[:, None]])
def test_too_few_components_are_grey(x):
    found = paint(fit_colours(x.astype(np.float32)), x.astype(np.float32))
    assert set(found[:, 2].tolist()) == {128}


def test_feature_maps_stand_beside_their_pictures(known_encoder):
    rng = np.random.default_rng(3)
    images = [
        rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in ((8, 8), (8, 16), (16, 4))
    ]
    records = [Record(str(i), image, ()) for i, image in enumerate(images)]
    source = Source("noise", (*records, Record("bad", b"no", ())))
    picture = feature_maps(known_encoder(2), source, 4, ONES, side=64)["pca"]
    assert picture.dtype == np.uint8
    titles = ["picture", "features"] * 3
    assert picture.shape[:2] == plots.picture_table_corner(titles, 1, 6, 64)
    # The 8 x 8 picture has 4 x 4 patches of 16 pixels in the table, each of one colour.
    y, x = plots.picture_table_corner(titles, 0, 1, 64)
    cells = picture[y : y + 64, x : x + 64].reshape(4, 16, 4, 16, 3).transpose(0, 2, 1, 3, 4)
    assert not np.ptp(cells.reshape(16, 256, 3), axis=1).any()
    assert len(np.unique(cells.reshape(16, -1)[:, :3], axis=0)) == 16


def test_feature_maps_of_nothing_are_an_error_that_names_the_source(known_encoder):
    with pytest.raises(ValueError, match="spoilt: none of 1 pictures"):
        feature_maps(known_encoder(), Source("spoilt", (Record("a", b"no", ()),)), 4, ONES)


def test_picture_table_puts_every_picture_at_its_corner():
    rng = np.random.default_rng(4)
    small = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    wide = np.zeros((10, 20, 3), np.uint8)
    table = plots.picture_table(["one\nline more", "two"], [[small, wide], [wide]], 20, gap=3)
    y, x = plots.picture_table_corner(["one\nline more", "two"], 0, 0, 20, gap=3)
    np.testing.assert_array_equal(table[y : y + 20 : 5, x : x + 20 : 5], small)
    y, x = plots.picture_table_corner(["one\nline more", "two"], 0, 1, 20, gap=3)
    np.testing.assert_array_equal(table[y + 5 : y + 15, x : x + 20], 0)
    np.testing.assert_array_equal(table[y : y + 5, x : x + 20], 255)
    assert table[:30].min() < 128  # the titles
    y, x = plots.picture_table_corner(["one\nline more", "two"], 1, 1, 20, gap=3)
    np.testing.assert_array_equal(table[y:, x:], 255)  # no picture
