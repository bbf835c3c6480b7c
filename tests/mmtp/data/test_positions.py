"""3-D positions equal those of transformers' GLM models."""

from pathlib import Path

import numpy as np
import pytest

from mmtp.data.encoded import Visual
from mmtp.data.positions import rope_positions

GOLDEN = Path(__file__).parents[2] / "golden" / "glm_positions.npz"
CASES = (
    "text",
    "image",
    "two_images",
    "ends_with_image",
    "video",
    "video_and_image",
    "left_padding",
)


def visual(start, rows, columns):
    return Visual(np.zeros((rows * columns, 3), np.uint8), (rows, columns), start)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("model", ["glm_ocr", "glm4v"])
def test_positions_equal_those_of_transformers(model, case):
    with np.load(GOLDEN) as golden:
        names = ("lengths", "visuals", "positions", "deltas")
        lengths, visuals, expected, deltas = (golden[f"{model}/{case}/{n}"] for n in names)
    for row, length in enumerate(lengths.tolist()):
        mine = [visual(*v[1:]) for v in visuals.tolist() if v[0] == row]
        positions, following = rope_positions(length, mine)
        assert positions.dtype == np.int32
        # Padding is on the left.
        np.testing.assert_array_equal(positions, expected[:, row, -length:].T)
        assert following - length == deltas[row]


def test_all_cases_are_compared():
    with np.load(GOLDEN) as golden:
        assert {name.split("/")[1] for name in golden.files} == set(CASES)


def test_documented_example_and_empty_document():
    positions, following = rope_positions(4, [visual(1, 2, 4)])
    assert positions.tolist() == [[0, 0, 0], [1, 1, 1], [1, 1, 2], [3, 3, 3]]
    assert following == 4
    assert rope_positions(0, [])[1] == 0


@pytest.mark.parametrize("starts", [(0, 1), (4, 0), (0, 7)])
def test_pictures_that_overlap_or_run_over_the_end_are_refused(starts):
    with pytest.raises(ValueError, match=r"grid \(4, 4\) takes tokens"):
        rope_positions(10, [visual(start, 4, 4) for start in starts])
