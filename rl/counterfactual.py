"""The same prompts with other pictures: grey ones, or those of another document.

What a policy would have said of them tells which of its tokens depend on pictures.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mmtp.data.encoded import Encoded, Visual

GREY = 128  # of 0 … 255


def blanked(document: Encoded, value: int = GREY) -> Encoded:
    """A document whose pictures are of one colour; tokens, grids and places stay."""
    visuals = (
        replace(visual, patches=np.full_like(visual.patches, value)) for visual in document.visuals
    )
    return replace(document, visuals=tuple(visuals))


def swapped(documents: Sequence[Encoded]) -> list[Encoded | None]:
    """Each document with the pictures of others, of equal grids; tokens and places stay.

    A picture is replaced by the next different one of its grid, in order of first appearance, so
    that rollouts of one prompt, which share their pictures, get the same ones. None stands for a
    document without pictures, and for one of which a picture has no other of its grid.
    """
    kept: dict[tuple, dict[bytes, np.ndarray]] = {}
    for document in documents:
        for visual in document.visuals:
            kept.setdefault(_kind(visual), {})[visual.patches.tobytes()] = visual.patches
    following: dict[tuple, dict[bytes, np.ndarray]] = {}
    for kind, found in kept.items():
        arrays = list(found.values())
        following[kind] = dict(zip(found, [*arrays[1:], arrays[0]], strict=True))

    def other(visual: Visual) -> Visual | None:
        if len(kept[_kind(visual)]) < 2:
            return None
        return replace(visual, patches=following[_kind(visual)][visual.patches.tobytes()])

    return [_with(one, [other(visual) for visual in one.visuals]) for one in documents]


def _kind(visual: Visual) -> tuple:
    """Pictures that may stand for each other: a frame never stands for a picture."""
    return visual.grid, visual.patches.shape, visual.video >= 0


def _with(document: Encoded, visuals: Sequence[Visual | None]) -> Encoded | None:
    found = [visual for visual in visuals if visual is not None]
    if not found or len(found) < len(visuals):
        return None
    return replace(document, visuals=tuple(found))
