"""Orders of items."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.rewards.rules.order import parse_order, permutation

LETTERS = {"order": ["B", "A", "C"]}
WORDS = {"order": ["red circle", "blue star", "green square"]}


@pytest.mark.parametrize(
    "said",
    ["B, A, C", "b,a,c", "BAC", "B A C", "B > A > C", "B->A->C", '["B","A","C"]', "B、A、C。"],
)
def test_right(said):
    assert permutation(said, LETTERS) == 1.0


@pytest.mark.parametrize(
    "said",
    [
        "", "(", ".", "B", "B, A", "A, B, C", "C, A, B", "B, A, C, C", "B, A, A", "B, A, C, D",
        "(A)(B)(C)(D)", "(B)(A)(C)", "B, A, C or A, B, C", "BACABC", "B, , A, C", '["B","A",3]',
        '["B",["A"],"C"]', "{}", "BAC" * 500_000, "Ｂ, A, C", "1, 0, 2",
    ],
)  # fmt: skip
def test_wrong(said):
    assert permutation(said, LETTERS) == 0.0


def test_names_of_several_words():
    assert permutation("Red circle, blue  star,green square", WORDS) == 1.0
    assert permutation("circle, star, square", WORDS) == 0.0
    assert permutation("red circle blue star green square", WORDS) == 0.0
    assert permutation("blue star, red circle, green square", WORDS) == 0.0


@settings(max_examples=60)
@given(st.permutations(range(4)))
def test_only_the_one_permutation_is_right(order):
    said = ", ".join("DBAC"[i] for i in order)
    assert parse_order(said, list("DBAC")) == order
    assert permutation(said, {"order": list("DBAC")}) == float(order == [0, 1, 2, 3])


@settings(max_examples=60)
@given(st.text(max_size=30) | st.text(alphabet='ABC,[]" >', max_size=30))
def test_never_raises(said):
    assert permutation(said, LETTERS) in (0.0, 1.0)
