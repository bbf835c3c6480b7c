"""Places of a document's tokens in time, height and width, for M-RoPE (GLM-4.1V's rule)."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int32

from mmtp.data.encoded import MERGE, Visual


def rope_positions(
    num_tokens: int, visuals: Sequence[Visual]
) -> tuple[Int32[np.ndarray, "n 3"], int]:
    """(time, height, width) of every token of a document, and the position of the one after it.

    Text goes one on along all three axes. The tokens of a picture that starts at position p stand
    at (p, p + row, p + column) of its merged grid, and what follows it starts at p plus the longer
    side of that grid. Each frame of a video counts as a picture.

    The next position minus `num_tokens` is what `transformers` calls `rope_deltas`: the first token
    to be generated stands at the next position, and the others follow one by one.

    Example:
        rope_positions(4, [Visual(patches, grid=(2, 4), start=1)])
        == ([[0, 0, 0], [1, 1, 1], [1, 1, 2], [3, 3, 3]], 4)

    Raises:
        ValueError: visuals overlap, are out of order, or end after the document.
    """
    positions = np.zeros((num_tokens, 3), np.int32)
    place = position = 0
    for visual in visuals:
        stop = visual.start + visual.num_tokens
        if visual.start < place or stop > num_tokens:
            raise ValueError(
                f"a picture of grid {visual.grid} takes tokens {visual.start} to {stop} of a "
                f"document of {num_tokens} whose first {place} are taken: list visuals in order of "
                "their start, one placeholder for each of their tokens"
            )
        position = _write_text(positions[place : visual.start], position)
        rows, columns = visual.grid[0] // MERGE, visual.grid[1] // MERGE
        grid = np.indices((rows, columns)).reshape(2, -1).T
        positions[visual.start : stop, 0] = position
        positions[visual.start : stop, 1:] = position + grid
        position, place = position + max(rows, columns), stop
    return positions, _write_text(positions[place:], position)


def _write_text(positions: np.ndarray, first: int) -> int:
    """Numbers a stretch of text in place; returns the position after it."""
    positions[:] = first + np.arange(len(positions))[:, None]
    return first + len(positions)
