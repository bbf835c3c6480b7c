"""Prompts with other pictures keep all but the pixels."""

from dataclasses import replace

import numpy as np

from mmtp.data.encoded import Encoded, Visual
from rl.counterfactual import GREY, blanked, swapped


def visual(seed, grid=(4, 4), start=1, video=-1, channels=12):
    rng = np.random.default_rng(seed)
    patches = rng.integers(0, 256, (grid[0] * grid[1], channels)).astype(np.uint8)
    return Visual(patches, grid, start, video)


def document(*visuals, name="d"):
    tokens = np.arange(40, dtype=np.int32)
    return Encoded(tokens, tokens > 20, visuals, 0, name)


def same_but_pixels(one, other):
    assert other.tokens is one.tokens
    assert other.supervised is one.supervised
    assert (other.category, other.id) == (one.category, one.id)
    for a, b in zip(one.visuals, other.visuals, strict=True):
        assert (a.grid, a.start, a.video) == (b.grid, b.start, b.video)
        assert b.patches.shape == a.patches.shape
        assert b.patches.dtype == a.patches.dtype
        assert not np.array_equal(a.patches, b.patches)


def test_blanked_pictures_are_grey():
    one = document(visual(0), visual(1, (2, 6), start=9))
    found = blanked(one)
    same_but_pixels(one, found)
    assert all(np.all(v.patches == GREY) for v in found.visuals)
    assert blanked(document()).visuals == ()


def test_swapped_pictures_are_anothers_of_equal_grid():
    prompts = [
        document(visual(0), visual(1, (2, 6), start=9), name="a"),
        document(visual(0), visual(1, (2, 6), start=9), name="a again"),
        document(visual(2), name="b"),
        document(visual(3, (2, 6)), name="c"),
    ]
    found = swapped(prompts)
    for one, other in zip(prompts, found, strict=True):
        same_but_pixels(one, other)
    pixels = [[v.patches.tobytes() for v in one.visuals] for one in found]
    assert pixels[0] == pixels[1]  # rollouts of one prompt
    assert pixels[0] == [visual(2).patches.tobytes(), visual(3, (2, 6)).patches.tobytes()]
    assert pixels[2] == [visual(0).patches.tobytes()]


def test_who_has_no_other_is_left_out():
    clip = visual(5, video=0)
    frames = visual(6, channels=24)
    prompts = [
        document(visual(0)),
        document(visual(0)),  # the same picture is no other one
        document(),
        document(clip),
        document(frames),
        document(visual(7, (2, 2))),
    ]
    assert swapped(prompts) == [None] * 6
    both = [document(visual(1, (2, 2)), visual(0, (4, 4))), document(visual(2, (2, 2)))]
    assert swapped(both)[0] is None  # one of its pictures has no other
    same_but_pixels(both[1], swapped(both)[1])
    assert swapped([document(clip), document(replace(visual(8), video=3))])[0] is not None
