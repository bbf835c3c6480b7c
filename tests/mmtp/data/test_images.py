"""Sizes and patches against transformers' processors (tests/golden/make_image_sizes.py)."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cogvit_jax.data.records import CorruptRecord
from cogvit_jax.settings import ConfigError
from mmtp.data.encoded import block_positions
from mmtp.data.images import ImageSettings, check, cut_image, cut_video, fit_size
from mmtp.data.records import Image, Video

GOLDEN = np.load(Path(__file__).parents[2] / "golden" / "glm_image_sizes.npz")
GLM = ImageSettings(14, 2, 32, 30000, 120000)


@pytest.mark.parametrize("index", range(4))
def test_sizes_of_pictures(index):
    least, most = GOLDEN["budgets"][index].tolist()
    ours = [fit_size(*s, ImageSettings(14, 2, least, most)) for s in GOLDEN["sizes"].tolist()]
    np.testing.assert_array_equal(ours, GOLDEN[f"resized_{index}"])


def test_sizes_of_videos():
    least, most, pairs = GOLDEN["video"].tolist()
    config = ImageSettings(14, 2, least, 30000, most)
    ours = [fit_size(*s, config, pairs) for s in GOLDEN["sizes"].tolist()]
    np.testing.assert_array_equal(ours, GOLDEN["resized_video"])


def test_patches_of_a_picture():
    """Pixels are equal, not near: both resize with Pillow."""
    ours = cut_image(Image(GOLDEN["picture"]), GLM)
    assert (1, *ours.grid) == tuple(GOLDEN["grid"][0])
    # Theirs are (channel, frame, row, column).
    theirs = GOLDEN["patches"].reshape(-1, 3, 2, 14, 14).transpose(0, 2, 3, 4, 1)
    np.testing.assert_array_equal(ours.patches, theirs.reshape(len(theirs), -1))


@settings(max_examples=300)
@given(st.integers(1, 4000), st.integers(1, 4000), st.integers(1, 12), st.integers(4, 2000))
def test_never_exceeds_the_budget(height, width, num_visuals, most):
    config = ImageSettings(14, 1, 4, most, 2 * most)
    try:
        rows, columns = (side // 14 for side in fit_size(height, width, config, num_visuals))
    except CorruptRecord:
        assert max(height, width) / min(height, width) > 50
        return
    assert rows % 2 == columns % 2 == 0
    assert rows >= 2
    assert columns >= 2
    assert rows * columns <= max(4, most)
    # A video of more frames than blocks still has one block a frame.
    assert num_visuals * rows * columns <= max(2 * most, 4 * num_visuals)


def test_patches_are_in_the_order_of_their_positions():
    """A picture whose colour tells the place of each patch."""
    rows, columns = 4, 6
    places = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), -1)
    colours = np.concatenate([places, np.zeros((rows, columns, 1), int)], -1).astype(np.uint8)
    picture = colours.repeat(14, axis=0).repeat(14, axis=1)
    cut = cut_image(Image(picture), ImageSettings(min_patches=4))
    assert cut.grid == (rows, columns)
    np.testing.assert_array_equal(
        cut.patches.reshape(24, 196, 3)[:, 77, :2], block_positions((4, 6))
    )


def frames(*values):
    return tuple(np.full((28, 56, 3), value, np.uint8) for value in values)


def test_frames_of_a_video():
    video = Video(frames(1, 2, 3), (0.0, 0.5, 1.0))
    single = cut_video(video, ImageSettings(min_patches=4))
    assert [(c.grid, c.second, set(c.patches.flat)) for c in single] == [
        ((2, 4), 0.0, {1}),
        ((2, 4), 0.5, {2}),
        ((2, 4), 1.0, {3}),
    ]
    pairs = cut_video(video, ImageSettings(frames_per_patch=2, min_patches=4))
    shown = [c.patches.reshape(8, 2, 14, 14, 3)[:, :, 0, 0, 0] for c in pairs]
    np.testing.assert_array_equal(shown[0], [[1, 2]] * 8)
    np.testing.assert_array_equal(shown[1], [[3, 3]] * 8)
    assert [c.second for c in pairs] == [0.0, 1.0]


def test_faults():
    config = ImageSettings()
    with pytest.raises(CorruptRecord, match="1 frames and 2 seconds"):
        cut_video(Video(frames(1), (0.0, 1.0)), config)
    with pytest.raises(CorruptRecord, match="0 frames"):
        cut_video(Video((), ()), config)
    with pytest.raises(CorruptRecord, match="several sizes"):
        cut_video(Video((*frames(1), np.zeros((28, 28, 3), np.uint8)), (0.0, 1.0)), config)
    with pytest.raises(CorruptRecord, match="longer than 200 times"):
        cut_image(Image(np.zeros((28, 28 * 201, 3), np.uint8)), config)
    with pytest.raises(CorruptRecord, match="undecodable"):
        cut_image(Image(b"<!doctype html><html><body>404 Not Found</body></html>"), config)


@pytest.mark.parametrize(
    ("field", "value"),
    [("patch_size", 0), ("min_patches", 0), ("frames_per_patch", 3), ("max_patches", 3)],
)
def test_settings_out_of_range(field, value):
    with pytest.raises(ConfigError, match=rf"config\.images\.{field} = {value}"):
        check(ImageSettings(**{field: value}))
    check(GLM)
