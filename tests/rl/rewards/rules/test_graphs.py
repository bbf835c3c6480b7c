"""Edge lists, isomorphism against brute force, and formulas of molecules."""

from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.rewards.rules.formulas import formula, parse_formula
from rl.rewards.rules.graphs import edges, isomorphic, parse_edges, same_shape
from tests.at_most import at_most

SQUARE = {"edges": [["A", "B"], ["B", "C"], ["C", "D"], ["A", "D"]], "directed": False}
WAY = {"edges": [["A", "B"], ["C", "B"]], "directed": True}


@pytest.mark.parametrize(
    "said",
    [
        "A-B, B-C, C-D, D-A",
        "B-A,C-B,D-C,A-D",
        "A-B B-C C-D D-A",
        "(A,B), (B,C), (C,D), (D,A)",
        '[["A","B"],["B","C"],["C","D"],["D","A"]]',
        "A – B；B–C；C–D；A–D",
    ],
)
def test_the_same_edges(said):
    assert edges(said, SQUARE) == 1.0


@pytest.mark.parametrize(
    "said",
    [
        "",
        "[]",
        "A-B, B-C, C-D",
        "A-B, B-C, C-D, D-A, A-C",
        "A-B, B-C, C-D, A-C",
        "A-B, B-C, C-D, D-A, A-D",  # one of them twice
        "A-B, B-C, C-D, D-A, A-A",
        "A-B-C-D-A",
        "ABCDA",
        "A,B,B,C,C,D,D,A",
        "a-b, b-c, c-d, d-a",
        "A-B, B-C, C-D, D-A and nothing else",
        ", ".join(f"{a}-{b}" for a, b in combinations("ABCD", 2)),
        "A-B," * 100_000,
        "[" * 100_000,
        '[["A","B"],["B","C"],["C","D"],["D",null]]',
        "A-B, B-C, C-D, D-А",  # the last letter is Cyrillic
    ],
)
def test_other_edges(said):
    assert edges(said, SQUARE) == 0.0
    assert isomorphic(said, SQUARE) == 0.0 or said == "a-b, b-c, c-d, d-a"


def test_directions():
    assert edges("A->B, C->B", WAY) == 1.0
    assert edges("B->A, C->B", WAY) == 0.0
    assert edges("A->B, B->C", WAY) == 0.0
    assert isomorphic("1->2, 3->2", WAY) == 1.0
    assert isomorphic("1->2, 2->3", WAY) == 0.0


def test_names_do_not_matter_for_the_shape():
    assert isomorphic("1-2, 2-4, 4-3, 3-1", SQUARE) == 1.0
    assert isomorphic("1-2, 2-3, 3-1, 3-4", SQUARE) == 0.0
    # Equal degrees, other shape: a hexagon and two triangles.
    hexagon = {"edges": [["1", "2"], ["2", "3"], ["3", "4"], ["4", "5"], ["5", "6"], ["6", "1"]]}
    triangles = "1-2, 2-3, 3-1, 4-5, 5-6, 6-4"
    assert isomorphic(triangles, hexagon | {"directed": False}) == 0.0


def brute_force(one, other):
    """Whether some renaming makes them the same, by trying all of five nodes."""
    target = {frozenset(edge) for edge in other}
    return any(
        {frozenset((new[int(a)], new[int(b)])) for a, b in one} == target
        for new in permutations("01234")
    )


@pytest.mark.parametrize("seed", range(30))
def test_shape_against_brute_force(seed):
    rng = np.random.default_rng(seed)
    pairs = list(combinations("01234", 2))
    one, other = ([pairs[i] for i in rng.choice(10, 5, replace=False)] for _ in range(2))
    # Degrees leave out nodes without edges, and so does brute force over all five.
    assert same_shape(one, other, False) == brute_force(one, other)
    renamed = dict(zip("01234", rng.permutation(list("01234")).tolist(), strict=True))
    assert same_shape(one, [(renamed[a], renamed[b]) for a, b in one], False)


def test_large_graphs_are_refused_at_once():
    cube = [(str(i), str(i ^ 1 << k)) for i in range(16) for k in range(4) if i < i ^ 1 << k]
    with at_most(0.1):
        assert not same_shape(cube, cube, False)


@settings(max_examples=60)
@given(st.text(max_size=40) | st.text(alphabet='AB1,->()[]" ', max_size=40))
def test_never_raises(said):
    for directed in (False, True):
        parse_edges(said, directed)
    assert isomorphic(said, SQUARE) in (0.0, 1.0)
    parse_formula(said)


def test_formulas():
    ethanol = {"atoms": {"C": 2, "H": 6, "O": 1}}
    for said in ("C2H6O", "OH6C2", "CH3CH2OH", "C_2H_6O", "C_{2}H_{6}O", "$C_{2}H_{6}O$", "C2H6O1"):
        assert formula(said, ethanol) == 1.0
    for said in ("C2H6", "C2H5O", "c2h6o", "C2 H6 O or CH4", "C₂H₆O", "C2H6O, CH4", "", "CO",
                 "C2H06O", "C2H6O" * 100_000, "C2H6O 1", "C٢H6O", "C2H6OH0"):  # fmt: skip
        assert formula(said, ethanol) == 0.0
