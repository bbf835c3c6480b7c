"""Layouts: by hand, and against counting."""

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.rewards.rules.boxes import iou
from rl.rewards.rules.layout import kendall_tau, layout, match

BLOCKS = [
    {"label": "title", "bbox_2d": [100, 50, 900, 100]},
    {"label": "text", "bbox_2d": [100, 120, 480, 500]},
    {"label": "figure", "bbox_2d": [100, 520, 480, 900]},
    {"label": "text", "bbox_2d": [520, 120, 900, 900]},
]
GOLD = {"blocks": BLOCKS}


def moved(i, box):
    return [{**block, "bbox_2d": box} if k == i else block for k, block in enumerate(BLOCKS)]


@pytest.mark.parametrize(
    ("blocks", "score"),
    [
        (BLOCKS, 1),
        ([BLOCKS[i] for i in (0, 1, 3, 2)], (1 + 4 / 6) / 2),
        ([BLOCKS[i] for i in (1, 0, 3, 2)], (1 + 2 / 6) / 2),
        (BLOCKS[:3], (6 / 7 + 1) / 2),
        (BLOCKS[:2], (4 / 6 + 1) / 2),
        ([*BLOCKS, BLOCKS[0]], (8 / 9 + 1) / 2),
        (moved(3, [520, 120, 900, 600]), 1),
        (moved(3, [520, 120, 900, 500]), (3 / 4 + 1) / 2),
        ([{**BLOCKS[0], "label": "text"}, *BLOCKS[1:]], (3 / 4 + 1) / 2),
    ],
)
def test_by_hand(blocks, score):
    assert layout(json.dumps(blocks), GOLD) == pytest.approx(score)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "[]",
        "{}",
        json.dumps(BLOCKS[::-1]),
        json.dumps(BLOCKS[:1]),
        json.dumps(BLOCKS + [{"label": "text", "bbox_2d": [0, 0, n, n]} for n in range(1, 14)]),
        json.dumps([{"label": kind["label"], "bbox_2d": [0, 0, 999, 999]} for kind in BLOCKS]),
        json.dumps(moved(0, [900, 100, 100, 50])),
        json.dumps(moved(0, [100, 50, 100, 50])),
        json.dumps(moved(0, [100.0, 50, 900, 100])),
        json.dumps(moved(0, [True, 50, 900, 100])),
        json.dumps(moved(0, [-5, 50, 900, 100])),
        json.dumps(moved(0, [100, 50, 1001, 100])),
        json.dumps(moved(0, [100, 50, 900])),
        json.dumps([{**BLOCKS[0], "score": 1}, *BLOCKS[1:]]),
        json.dumps([block["bbox_2d"] for block in BLOCKS]),
        json.dumps(BLOCKS).replace("900", "NaN"),
        f"The blocks: {json.dumps(BLOCKS)}",
    ],
)
def test_attacks(answer):
    assert layout(answer, GOLD) == 0


@settings(max_examples=50)
@given(st.permutations(range(6)))
def test_tau_against_scipy(order):
    from scipy.stats import kendalltau

    assert kendall_tau(order) == pytest.approx(kendalltau(range(6), order)[0])
    assert kendall_tau(order[:1]) == 0


BOX = st.tuples(*[st.integers(0, 4)] * 2, *[st.integers(5, 9)] * 2)
SOME = st.lists(BOX.map(lambda box: ("text", box)), min_size=1, max_size=4)


@settings(max_examples=60)
@given(SOME, SOME)
def test_as_many_pairs_as_can_be_had(said, gold):
    small, large = sorted((said, gold), key=len)
    best = max(
        sum(iou(a[1], b[1]) >= 0.5 for a, b in zip(small, order, strict=True))
        for order in itertools.permutations(large, len(small))
    )
    found = match(said, gold)
    assert len(found) == len(set(found)) == best


@settings(max_examples=100)
@given(
    st.lists(st.dictionaries(st.sampled_from(["label", "bbox_2d", "x"]), st.lists(st.integers())))
)
def test_never_raises(value):
    assert layout(json.dumps(value), GOLD) == 0
