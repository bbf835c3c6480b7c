"""Random judged samples, for tests of packing and dispatch."""

import numpy as np

from rl.batch_arrays import PackingSettings, make_layout
from rl.batching import Packed
from rl.dispatch import CHUNK_BYTES, load, move
from tests.mmtp.random_documents import IMAGE, PATCH_DIM, random_documents

SETTINGS = PackingSettings(seq_len=64, rows=1, vision_row_length=64, vision_rows=1)


def small_layout(num_shards=1, *, settings=SETTINGS, **options):
    return make_layout(
        settings, num_shards=num_shards, patch_dim=PATCH_DIM, image_token=IMAGE, **options
    )


def random_samples(seed, num, longest=48, extra=()):
    """Samples whose every per-token number is different and not 0."""
    rng = np.random.default_rng(seed)
    return [
        make_sample(rng, document, extra)
        for document in random_documents(seed, num, longest=longest)
    ]


def make_sample(rng, document, extra=()):
    n = len(document.tokens)
    trained = (document.tokens != IMAGE) & (rng.random(n) < 0.7)
    trained[0] = False
    return Packed(
        document,
        trained,
        logprobs=-rng.random(n).astype(np.float32) - 0.1,
        advantages=rng.normal(size=n).astype(np.float32) + 3,
        versions=rng.integers(1, 9, n).astype(np.int32),
        extra={name: rng.random(n).astype(np.float32) for name in extra},
    )


def exchange(mesh, samples, sizes, sources, plan, chunk_bytes=CHUNK_BYTES, extra=()):
    """Samples by their number, which this process has, to those who train them."""
    loaded = load(mesh, samples, sources, plan, extra)
    return move(mesh, loaded, sizes, sources, plan, chunk_bytes, extra)
