"""Masks: exact counts, pure in the seed, uniform coverage, blocks that hang together."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cogvit_jax.data.masking import MaskSettings, draw, num_masked
from cogvit_jax.settings import ConfigError

KINDS = ("block", "uniform")


@given(
    kind=st.sampled_from(KINDS),
    ratio=st.floats(0.05, 0.95),
    rows=st.integers(2, 24),
    columns=st.integers(2, 24),
    min_patches=st.integers(1, 20),
    min_aspect=st.floats(0.1, 1),
    seed=st.integers(0, 2**32),
)
def test_exactly_the_asked_number_and_pure_in_the_seed(
    kind, ratio, rows, columns, min_patches, min_aspect, seed
):
    settings = MaskSettings(ratio, kind, min_patches, min_aspect)
    count = round(ratio * rows * columns)
    if not 0 < count < rows * columns:
        with pytest.raises(ConfigError):
            draw(settings, np.random.default_rng(seed), rows, columns)
        return
    masks = [draw(settings, np.random.default_rng(seed), rows, columns) for _ in range(2)]
    assert masks[0].shape == (rows * columns,)
    assert masks[0].dtype == bool
    assert masks[0].sum() == count == num_masked(settings, rows * columns)
    np.testing.assert_array_equal(*masks)


def test_the_papers_number_of_patches():
    assert num_masked(MaskSettings(), 256) == 90


@pytest.mark.parametrize("kind", KINDS)
def test_every_patch_is_masked_about_equally_often(kind):
    rng = np.random.default_rng(0)
    draws = 4000
    rate = sum(draw(MaskSettings(kind=kind), rng, 16, 16) for _ in range(draws)) / draws
    assert abs(rate.mean() - 90 / 256) < 1e-9
    deviation = np.sqrt(90 / 256 * (1 - 90 / 256) / draws)  # of one patch's rate
    # Of 256 normal deviates one exceeds 4.5 with probability 0.002.
    if kind == "uniform":
        assert np.abs(rate - 90 / 256).max() < 4.5 * deviation
    else:  # a block must lie inside, so corners are masked rarely and the middle often
        inside = rate.reshape(16, 16)[6:-6, 6:-6]
        assert rate.min() > 0.03
        assert np.ptp(inside) < 0.1
        assert rate.argmax() in np.arange(256).reshape(16, 16)[4:-4, 4:-4]
        # Transposing and mirroring the grid changes nothing in the long run.
        grid = rate.reshape(16, 16)
        for other in (grid.T, grid[::-1], grid[:, ::-1]):
            assert np.abs(grid - other).max() < 6 * deviation * np.sqrt(2)


def test_blocks_hang_together():
    def neighbours(kind):
        rng = np.random.default_rng(1)
        total = 0.0
        for _ in range(200):
            mask = draw(MaskSettings(kind=kind), rng, 16, 16).reshape(16, 16)
            pairs = (mask[1:] & mask[:-1]).sum() + (mask[:, 1:] & mask[:, :-1]).sum()
            total += 2 * pairs / mask.sum()  # masked neighbours of a masked patch
        return total / 200

    # Uniform: 3.75 neighbours on average, each masked with probability 89 / 255.
    assert abs(neighbours("uniform") - 3.75 * 89 / 255) < 0.03
    assert neighbours("block") > 2.5


def test_block_of_a_fixed_shape():
    """One block of aspect 1 whose least area is the whole count is a square."""
    for seed in range(30):
        settings = MaskSettings(ratio=16 / 64, min_patches=16, min_aspect=1.0)
        mask = draw(settings, np.random.default_rng(seed), 8, 8).reshape(8, 8)
        rows, columns = mask.any(axis=1).sum(), mask.any(axis=0).sum()
        assert (rows, columns) == (4, 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ratio": 0.0}, r"config\.mask\.ratio = 0\.0"),
        ({"ratio": 1.0}, r"config\.mask\.ratio = 1\.0"),
        ({"ratio": -0.2}, r"config\.mask\.ratio = -0\.2"),
        ({"ratio": float("nan")}, r"config\.mask\.ratio = nan"),
        ({"ratio": 0.001}, "masks 0 of 64 patches"),
        ({"ratio": 0.999}, "masks 64 of 64 patches"),
        ({"kind": "blok"}, r"config\.mask\.kind = 'blok'.*'block'"),
        ({"min_patches": 0}, r"config\.mask\.min_patches = 0"),
        ({"min_aspect": 0.0}, r"config\.mask\.min_aspect = 0\.0"),
        ({"min_aspect": 3.0}, r"config\.mask\.min_aspect = 3\.0"),
    ],
)
def test_errors_name_the_field_and_the_value(changes, message):
    with pytest.raises(ConfigError, match=message):
        draw(MaskSettings(**changes), np.random.default_rng(0), 8, 8)


def test_some_pictures_are_left_whole_where_that_is_asked():
    settings = MaskSettings(probability=0.3)
    counts = [draw(settings, np.random.default_rng(i), 8, 8).sum() for i in range(2000)]
    assert set(counts) == {0, num_masked(settings, 64)}
    # Binomial: standard deviation sqrt(0.3 * 0.7 / 2000) = 0.010.
    assert np.mean(np.asarray(counts) > 0) == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize("probability", [0.0, -0.5, 1.5])
def test_a_probability_out_of_range_is_refused(probability):
    with pytest.raises(ConfigError, match=r"config\.mask\.probability = "):
        num_masked(MaskSettings(probability=probability), 64)
