"""HOG features equal scikit-image's, channel by channel."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage.data import astronaut
from skimage.feature import hog as reference

from cogvit_jax.data.transforms import patchify
from cogvit_jax.models import hog
from cogvit_jax.settings import ConfigError


def pictures(side):
    """A photograph, noise, hard edges with flat parts, and a single grey."""
    rng = np.random.default_rng(0)
    photograph = astronaut()[100 : 100 + side, 150 : 150 + side]
    noise = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
    edges = np.zeros_like(noise)
    edges[side // 3 :, side // 4 :] = (255, 128, 1)
    return np.stack([photograph, noise, edges, np.full_like(noise, 77)])


def patches_of(pictures, patch_size):
    return jnp.asarray(np.stack([patchify(x, patch_size)[0] for x in pictures]))


def expected(picture, patch_size):
    cell, rows = patch_size // 2, len(picture) // patch_size
    channels = [
        reference(
            picture[..., c],
            orientations=9,
            pixels_per_cell=(cell, cell),
            cells_per_block=(1, 1),
            block_norm="L2",
            feature_vector=False,
        )
        for c in range(3)
    ]
    cells = np.stack(channels, axis=-2).reshape(rows, 2, rows, 2, 3, 9)
    return cells.transpose(0, 2, 1, 3, 4, 5).reshape(rows * rows, hog.DIM)


@pytest.mark.parametrize(("side", "patch_size"), [(64, 16), (70, 14), (24, 2), (32, 32)])
def test_equals_scikit_image(side, patch_size):
    some = pictures(side)
    ours = jax.jit(hog.features, static_argnums=1)(patches_of(some, patch_size), patch_size)
    assert ours.dtype == jnp.float32
    assert ours.shape[-1] == hog.DIM == 108
    # Sums of at most 256 float32 numbers against float64.
    for found, picture in zip(ours, some, strict=True):
        np.testing.assert_allclose(found, expected(picture, patch_size), atol=1e-5)


def test_every_gradient_falls_into_its_bin():
    """All 511 x 511 gradients that uint8 pixels can have, against the angle in float64."""
    down, right = np.mgrid[-255:256, -255:256].astype(np.float32)
    _, bins = hog._orientations(jnp.asarray(down[None, None]), jnp.asarray(right[None, None]))
    degrees = np.rad2deg(np.arctan2(down.astype(np.float64), right)) % 180
    expected_bins = np.floor(degrees / 20).astype(np.int32)
    expected_bins[255, 255] = bins[0, 0, 255, 255]  # no gradient, so no magnitude
    np.testing.assert_array_equal(bins[0, 0], expected_bins)


def test_directions():
    """A ramp to the right has gradients of 0 degrees, a ramp down of 90 degrees: bins 0 and 4."""
    ramp = np.broadcast_to(np.arange(32, dtype=np.uint8)[None, :, None], (32, 32, 3))
    for picture, orientation in ((ramp, 0), (ramp.transpose(1, 0, 2), 4)):
        found = hog.features(patches_of(picture[None], 16), 16).reshape(-1, hog.ORIENTATIONS)
        np.testing.assert_allclose(
            found, np.tile(np.eye(9)[orientation], (len(found), 1)), atol=1e-6
        )


def test_brightness_and_contrast_do_not_matter():
    picture = pictures(64)[0] // 4
    brighter = 3 * picture + 20
    one, two = (hog.features(patches_of(x[None], 16), 16) for x in (picture, brighter))
    # A cell's norm counts 1e-5 grey levels beside its own, which here is above 0.1 or else 0.
    np.testing.assert_allclose(one, two, atol=1e-5)
    norms = np.linalg.norm(np.asarray(one).reshape(-1, hog.ORIENTATIONS), axis=1)
    assert np.all((np.abs(norms - 1) < 1e-5) | (norms == 0))


def test_gradients_cross_patches():
    """A patch's features change with its neighbour's edge, and with nothing farther away."""
    picture = pictures(64)[1]
    changed = picture.copy()
    changed[:, 16] ^= 255
    one, two = (hog.features(patches_of(x[None], 16), 16)[0] for x in (picture, changed))
    moved = np.any(np.asarray(one != two), axis=1).reshape(4, 4)
    np.testing.assert_array_equal(moved, np.tile([True, True, False, False], (4, 1)))


def test_errors():
    with pytest.raises(ConfigError, match=r"patch_size = 7 .* must be even"):
        hog.features(jnp.zeros((1, 4, 147), jnp.uint8), 7)
    with pytest.raises(ValueError, match=r"\(1, 5, 588\).*side x side"):
        hog.features(jnp.zeros((1, 5, 588), jnp.uint8), 14)
    with pytest.raises(ValueError, match=r"\(1, 4, 588\).*3 x 16 x 16 = 768"):
        hog.features(jnp.zeros((1, 4, 588), jnp.uint8), 16)
    assert math.isqrt(hog.DIM // 27) == hog.CELLS
