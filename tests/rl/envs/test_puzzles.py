"""Puzzles: contracts, and independent checks of rules, solutions and pictures."""

from collections import Counter
from itertools import combinations, product

import numpy as np
import pytest

from rl import envs
from rl.answers.reply import boxed
from rl.envs import chess_mate, lights_out, matrix_pattern, maze, maze_path, sliding_tiles, sokoban
from rl.envs.category import make_task
from rl.envs.drawing import draw_mazes, draw_sokoban
from rl.envs.environment import judge, play
from rl.envs.parts import chess_rules
from rl.rewards.rules import moves

CATEGORIES = {
    module.CATEGORY.name: module.CATEGORY
    for module in (
        matrix_pattern,
        maze,
        maze_path,
        sliding_tiles,
        sokoban,
        lights_out,
        chess_mate,
    )
}
PLAYED = [name for name, category in CATEGORIES.items() if category.step]


@pytest.mark.parametrize("name", CATEGORIES)
def test_it_is_one_of_the_gym(name):
    assert envs.CATEGORIES[name] is CATEGORIES[name]
    assert CATEGORIES[name].group == "puzzles"


@pytest.mark.parametrize("name", PLAYED)
def test_what_cannot_be_done_changes_nothing_but_the_turns_left(name):
    category = CATEGORIES[name]
    task = make_task(category, 4, 2)
    for reply in ("", boxed("jump"), boxed("up, down"), boxed("9"), "<think>", boxed("1 2")):
        step = category.step(task, task.state, reply)
        assert {**step.state, "left": 0} == {**task.state, "left": 0}
        assert step.state["left"] == task.state["left"] - 1
        assert "not possible" in step.observation.parts[-1].text
        assert not step.done


@pytest.mark.parametrize("name", PLAYED)
def test_episodes_end_when_no_moves_are_left(name):
    task = make_task(CATEGORIES[name], 4, 2)
    played = play(CATEGORIES[name], task, (boxed("?"),) * 100)
    assert len(played.turns) == task.state["left"] <= task.max_turns
    assert judge(CATEGORIES[name], played).value == 0.0


@pytest.mark.parametrize("name", PLAYED)
def test_a_step_does_not_change_the_state_it_is_given(name):
    task = make_task(CATEGORIES[name], 5, 1)
    before = repr(task.state)
    CATEGORIES[name].step(task, task.state, CATEGORIES[name].oracle(task)[0])
    assert repr(task.state) == before


@pytest.mark.parametrize("seed", range(30))
def test_one_option_fits_a_matrix_and_it_cannot_be_told_from_the_options(seed):
    task = make_task(matrix_pattern.CATEGORY, seed, seed % 5)
    cells, options = task.reference["cells"], task.reference["options"]
    gold = options[task.reference["answer"]]
    assert cells[2][2] == gold
    assert len({tuple(option.items()) for option in options}) == len(options)
    fits = [
        option
        for option in options
        if all(
            option[name]
            in matrix_pattern.predictions(name, [[cell[name] for cell in row] for row in cells])
            for name in option
        )
    ]
    assert fits == [gold]
    for name in gold:  # a vote on each attribute gives every option the same
        votes = Counter(option[name] for option in options)
        assert len(set(votes.values())) == 1


def test_predictions_by_hand():
    predict = matrix_pattern.predictions
    assert predict("count", [[1, 2, 3], [2, 3, 4], [1, 2, 0]]) == {3}
    assert predict("count", [[1, 1, 1], [3, 3, 3], [2, 2, 0]]) == {2}
    assert predict("kind", [["a", "b", "c"], ["b", "c", "a"], ["c", "a", ""]]) == {"b"}
    assert predict("kind", [["a", "b", "c"], ["c", "b", "b"], ["c", "a", ""]]) == set()
    # One rule says 3 (rows go up by one), another 1 (rows hold the same three): not a task.
    assert len(predict("count", [[1, 2, 3], [1, 2, 3], [2, 3, 0]])) == 2


@pytest.mark.parametrize("seed", range(10))
def test_mazes_are_drawn_as_they_are(seed):
    task = make_task(maze_path.CATEGORY, seed, seed % 5)
    reference = task.reference
    pixels = task.observation.parts[0].data.astype(int)
    for r, row in enumerate(reference["grid"]):
        for c, cell in enumerate(row):
            corner = pixels[4 + 20 * r + 3, 4 + 20 * c + 3]
            assert (corner.sum() < 400) == (cell == "#") or [r, c] == reference["goal"]
    row, column = reference["start"]
    red = pixels[4 + 20 * row + 10, 4 + 20 * column + 10 + 5]
    assert red[0] > 180 > 90 > red[1]
    path = draw_mazes.way(reference["grid"], (row, column), tuple(reference["goal"]))
    found = moves.shortest(
        (row, column),
        lambda at: [
            (move, new)
            for move in moves.STEPS
            if moves.is_open(reference["grid"], new := moves.ahead(at, move))
        ],
        lambda at: list(at) == reference["goal"],
    )
    assert found is not None
    assert len(found) == len(path) == reference["most"] - 4


@pytest.mark.parametrize("seed", range(10))
def test_tiles_can_be_ordered_in_time(seed):
    task = make_task(sliding_tiles.CATEGORY, seed, seed % 5)
    found = moves.shortest(
        tuple(task.state["tiles"]),
        sliding_tiles.neighbours,
        lambda tiles: tiles == sliding_tiles.SOLVED,
    )
    assert found is not None
    assert 1 <= len(found) <= len(task.reference["solution"])
    played = play(sliding_tiles.CATEGORY, task, tuple(boxed(tile) for tile in found))
    assert judge(sliding_tiles.CATEGORY, played).value == 1.0


@pytest.mark.parametrize("seed", range(10))
def test_sokoban_solutions_are_as_short_as_a_forward_search_finds(seed):
    task = make_task(sokoban.CATEGORY, seed, seed % 5)
    grid, goals = task.reference["grid"], task.reference["goals"]
    start = (tuple(task.state["at"]), frozenset(map(tuple, task.state["boxes"])))
    found = moves.shortest(
        start,
        lambda level: [
            (move, new) for move in moves.STEPS if (new := draw_sokoban.push(grid, level, move))
        ],
        lambda level: sorted(map(list, level[1])) == goals,
    )
    assert found is not None
    assert len(found) == len(task.reference["solution"])


def test_boxes_are_not_pushed_through_walls_or_each_other():
    grid = ["....", "....", "..#."]
    level = ((1, 0), frozenset({(1, 1), (1, 2)}))
    assert draw_sokoban.push(grid, level, "right") is None
    assert draw_sokoban.push(grid, ((0, 2), frozenset({(1, 2)})), "down") is None
    assert draw_sokoban.push(grid, ((1, 0), frozenset({(1, 1)})), "right") == (
        (1, 1),
        frozenset({(1, 2)}),
    )
    assert draw_sokoban.push(grid, ((1, 2), frozenset({(1, 3)})), "right") is None
    assert draw_sokoban.push(grid, ((0, 0), frozenset()), "up") is None


@pytest.mark.parametrize("seed", range(6))
def test_lamps_are_judged_as_brute_force_does(seed):
    task = make_task(lights_out.CATEGORY, seed, seed % 4)
    lamps, side = task.reference["lamps"], len(task.reference["lamps"])
    around = np.zeros((side * side, side * side), int)  # which lamps a press switches
    for a, b in product(range(side * side), repeat=2):
        far = abs(a // side - b // side) + abs(a % side - b % side)
        around[a, b] = far <= 1
    cells = list(product(range(1, side + 1), repeat=2))
    for chosen in combinations(range(side * side), task.reference["most"]):
        out = not ((np.ravel(lamps) + around[list(chosen)].sum(axis=0)) % 2).any()
        answer = ",".join(f"[{cells[i][0]},{cells[i][1]}]" for i in chosen)
        assert lights_out.score(answer, task.reference) == float(out)


def perft(board, white, depth):
    """Leaves of the tree of moves."""
    if depth == 0:
        return 1
    return sum(
        perft(chess_rules.after(board, move), not white, depth - 1)
        for move in chess_rules.moves(board, white)
    )


def test_moves_of_chess_are_as_many_as_they_should_be():
    """Known counts; up to this depth there is no castling, en passant or promotion."""
    start = "rnbqkbnrpppppppp" + "." * 32 + "PPPPPPPPRNBQKBNR"
    assert [perft(start, True, depth) for depth in (1, 2, 3)] == [20, 400, 8902]
    # "Position 3" of the perft suites has en passant only from depth 3 on.
    board = "..........p........p....KP.....r.R...p.k............P.P........."[:64]
    assert [perft(board, True, depth) for depth in (1, 2)] == [14, 191]


def test_known_mates_and_no_mates():
    empty = "." * 32
    board = "......k......ppp" + empty + ".....PPPR.....K."
    assert [chess_rules.name(to) for _, to in chess_rules.mates(board)] == ["a8"]
    # With a way out on h7 it is only a check; with a piece to put in between, too.
    assert chess_rules.mates(board.replace(".....ppp", ".....pp.")) == []
    blocked = "......k......ppp...r...." + board[24:]
    assert chess_rules.mates(blocked) == []
    assert chess_rules.is_mate("k........Q........K....." + "." * 40, False)
    assert not chess_rules.is_mate("k.........Q.......K....." + "." * 40, False)  # stalemate


def test_every_mating_move_is_right_and_notations_vary():
    for seed in range(5):
        task = make_task(chess_mate.CATEGORY, seed, seed)
        for gold in task.reference["mates"]:
            for said in (gold, f"{gold[:2]}-{gold[2:]}", f"{gold[:2]} {gold[2:]}", f"{gold}#"):
                assert chess_mate.score(said, task.reference) == 1.0
        for said in (gold.upper(), f"R{gold}", f"{gold}=Q", "e2e4 ", "i9j0"):
            assert chess_mate.score(said, task.reference) == 0.0
