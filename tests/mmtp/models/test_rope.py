"""Rotary positions over three axes, against complex numbers."""

import jax.numpy as jnp
import numpy as np
import pytest

from mmtp.models import rope

SECTIONS = (1, 2, 1, 2)  # axes 0, 1, 2, 0
ROTARY, HEAD = 12, 16


def heads(seed, rows=2, tokens=5, num=3):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.standard_normal((rows, tokens, num, HEAD)), jnp.float32)


def positions(seed, rows=2, tokens=5):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.integers(0, 50, (rows, tokens, 3)), jnp.int32)


def turned(x, places, interleaved):
    angles = rope.angles(places, ROTARY, SECTIONS, 1e4)
    return np.asarray(rope.rotate(x, angles, interleaved))


def pairs_of(interleaved):
    if interleaved:
        return [(2 * p, 2 * p + 1) for p in range(ROTARY // 2)]
    return [(p, p + ROTARY // 2) for p in range(ROTARY // 2)]


@pytest.mark.parametrize("interleaved", [False, True])
def test_pairs_turn_as_complex_numbers_by_their_sections_axis(interleaved):
    x, places = heads(0), positions(1)
    expected = np.array(x, np.float64)
    axes = [0, 1, 1, 2, 0, 0]
    for p, (first, second) in enumerate(pairs_of(interleaved)):
        angle = np.asarray(places, np.float64)[..., axes[p]] * 1e4 ** (-2 * p / ROTARY)
        number = (expected[..., first] + 1j * expected[..., second]) * np.exp(1j * angle)[..., None]
        expected[..., first], expected[..., second] = number.real, number.imag
    # cos and sin of angles up to 50 that carry half an ulp of f32: 2e-6.
    np.testing.assert_allclose(turned(x, places, interleaved), expected, atol=1e-5)


@pytest.mark.parametrize("interleaved", [False, True])
def test_products_depend_on_differences_of_positions_only(interleaved):
    q, k, places = heads(0), heads(1), positions(2)

    def products(shift):
        moved = places + jnp.asarray(shift, jnp.int32).reshape(1, 1, 3)
        both = (turned(x, moved, interleaved) for x in (q, k))
        return np.einsum("bthk,bshk->bhts", *both)

    np.testing.assert_allclose(products((0, 0, 0)), products((7, 100, 31)), atol=2e-4)
    assert np.abs(products((0, 0, 0)) - np.einsum("bthk,bshk->bhts", q, k)).max() > 0.1


def test_the_conventions_differ_by_the_order_of_dims():
    x, places = heads(3), positions(4)
    order = [d for pair in pairs_of(True) for d in pair]
    half = [d for pair in pairs_of(False) for d in pair]
    swapped = np.array(x)
    swapped[..., half] = np.asarray(x)[..., order]
    found = turned(jnp.asarray(swapped), places, False)
    np.testing.assert_array_equal(found[..., half], turned(x, places, True)[..., order])
    np.testing.assert_array_equal(found[..., ROTARY:], np.asarray(x)[..., ROTARY:])


def test_text_does_not_feel_the_sections():
    text = rope.text_positions(2, 5)
    one = rope.angles(text, ROTARY, (6,), 1e4)
    three = rope.angles(text, ROTARY, SECTIONS, 1e4)
    np.testing.assert_array_equal(one[1], three[1])
    np.testing.assert_array_equal(np.asarray(text)[1, :, 2], np.arange(5))


def test_sections_that_do_not_add_up_are_told():
    with pytest.raises(ValueError, match="half of rotary_dim = 12"):
        rope.angles(rope.text_positions(1, 1), 12, (2, 2, 1), 1e4)
