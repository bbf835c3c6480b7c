"""The panel shows what was masked, targets and predictions in the same colours, and errors."""

import numpy as np
import pytest

from cogvit_jax import plots
from cogvit_jax.evals.reconstruction import GREY, errors, heat, panel

SIDE = 32
TITLES = ["picture", "seen"] + [
    f"{name}\n{kind}" for name in ("a", "b") for kind in ("target", "prediction", "1 - cosine")
]


def case(n: int = 3) -> dict:
    """Pictures of 4 x 4 patches, and two teachers, one of whom has a 2 x 2 grid."""
    rng = np.random.default_rng(0)
    targets = {
        "a": rng.normal(size=(n, 16, 6)).astype(np.float32),
        "b": rng.normal(size=(n, 4, 9)).astype(np.float32),
    }
    return {
        "pictures": rng.integers(0, 100, (n, SIDE, SIDE, 3), dtype=np.uint8),
        "masked": rng.random((n, 16)) < 0.35,
        "targets": targets,
        "predictions": {k: -v if k == "b" else v.copy() for k, v in targets.items()},
    }


def cell(picture: np.ndarray, row: int, column: int) -> np.ndarray:
    y, x = plots.picture_table_corner(TITLES, row, column, SIDE)
    return picture[y : y + SIDE, x : x + SIDE]


def patches(pixels: np.ndarray, grid: int) -> np.ndarray:
    """`[grid * grid, pixels, 3]`."""
    cut = pixels.reshape(grid, SIDE // grid, grid, SIDE // grid, 3)
    return cut.transpose(0, 2, 1, 3, 4).reshape(grid * grid, -1, 3)


def test_first_columns_are_the_picture_and_what_was_seen_of_it():
    given = case()
    picture = panel(**given, side=SIDE)
    assert picture.shape == (*plots.picture_table_corner(TITLES, 3, 8, SIDE), 3)
    for row in range(3):
        np.testing.assert_array_equal(cell(picture, row, 0), given["pictures"][row])
        whole, seen = patches(cell(picture, row, 0), 4), patches(cell(picture, row, 1), 4)
        masked = given["masked"][row]
        assert np.all(seen[masked] == GREY)
        np.testing.assert_array_equal(seen[~masked], whole[~masked])


def test_equal_features_have_equal_colours_and_no_error():
    picture = panel(**case(), side=SIDE)
    equal, opposite = (np.broadcast_to(heat(np.full(1, e)), (SIDE, SIDE, 3)) for e in (0.0, 2.0))
    for row in range(3):
        np.testing.assert_array_equal(cell(picture, row, 2), cell(picture, row, 3))
        np.testing.assert_array_equal(cell(picture, row, 4), equal)
        np.testing.assert_array_equal(cell(picture, row, 7), opposite)
        assert np.any(cell(picture, row, 5) != cell(picture, row, 6))


def test_one_wrong_patch_shows_at_its_place_only():
    given = case()
    given["predictions"]["a"][1, 6] *= -1
    picture = panel(**given, side=SIDE)
    before = panel(**case(), side=SIDE)
    for column in (3, 4):
        changed = patches(cell(picture, 1, column) != cell(before, 1, column), 4).any((1, 2))
        assert np.flatnonzero(changed).tolist() == [6]
    np.testing.assert_array_equal(cell(picture, 1, 2), cell(before, 1, 2))


def test_error_is_one_minus_cosine():
    target = np.asarray([[1.0, 0], [0, 2], [3, 0], [0, 0]])
    predicted = np.asarray([[5.0, 0], [1, 0], [-1, 0], [1, 1]])
    np.testing.assert_allclose(errors(predicted, target), [0, 1, 2, 1], atol=1e-12)


def test_what_does_not_fit_is_named():
    given = case()
    with pytest.raises(ValueError, match="2 pictures and 3 masks"):
        panel(**(given | {"pictures": given["pictures"][:2]}), side=SIDE)
    with pytest.raises(ValueError, match=r"targets of \['a', 'b'\] but predictions of \['a'\]"):
        panel(**(given | {"predictions": {"a": given["targets"]["a"]}}), side=SIDE)
    wrong = given["predictions"] | {"b": given["predictions"]["b"][:, :3]}
    with pytest.raises(ValueError, match=r"b: targets \(3, 4, 9\), predictions \(3, 3, 9\)"):
        panel(**(given | {"predictions": wrong}), side=SIDE)
    with pytest.raises(ValueError, match="masked has 15 patches; expected a square grid"):
        panel(**(given | {"masked": given["masked"][:, :15]}), side=SIDE)
    odd = {"b": given["targets"]["b"][:, :3]}
    with pytest.raises(ValueError, match=r"targets\['b'\] has 3 patches"):
        panel(given["pictures"], given["masked"], odd, odd, SIDE)
