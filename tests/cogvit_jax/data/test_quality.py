"""What is measured of a picture, how it is judged, and copies against a brute-force search."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter
from scipy.fft import dctn
from scipy.ndimage import laplace

from cogvit_jax.data import quality
from cogvit_jax.data.embedded import open_embedded
from cogvit_jax.data.quality import QualitySettings, assess, duplicates, near_pairs, reject
from cogvit_jax.data.transforms import decode_image
from cogvit_jax.settings import ConfigError, read

NAMES = ("astronaut", "chelsea", "coffee", "camera", "flower", "china", "page", "ihc")


@pytest.fixture(scope="module")
def photographs():
    """Name -> uint8 [h, w, 3], 300 pixels wide."""
    records = {r.id.partition("/")[2]: r for r in open_embedded("photos/train").records}
    pictures = {name: Image.fromarray(decode_image(records[name].image)) for name in NAMES}
    small = {n: p.resize((300, round(300 * p.height / p.width))) for n, p in pictures.items()}
    return {name: np.asarray(picture) for name, picture in small.items()}


def _jpeg(image, level):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=level)
    return np.asarray(Image.open(file).convert("RGB"))


def _resized(image, share):
    height, width = image.shape[:2]
    return np.asarray(Image.fromarray(image).resize((int(width * share), int(height * share))))


CHANGES = {
    "darker": lambda image: (image * 0.85).astype(np.uint8),
    "brighter": lambda image: np.clip(image.astype(int) + 8, 0, 255).astype(np.uint8),
    "smaller": lambda image: _resized(image, 0.5),
    "larger": lambda image: _resized(image, 1.7),
    "squeezed": lambda image: np.asarray(Image.fromarray(image).resize((224, 224))),
    "jpeg": lambda image: _jpeg(image, 40),
}


@pytest.mark.parametrize("change", CHANGES)
def test_hash_survives_small_changes(photographs, change):
    for name, image in photographs.items():
        changed = assess(CHANGES[change](image)).hash
        # Measured: at most 4 bits over all 27 photographs but a chessboard.
        assert (assess(image).hash ^ changed).bit_count() <= 4, name


def test_hashes_of_different_photographs_are_far_apart(photographs):
    hashes = [assess(image).hash for image in photographs.values()]
    distances = [(a ^ b).bit_count() for i, a in enumerate(hashes) for b in hashes[:i]]
    assert min(distances) >= 16  # 32 of 64 bits are expected by chance, with deviation 4
    assert 26 < np.mean(distances) < 38


def test_hash_is_that_of_scipys_cosine_transform(photographs):
    for image in photographs.values():
        grey = Image.fromarray(image).convert("L")
        small = np.asarray(grey.resize((32, 32), Image.Resampling.BILINEAR), float)
        low = dctn(small - small.mean(), norm="ortho")[:8, :8]
        bits = "".join("1" if value > np.median(low) else "0" for value in low.ravel())
        assert quality.perceptual_hash(grey) == int(bits, 2)
    assert assess(np.full((50, 60, 3), 90, np.uint8)).hash == 0


def test_measures_against_scipy_and_by_hand(photographs):
    image = photographs["coffee"][:200, :256]
    grey = np.asarray(Image.fromarray(image).convert("L"), np.float32)
    found = assess(image)
    assert (found.height, found.width, found.min_side) == (200, 256, 200)
    assert found.aspect == pytest.approx(1.28)
    # f32 sums of 50,000 terms.
    assert found.sharpness == pytest.approx(laplace(grey)[1:-1, 1:-1].var(), rel=1e-4)
    assert found.contrast == pytest.approx(grey.astype(float).std(), rel=1e-4)
    small = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    grey = np.asarray(Image.fromarray(small).convert("L"), np.float32)  # not enlarged
    assert assess(small).sharpness == pytest.approx(laplace(grey)[1:-1, 1:-1].var(), rel=1e-4)
    flat = assess(np.full((1, 900, 3), 7, np.uint8))
    assert (flat.sharpness, flat.contrast, flat.aspect) == (0, 0, 900)


def test_blur_lowers_sharpness_whatever_the_size(photographs):
    for name, image in photographs.items():
        sharp = assess(image).sharpness
        blurred = Image.fromarray(image).filter(ImageFilter.GaussianBlur(4))
        assert assess(np.asarray(blurred)).sharpness < 10 < 100 < sharp, name
        large = Image.fromarray(image).resize((1200, 900))  # no sharper than the file it came from
        assert assess(np.asarray(large)).sharpness < 2 * sharp, name


@pytest.mark.parametrize(
    ("changes", "image", "reason"),
    [
        ({"min_side": 40}, np.zeros((39, 80, 3), np.uint8), "quality: small: side 39 px < 40"),
        ({"max_aspect": 2}, np.zeros((30, 61, 3), np.uint8), "quality: narrow: aspect 2.03 > 2"),
        ({"min_contrast": 3}, np.zeros((40, 40, 3), np.uint8), "quality: flat: contrast 0.00 < 3"),
        ({"min_sharpness": 1}, np.zeros((9, 9, 3), np.uint8), "quality: blurred: sharpness 0.00"),
    ],
)
def test_each_threshold_rejects_with_its_own_reason(changes, image, reason):
    settings = read(QualitySettings, changes, "config.quality")
    assert reject(settings, assess(image)).startswith(reason)
    assert reject(QualitySettings(), assess(image)) == ""
    noise = np.random.default_rng(0).integers(0, 256, (40, 80, 3), dtype=np.uint8)
    assert reject(settings, assess(noise)) == ""  # at the limit of side and aspect: kept


@pytest.mark.parametrize(
    "changes",
    [
        {"min_side": -1},
        {"max_aspect": 0.5},
        {"min_sharpness": float("nan")},
        {"min_contrast": -0.1},
        {"max_hash_distance": 16},
        {"max_hash_distance": -2},
    ],
)
def test_threshold_out_of_range_is_named(changes):
    quality.check(QualitySettings())
    ((name, value),) = changes.items()
    with pytest.raises(ConfigError, match=rf"config\.quality\.{name} = {value} must be"):
        quality.check(QualitySettings(**changes))


def _clustered(rng, count):
    """Hashes around a few centres, so that every distance from 0 on occurs."""
    centres = rng.integers(0, 2**64, 5, dtype=np.uint64)
    hashes = centres[rng.integers(0, 5, count)]
    for _ in range(4):
        flips = rng.random(count) < 0.6
        hashes[flips] ^= np.uint64(1) << rng.integers(0, 64, flips.sum(), dtype=np.uint64)
    return hashes


def _slow_duplicates(hashes, distance):
    original = []
    for i, value in enumerate(hashes.tolist()):
        near = (j for j in range(i) if original[j] < 0)
        found = (j for j in near if (value ^ int(hashes[j])).bit_count() <= distance)
        original.append(next(found, -1))
    return original


@given(st.integers(0, 2**32), st.integers(0, 70), st.integers(0, 15))
def test_copies_are_those_of_a_brute_force_search(seed, count, distance):
    hashes = _clustered(np.random.default_rng(seed), count)
    pairs = [
        (i, j)
        for j in range(count)
        for i in range(j)
        if (int(hashes[i]) ^ int(hashes[j])).bit_count() <= distance
    ]
    assert list(map(tuple, near_pairs(hashes, distance).tolist())) == pairs
    assert duplicates(hashes, distance).tolist() == _slow_duplicates(hashes, distance)
    assert not np.any(duplicates(hashes, -1) >= 0)


def test_a_chain_of_small_differences_does_not_remove_the_far_end():
    chain = np.array([0b0, 0b11, 0b1111, 0b111111], np.uint64)
    assert duplicates(chain, 2).tolist() == [-1, 0, -1, 2]


def test_many_equal_pictures_and_many_different_ones_are_searched_fast():
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 60_000, dtype=np.uint64)
    hashes[1::2] = hashes[0]  # pairs of these alone would be 450 million
    originals = duplicates(hashes, 4)
    assert (originals[1::2] == 0).all()
    assert (originals[0::2] < 0).sum() > 29_990
