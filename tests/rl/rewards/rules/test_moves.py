"""Moves, walks, and breadth-first search."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.rewards.rules import moves

GRID = ["..#", "#..", "..."]
MAZE = {"grid": GRID, "start": [0, 0], "goal": [2, 2], "most": 6}


@pytest.mark.parametrize(
    "said",
    [
        "right, down, right, down",
        "R D R D",
        '["right","down","right","down"]',
        "右，下，右，下",
        "Right, Down, Down, Right.",
        "right\ndown\ndown\nright",
        "right, left, right, down, down, right",  # a detour, within the limit
    ],
)
def test_paths_that_arrive(said):
    assert moves.path(said, MAZE) == 1.0


@pytest.mark.parametrize(
    "said",
    [
        "",
        "right, down, right",
        "right, down, down, right, right",  # over the edge
        "down, right, right, down",  # through a wall
        "right, right, down, down",
        "right, down, down, right, left",  # goes on past the goal
        "right, left, right, left, right, down, down, right",  # too many
        "right, down, right, down or left",
        "right, down, , right, down",
        "right, down, jump, right",
        "right down, right down",
        '["right",2]',
        "[[]]",
        "up," * 1_000_000,
        "rdrd",
    ],
)
def test_paths_that_do_not(said):
    assert moves.path(said, MAZE) == 0.0


def test_one_move():
    assert moves.parse_move("Up.") == "up"
    assert moves.parse_move("向左") == "left"
    for said in ("up up", "up, down", "", "u p", "north"):
        assert moves.parse_move(said) is None


@pytest.mark.parametrize("seed", range(10))
def test_search_finds_what_dynamic_programming_finds(seed):
    rng = np.random.default_rng(seed)
    open_ = rng.random((5, 5)) < 0.7
    open_[0, 0] = True
    grid = ["".join(".#"[not o] for o in row) for row in open_.tolist()]
    far = np.where(open_, 99, 1000)
    far[0, 0] = 0
    for _ in range(25):  # Bellman-Ford over the cells
        padded = np.pad(far, 1, constant_values=1000)
        near = np.minimum.reduce(
            [padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]]
        )
        far = np.where(open_, np.minimum(far, near + 1), 1000)

    def after(place):
        ways = [(move, moves.ahead(place, move)) for move in moves.STEPS]
        return [(move, new) for move, new in ways if moves.is_open(grid, new)]

    for goal in [(r, c) for r in range(5) for c in range(5) if open_[r, c]]:
        found = moves.shortest((0, 0), after, lambda place, goal=goal: place == goal)
        assert (len(found) if found is not None else 99) == min(far[goal], 99)
        if found:
            assert moves.walk(grid, (0, 0), found) == goal


def test_search_gives_up():
    found = moves.shortest(0, lambda n: [("+", n + 1)], lambda n: n < 0, most_states=50)
    assert found is None


@settings(max_examples=60)
@given(st.text(max_size=40) | st.text(alphabet='uprightleft,[]" 上', max_size=40))
def test_never_raises(said):
    assert moves.path(said, MAZE) in (0.0, 1.0)
