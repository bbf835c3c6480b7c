"""A document as numbers: what the tokenizer and the chat template make, and the planner packs."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int32, UInt8

MERGE = 2  # patches per side of the block that becomes one token


@dataclass(frozen=True)
class Visual:
    """One picture, or one frame (or pair of frames) of a video, cut into patches.

    Attributes:
        patches: pixels (frame, row, column, channel) of each patch, frame only where
            `frames_per_patch` is 2; block after block of 2 x 2 patches, blocks row-major, and in a
            block upper left, upper right, lower left, lower right. So four consecutive patches are
            one token, and any split at a multiple of four splits no token.
        grid: (rows, columns) in patches, both even.
        start: place in the document's tokens of the first of its rows * columns / 4 placeholders.
        video: which video of the document it is a frame of, from 0; -1 = a picture.
    """

    patches: UInt8[np.ndarray, "n p"]
    grid: tuple[int, int]
    start: int
    video: int = -1

    @property
    def num_tokens(self) -> int:
        """Placeholders that it fills."""
        return self.grid[0] * self.grid[1] // MERGE**2


@dataclass(frozen=True)
class Encoded:
    """A document as tokens.

    Attributes:
        tokens: ids, one placeholder for each visual token.
        supervised: whether a token is to be predicted: never a placeholder; in fine-tuning only
            what the assistant says.
        visuals: pictures and frames in order of their `start`.
        category: index into `records.CATEGORIES`.
        id: of the document.
    """

    tokens: Int32[np.ndarray, " n"]
    supervised: Bool[np.ndarray, " n"]
    visuals: tuple[Visual, ...]
    category: int
    id: str


def block_positions(grid: tuple[int, int]) -> Int32[np.ndarray, "n 2"]:
    """(row, column) of every patch of a grid, in the order of `Visual.patches`."""
    rows, columns = grid
    places = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), axis=-1)
    blocks = places.reshape(rows // MERGE, MERGE, columns // MERGE, MERGE, 2)
    return blocks.transpose(0, 2, 1, 3, 4).reshape(-1, 2).astype(np.int32)
