"""NaFlex sizes against references, and patches, crops and pixels against their definitions."""

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cogvit_jax.data.records import CorruptRecord
from cogvit_jax.data.transforms import (
    decode_image,
    naflex_size,
    patchify,
    random_crop,
    random_flip,
    resize,
    unpatchify,
)

GOLDEN = Path(__file__).parents[2] / "golden"


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("shape", "patch_size", "max_patches", "expected"),
    [  # published examples of the reference implementation
        ((48, 48), 3, 121, (33, 33)),
        ((112, 109), 7, 225, (105, 105)),
        ((176, 176), 11, 64, (88, 88)),
        ((256, 64), 16, 12, (96, 32)),
        ((256, 64), 8, 15, (56, 16)),
        ((63, 241), 16, 16, (32, 128)),
        ((16, 512), 16, 16, (16, 256)),
    ],
)
def test_naflex_size_of_published_cases(shape, patch_size, max_patches, expected):
    assert naflex_size(*shape, patch_size, max_patches) == expected


def test_naflex_size_equals_transformers():
    # Written by tests/golden/make_naflex_sizes.py with transformers 5.23.0.
    golden = np.load(GOLDEN / "naflex_sizes.npz")
    assert len(golden["cases"]) == 1000
    sizes = [naflex_size(*case) for case in golden["cases"].tolist()]
    np.testing.assert_array_equal(sizes, golden["sizes"])


def largest_fit(height, width, patch_size, max_patches):
    """Every grid that uses the budget: the one that admits the largest scale, no bisection."""
    rows = np.arange(1, max_patches + 1)
    scales = np.minimum(rows * patch_size / height, (max_patches // rows) * patch_size / width)
    scale = min(scales.max(), 100.0)
    # One of the two sides is a whole number of patches: rounding must not push it over.
    return tuple(math.ceil(round(s * scale / patch_size, 9)) * patch_size for s in (height, width))


def test_naflex_size_equals_exhaustive_search():
    rng = np.random.default_rng(1)
    sides = np.exp(rng.uniform(0, np.log(4000), (4000, 2))).round().astype(int)
    sides[:2] = [[1, 4000], [4000, 1]]
    patches, budgets = rng.integers(3, 33, 4000), rng.integers(1, 1025, 4000)
    for (h, w), p, n in zip(sides.tolist(), patches.tolist(), budgets.tolist(), strict=True):
        size = naflex_size(h, w, p, n)
        assert size == largest_fit(h, w, p, n), (h, w, p, n)
        assert size[0] // p * (size[1] // p) <= n


def test_naflex_size_of_absurd_sides_stays_in_budget():
    # At the smallest scale this is still 62,500 patches wide.
    assert naflex_size(1, 10**12, 16, 256) == (16, 256 * 16)
    assert naflex_size(10**12, 1, 16, 256) == (256 * 16, 16)
    with pytest.raises(ValueError, match="at least 1"):
        naflex_size(0, 10, 16, 256)


@pytest.mark.parametrize("grid", [(1, 1), (1, 9), (4, 3)])
def test_patchify_inverts_and_orders_pixels(grid):
    rows, columns = grid
    image = picture(rows * 5, columns * 5)
    patches, positions = patchify(image, 5)
    assert patches.shape == (rows * columns, 75)
    assert patches.dtype == np.uint8
    assert positions.dtype == np.int32
    for patch, (row, column) in zip(patches, positions, strict=True):
        box = image[row * 5 : row * 5 + 5, column * 5 : column * 5 + 5]
        np.testing.assert_array_equal(patch.reshape(5, 5, 3), box)
    assert positions.tolist() == [[r, c] for r in range(rows) for c in range(columns)]
    order = np.random.default_rng(0).permutation(len(patches))
    np.testing.assert_array_equal(unpatchify(patches[order], positions[order], 5), image)


def test_patchify_rejects_partial_patches():
    with pytest.raises(ValueError, match="33x32 is not a whole number of 16-pixel"):
        patchify(picture(33, 32), 16)


def test_resize_averages_when_it_shrinks():
    image = picture(128, 128)
    small = resize(image, (4, 8))
    assert small.shape == (4, 8, 3)
    # Without antialiasing single noisy pixels would come through: std 74 rather than about 4.
    assert small.std() < 10
    assert abs(small.mean() - image.mean()) < 2
    assert resize(image, (128, 128)) is image


def box_of(crop, image):
    """Where a crop of a coordinate picture was taken: top, left, height, width."""
    assert crop.shape[2:] == image.shape[2:]
    return int(crop[0, 0, 0]), int(crop[0, 0, 1]), *crop.shape[:2]


def test_random_crop_area_and_ratio_are_in_range():
    height, width = 100, 200
    rows, columns = np.indices((height, width), dtype=np.uint8)
    image = np.stack([rows, columns, rows], axis=-1)
    rng = np.random.default_rng(0)
    boxes = [box_of(random_crop(image, rng, (0.3, 0.9), (0.5, 2.0)), image) for _ in range(500)]
    top, left, box_height, box_width = np.asarray(boxes).T
    area = box_height * box_width / (height * width)
    ratio = box_width / box_height / (width / height)
    assert 0.29 < area.min() < 0.35
    assert 0.85 < area.max() < 0.91
    assert 0.48 < ratio.min() < 0.6
    assert 1.7 < ratio.max() < 2.1
    assert abs(area.mean() - 0.6) < 0.03
    assert (top + box_height).max() == height  # reaches both far edges
    assert (left + box_width).max() == width


@pytest.mark.parametrize(
    ("shape", "scale", "ratio"),
    [
        ((1, 4000), (0.01, 1.0), (0.75, 4 / 3)),
        ((9, 9), (1.0, 1.0), (0.75, 4 / 3)),
        ((9, 9), (1.0, 1.0), (2.0, 3.0)),
    ],
)
def test_random_crop_falls_back_to_what_fits(shape, scale, ratio):
    rng = np.random.default_rng(0)
    for _ in range(50):
        crop = random_crop(picture(*shape), rng, scale, ratio)
        assert crop.size
        assert scale != (1, 1) or crop.shape[:2] == shape
    with pytest.raises(ValueError, match="0 < low <= high <= 1"):
        random_crop(picture(9, 9), rng, (0.0, 1.0))


def test_augmentation_is_a_function_of_the_generator():
    def augment(seed):
        rng = np.random.default_rng(seed)
        return random_flip(random_crop(picture(40, 60), rng, (0.2, 0.5)), rng)

    np.testing.assert_array_equal(augment(3), augment(3))
    assert len({augment(seed).tobytes() for seed in range(8)}) == 8


def test_random_flip_mirrors_half_of_the_time():
    image, rng = picture(4, 6), np.random.default_rng(0)
    flips = [random_flip(image, rng) for _ in range(400)]
    mirrored = [np.array_equal(flip, image[:, ::-1]) for flip in flips]
    assert 160 < sum(mirrored) < 240
    assert all(m or np.array_equal(f, image) for m, f in zip(mirrored, flips, strict=True))
    # A mirrored view must still be accepted by what follows.
    np.testing.assert_array_equal(resize(image[:, ::-1], (4, 3)).shape, (4, 3, 3))


def test_decode_image_of_arrays():
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    np.testing.assert_array_equal(decode_image(grey), np.stack([grey] * 3, axis=-1))
    deep = np.asarray([[0, 255, 256, 65535]], np.uint16)
    np.testing.assert_array_equal(decode_image(deep)[0, :, 0], [0, 0, 1, 255])
    image = picture(3, 4)
    np.testing.assert_array_equal(decode_image(image), image)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 2)), "float64"),
        (np.zeros((2, 2, 4), np.uint8), r"shape \(2, 2, 4\)"),
        (np.zeros((0, 2, 3), np.uint8), "no pixels"),
        (np.zeros(3, np.uint8), "shape"),
    ],
)
def test_decode_image_rejects_other_arrays(array, message):
    with pytest.raises(CorruptRecord, match=message):
        decode_image(array)


def test_pillow_and_naflex_fit_together():
    image = np.asarray(Image.linear_gradient("L").resize((301, 97)))
    image = resize(decode_image(image), naflex_size(97, 301, 14, 64))
    patches, _ = patchify(image, 14)
    assert 32 < len(patches) <= 64
