"""Packed rows of random documents for the tests of multi-token prediction.

All arrays follow from tokens and segments alone, by loops over places and depths.
"""

import jax
import jax.numpy as jnp
import numpy as np

from mmtp.models import decoder
from mmtp.models.decoder import DecoderSettings

IMAGE = 7
CONFIG = decoder.resolve(
    DecoderSettings(
        size="tiny",
        width=16,
        depth=2,
        num_heads=4,
        num_kv_heads=2,
        head_dim=8,
        mlp_dim=24,
        vocab_size=40,
        rotary_dim=8,
        mrope_sections=(1, 1, 2),
        tied=False,
    )
)
# (segments of a row, places of visual tokens): documents of one to eight tokens next to each other,
# pictures at a start, inside and at an end, padding.
ROWS = (
    ("1111222334444440", (1, 2, 8, 12)),
    ("1111111122222000", (0, 1, 9, 10, 11)),
    ("1122334455667780", (3, 14)),
)


def random_params(tree, seed=0, scale=0.3):
    """The tree with every leaf drawn: gains around 1, the rest around 0."""
    rng = np.random.default_rng(seed)

    def draw(path, x):
        noise = scale * rng.standard_normal(x.shape)
        return jnp.asarray(noise + (path[-1].key == "scale"), jnp.float32)

    return jax.tree_util.tree_map_with_path(draw, tree)


def make_batch(depth, seed=0):
    """Arrays of `data.layout.ARRAYS`, groups and rows as one dim."""
    rng = np.random.default_rng(seed)
    segments = np.asarray([[int(c) for c in row] for row, _ in ROWS], np.int32)
    b, t = segments.shape
    visual = np.zeros((b, t), bool)
    for row, (_, places) in enumerate(ROWS):
        visual[row, list(places)] = True
    tokens = np.where(visual, IMAGE, rng.integers(8, CONFIG.vocab_size, (b, t)))
    positions = np.zeros((b, t, 3), np.int32)
    for row, place in np.ndindex(b, t):
        place_in_document = int(np.sum(segments[row, :place] == segments[row, place]))
        # After a picture, positions are not one apart: any others will do, after a first of 0.
        positions[row, place] = place_in_document
        positions[row, place, 1:] += (place_in_document > 0) * rng.integers(0, 3, 2)
    batch = {
        "tokens": np.where(segments > 0, tokens, 0),
        "segments": segments,
        "order": np.broadcast_to(np.arange(t), (b, t)),
        "positions": positions,
        "visual": visual & (segments > 0),
        "category": rng.integers(0, 3, (b, t)),
    }
    batch = {k: v.astype(np.int32) for k, v in batch.items()} | _ahead(batch, depth)
    return jax.tree.map(jnp.asarray, batch)


def _ahead(batch, depth):
    """What each depth is fed, and labels, place by place."""
    segments, tokens, visual = batch["segments"], batch["tokens"], batch["visual"]
    b, t = segments.shape

    def same(row, place, other):
        return (
            other < t and segments[row, place] > 0 and segments[row, other] == segments[row, place]
        )

    fed = {
        "mtp_tokens": np.zeros((b, depth, t), np.int32),
        "mtp_valid": np.zeros((b, depth, t), bool),
        "mtp_sources": np.zeros((b, depth, t), np.int32),
        "mtp_positions": np.zeros((b, depth, t, 3), np.int32),
        "path": np.zeros((b, depth, t), bool),
        "labels": np.zeros((b, depth + 1, t), np.int32),
        "weights": np.zeros((b, depth + 1, t), np.float32),
    }
    for row, place in np.ndindex(b, t):
        for k in range(depth + 1):
            target = place + k + 1
            if same(row, place, target) and not visual[row, target]:
                fed["labels"][row, k, place] = tokens[row, target]
                fed["weights"][row, k, place] = 1
            if k and same(row, place, place + k):
                at = row, k - 1, place
                fed["mtp_tokens"][at] = tokens[row, place + k]
                fed["mtp_valid"][at] = True
                fed["mtp_sources"][at] = place + k
                fed["mtp_positions"][at] = batch["positions"][row, place + k]
                fed["path"][at] = not visual[row, place + 1 : place + k + 1].any()
    return fed


def documents(batch):
    """(row, start, stop) of every document."""
    segments = np.asarray(batch["segments"])
    for row, line in enumerate(segments):
        for number in range(1, line.max() + 1):
            (places,) = np.nonzero(line == number)
            yield row, places[0], places[-1] + 1


def states(batch, seed=1):
    """Random (hidden, x) `[b, t, d]`, as from a decoder and its input."""
    rng = np.random.default_rng(seed)
    shape = (*batch["tokens"].shape, CONFIG.width)
    return tuple(jnp.asarray(rng.standard_normal(shape), jnp.float32) for _ in range(2))


def inputs_of(batch):
    return decoder.make_inputs(CONFIG, batch["positions"], batch["segments"], batch["order"])
