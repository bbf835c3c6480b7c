"""Boxes of differences: F1 by hand, and what covers everything."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.rewards.rules.differences import differences

TWO = {"boxes": [[100, 100, 200, 200], [500, 500, 700, 600]]}


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("[[100,100,200,200],[500,500,700,600]]", 1),
        ("[[500,500,700,600],[100,100,200,200]]", 1),
        ("[500,500,700,600],[100,100,200,200]", 1),
        ("[[100,100,200,200]]", 2 / 3),
        ("[[100,100,200,150]]", 2 / 3),  # IoU exactly 1/2
        ("[[100,100,200,149]]", 0),
        ("[[100,100,200,200],[100,100,200,200]]", 0.5),  # said twice, counts once
        ("[[100,100,200,200],[0,0,9,9],[9,9,20,20]]", 0),  # 2/5 is below the gate
        ("[[100,100,200,200],[500,500,700,600],[0,0,9,9]]", 0.8),
        ("[[0,0,1000,1000]]", 0),
        ("[[0,0,999,999],[0,0,999,999]]", 0),
        ("[]", 0),
        ("", 0),
        ("[[200,200,100,100],[700,600,500,500]]", 0),
        ("[[100,100,200,200],[700,600,500,500]]", 0),
        ("[[nan,nan,nan,nan]]", 0),
        ("[[0.1,0.1,0.2,0.2]]", 0),
        ("here: [[100,100,200,200]]", 0),
    ],
)
def test_by_hand(said, value):
    assert differences(said, TWO) == pytest.approx(value)


def test_a_grid_of_boxes_pays_nothing():
    grid = [[100 * x, 100 * y, 100 * x + 100, 100 * y + 100] for x in range(10) for y in range(10)]
    assert differences(str(grid), {"boxes": grid[:1]}) == 0


@given(st.text(max_size=30) | st.text("[],0123456789 ", max_size=40))
@settings(max_examples=150)
def test_never_raises(said):
    assert 0 <= differences(said, TWO) <= 1
