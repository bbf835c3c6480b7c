"""Random encoded documents, and layouts that they are packed into."""

import dataclasses

import numpy as np

from mmtp.data.encoded import Encoded, Visual
from mmtp.data.layout import DataSettings, Layout
from mmtp.data.records import CATEGORIES

IMAGE = 7  # the placeholder
PATCH_DIM = 3
GRIDS = ((2, 2), (2, 4), (4, 2), (4, 4), (2, 6))
SETTINGS = DataSettings(
    train="", documents=16, seq_len=32, rows=8, vision_row_length=32, vision_rows=8
)


def make_layout(num_shards=1, depth=2, *, microbatches=1, context=1, num_hosts=1, host=0, **fields):
    """A small layout; `fields` replace those of SETTINGS."""
    return Layout.make(
        dataclasses.replace(SETTINGS, **fields),
        num_shards=num_shards,
        depth=depth,
        patch_dim=PATCH_DIM,
        image_token=IMAGE,
        microbatches=microbatches,
        context=context,
        num_hosts=num_hosts,
        host=host,
    )


def make_document(rng, parts, *, video=False, assistant=False, vocabulary=100, id="document"):
    """A document of `parts`: an int is that many tokens of text, a pair the grid of a picture.

    Args:
        rng: for ids, pixels and what is supervised.
        parts: in order.
        video: whether the pictures are frames.
        assistant: whether random stretches of text are unsupervised, else all of it is supervised.
        vocabulary: ids are below it; a placeholder is never drawn as text.
        id: of the document.
    """
    tokens, visuals = [], []
    for part in parts:
        if isinstance(part, int):
            drawn = rng.integers(IMAGE + 1, vocabulary, part)
            tokens.extend(drawn.tolist())
            continue
        pixels = rng.integers(1, 256, (part[0] * part[1], PATCH_DIM), dtype=np.uint8)
        visual = Visual(pixels, part, start=len(tokens), video=0 if video else -1)
        visuals.append(visual)
        tokens.extend([IMAGE] * visual.num_tokens)
    ids = np.asarray(tokens, np.int32)
    supervised = ids != IMAGE
    if assistant:
        supervised &= np.repeat(rng.random(len(ids) // 3 + 1) < 0.5, 3)[: len(ids)]
    category = int(rng.integers(len(CATEGORIES)))
    return Encoded(ids, supervised, tuple(visuals), category, id)


def random_document(rng, longest=32, id="document", **options):
    """Text and up to three pictures in random order, 1 to `longest` tokens in all."""
    budget = int(rng.integers(1, longest + 1))
    parts = []
    while budget:
        grid = GRIDS[rng.integers(len(GRIDS))]
        size = grid[0] * grid[1] // 4
        pictures = sum(not isinstance(p, int) for p in parts)
        if pictures < 3 and size <= budget and rng.random() < 0.4:
            parts.append(grid)
        else:
            parts.append(size := int(rng.integers(1, min(budget, 12) + 1)))
        budget -= size
    return make_document(rng, parts, id=id, **options)


def random_documents(seed, num, **options):
    """A list of `num`."""
    rng = np.random.default_rng(seed)
    return [random_document(rng, id=f"document {n}", **options) for n in range(num)]
