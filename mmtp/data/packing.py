"""Documents -> the arrays of a batch, with what every MTP depth is fed and is to predict.

All shifts are made here, once, on whole documents and by direct jumps from token i to token i + k:
a shift that is repeated on packed rows runs over the ends of documents from the second depth on.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from cogvit_jax.data.records import CorruptRecord
from mmtp.data import layout as layouts
from mmtp.data import planner
from mmtp.data.encoded import Encoded, block_positions
from mmtp.data.layout import ARRAYS, BLOCK, Layout
from mmtp.data.planner import Place, Room, Size
from mmtp.data.positions import rope_positions
from mmtp.data.reorder import reorder, sequence_dim


@dataclasses.dataclass(frozen=True)
class Collate:
    """Examples `{"document": Encoded}` of one batch of this host -> what `collate` makes."""

    layout: Layout

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return collate([e["document"] for e in examples], self.layout)


def collate(documents: Sequence[Encoded], layout: Layout) -> dict[str, Any]:
    """This host's documents of a batch as arrays (see `layout.ARRAYS`), and figures.

    Figures: shares of tokens and patches in use (`data/fill_text`, `data/fill_vision`), documents
    for which there was no room and their share of all tokens (`data/dropped_documents`,
    `data/dropped_tokens`), and by how much the group with most exceeds the mean, in tokens, patches
    and cost (`data/imbalance_text`, `…_vision`, `…_cost`); only cost is balanced.

    Raises:
        CorruptRecord: a document that `check_fits` should have kept out.
    """
    for document in documents:
        check_fits(document, layout)
    sizes = [size_of(d) for d in documents]
    places = place_all(sizes, layout)
    arrays = write(documents, places, layout)
    batch = reorder(layouts.nest(arrays), layout.context)
    return {"arrays": batch, "stats": _figures(batch, places, sizes, layout)}


def check_fits(document: Encoded, layout: Layout) -> None:
    """Raises CorruptRecord where a document cannot be in any batch; names the field to change.

    ValueError where its patches are not of `layout.patch_dim` numbers.
    """
    size = size_of(document)
    for visual in document.visuals:
        if visual.patches.shape[1] != layout.patch_dim:
            raise ValueError(
                f"document {document.id} has patches of {visual.patches.shape[1]} numbers; the "
                f"layout was made for patch_dim = {layout.patch_dim}"
            )
    if not size.tokens:
        raise CorruptRecord(f"document {document.id} has no tokens.")
    if size.tokens > layout.seq_len:
        raise CorruptRecord(
            f"document {document.id} has {size.tokens} tokens, more than config.data.seq_len = "
            f"{layout.seq_len}: cut it, or lengthen the rows."
        )
    largest = max(size.pictures, default=0)
    if largest > layout.vision_row_length:
        raise CorruptRecord(
            f"document {document.id} has a picture of {largest} patches, more than "
            f"config.data.vision_row_length = {layout.vision_row_length}: lower the pictures' "
            "largest size, or lengthen the rows."
        )
    if not planner.fits_alone(size, room_of(layout)):
        raise CorruptRecord(
            f"document {document.id} has {len(size.pictures)} pictures of {size.patches} patches, "
            f"more than the {layout.vision_rows} vision rows of a group hold: lower the pictures' "
            "largest size, or raise config.data.vision_rows."
        )
    _check_placeholders(document, layout.image_token)


def size_of(document: Encoded) -> Size:
    """What the planner needs to know of a document."""
    return Size(len(document.tokens), tuple(len(v.patches) for v in document.visuals))


def room_of(layout: Layout, groups: int = 1) -> Room:
    """What the planner needs to know of a layout."""
    return Room(
        groups=groups,
        rows=layout.rows,
        row_length=layout.seq_len,
        vision_rows=layout.vision_rows,
        vision_row_length=layout.vision_row_length,
        vision_cost=layout.vision_cost,
        padded=layout.padded,
    )


def place_all(sizes: Sequence[Size], layout: Layout) -> list[Place | None]:
    """Places of this host's documents: equal numbers for each set of groups balanced together."""
    sets = layout.groups // layout.planned_groups
    each = len(sizes) // sets
    places: list[Place | None] = []
    for number in range(sets):
        some = sizes[number * each : (number + 1) * each]
        for place in planner.plan(some, room_of(layout, layout.planned_groups)):
            group = number * layout.planned_groups
            moved = place and dataclasses.replace(place, group=group + place.group)
            places.append(moved)
    return places


def write(
    documents: Sequence[Encoded], places: Sequence[Place | None], layout: Layout
) -> dict[str, np.ndarray]:
    """Arrays by flat name, rows in their own order."""
    shapes = layouts.flatten(layouts.batch_shapes(layout, layout.groups))
    arrays = {name: np.zeros(shape, dtype) for name, (shape, dtype) in shapes.items()}
    arrays["order"][:] = np.arange(layout.seq_len)
    # Views with the sequence right after (group, row), as documents' arrays have it first.
    views = {name: np.moveaxis(x, sequence_dim(name), 2) for name, x in arrays.items()}
    for document, place in zip(documents, places, strict=True):
        if place is None:
            continue
        text = text_arrays(document, place, layout)
        stretches = (place.text, *place.pictures)
        for stretch, part in zip(stretches, (text, *picture_arrays(document, place)), strict=True):
            for name, value in part.items():
                stop = stretch.start + len(value)
                views[name][place.group, stretch.row, stretch.start : stop] = value
    return arrays


def text_arrays(document: Encoded, place: Place, layout: Layout) -> dict[str, np.ndarray]:
    """All arrays of a document's tokens but `order`, each `[n, …]`; `mtp_sources` are places in the
    row before any reordering.
    """
    num, depth = len(document.tokens), layout.depth
    visual = _visual_indices(document, place, layout.vision_row_length // BLOCK)
    positions, _ = rope_positions(num, document.visuals)
    steps = np.arange(num)[:, None] + np.arange(1, depth + 2)
    inside = steps < num
    steps = np.where(inside, steps, 0)
    weights = inside & (document.supervised & (visual == 0))[steps]
    ahead, valid = steps[:, :depth], inside[:, :depth]
    passed = np.cumsum(visual > 0)  # visual tokens up to and with each
    arrays = {
        "tokens": document.tokens,
        "positions": positions,
        "segments": np.full(num, place.text.segment),
        "visual": visual,
        "labels": np.where(weights, document.tokens[steps], 0),
        "weights": weights,
        "mtp_tokens": np.where(valid, document.tokens[ahead], 0),
        "mtp_valid": valid,
        "mtp_sources": np.where(valid, place.text.start + ahead, 0),
        "mtp_positions": np.where(valid[..., None], positions[ahead], 0),
        "path": valid & (passed[ahead] == passed[:, None]),
        "category": np.full(num, document.category),
    }
    return {name: value.astype(ARRAYS[name][0]) for name, value in arrays.items()}


def picture_arrays(document: Encoded, place: Place) -> list[dict[str, np.ndarray]]:
    """All arrays of each picture of a document, each `[patches, …]`."""
    return [
        {
            "image/patches": visual.patches,
            "image/positions": block_positions(visual.grid),
            "image/segments": np.full(len(visual.patches), stretch.segment, np.int32),
        }
        for visual, stretch in zip(document.visuals, place.pictures, strict=True)
    ]


def _visual_indices(document: Encoded, place: Place, row_tokens: int) -> np.ndarray:
    """`visual` of a document's tokens; `row_tokens` = merged tokens per vision row."""
    indices = np.zeros(len(document.tokens), np.int32)
    for visual, stretch in zip(document.visuals, place.pictures, strict=True):
        first = 1 + stretch.row * row_tokens + stretch.start // BLOCK
        stop = visual.start + visual.num_tokens
        indices[visual.start : stop] = first + np.arange(visual.num_tokens)
    return indices


def _check_placeholders(document: Encoded, image_token: int) -> None:
    is_placeholder = document.tokens == image_token
    features = sum(v.num_tokens for v in document.visuals)
    if np.count_nonzero(is_placeholder) != features:
        raise CorruptRecord(
            f"document {document.id} has {np.count_nonzero(is_placeholder)} placeholders (token "
            f"{image_token}) but its {len(document.visuals)} pictures have {features} features: "
            "one placeholder per 2 x 2 block of patches."
        )
    previous = 0
    for number, visual in enumerate(document.visuals):
        stop = visual.start + visual.num_tokens
        covered = np.count_nonzero(is_placeholder[visual.start : stop])
        whole = len(visual.patches) == visual.num_tokens * BLOCK
        if visual.start < previous or covered < visual.num_tokens or not whole:
            raise CorruptRecord(
                f"document {document.id}: picture {number} of grid {visual.grid} has "
                f"{len(visual.patches)} patches and starts at token {visual.start}, where "
                f"{covered} of its {visual.num_tokens} placeholders are; the one before it ends at "
                f"{previous}."
            )
        previous = stop


def _figures(
    batch: dict[str, Any], places: Sequence[Place | None], sizes: Sequence[Size], layout: Layout
) -> dict[str, float]:
    text, vision = batch["segments"] > 0, batch["image"]["segments"] > 0
    tokens, patches = text.sum(axis=(1, 2)), vision.sum(axis=(1, 2))
    dropped = [s.tokens for s, p in zip(sizes, places, strict=True) if p is None]
    return {
        "data/fill_text": float(text.mean()),
        "data/fill_vision": float(vision.mean()),
        "data/dropped_documents": float(len(dropped)),
        "data/dropped_tokens": sum(dropped) / sum(s.tokens for s in sizes),
        "data/imbalance_text": _excess(tokens),
        "data/imbalance_vision": _excess(patches),
        "data/imbalance_cost": _excess(tokens + layout.vision_cost * patches),
    }


def _excess(loads: np.ndarray) -> float:
    """Share by which the largest exceeds the mean."""
    return float(loads.max() / loads.mean() - 1) if loads.any() else 0.0
