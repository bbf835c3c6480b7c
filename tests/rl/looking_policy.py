"""A policy of one attention layer in NumPy, with M-RoPE: some of its tokens look at the picture.

Even token ids attend to visual tokens alone, by content and by rotary position; odd ones to text
alone, so that no picture changes what follows them.
"""

from dataclasses import dataclass, replace

import ml_dtypes
import numpy as np

VOCABULARY, WIDTH, SIDE, PROMPT = 12, 12, 4, 3  # SIDE: visual tokens per side of the picture
FREQUENCIES = np.array([1.0, 0.4])  # of each of time, row and column: pairs of dimensions


@dataclass(frozen=True)
class Said:
    """A reply about a picture `[side * side, width]`, and positions `[3, n]` of all tokens."""

    picture: np.ndarray
    reply: np.ndarray
    positions: np.ndarray


def speak(seed, length=30):
    rng = np.random.default_rng(seed)
    picture = rng.normal(size=(SIDE * SIDE, WIDTH))
    return Said(picture, rng.integers(0, VOCABULARY, length), positions(length))


def positions(length):
    """Text at equal (time, row, column); the picture in its plane; text goes on behind it."""
    before = np.tile(np.arange(PROMPT), (3, 1))
    rows, columns = np.divmod(np.arange(SIDE * SIDE), SIDE)
    plane = PROMPT + np.stack([np.zeros_like(rows), rows, columns])
    after = np.tile(PROMPT + SIDE + np.arange(length), (3, 1))
    return np.concatenate([before, plane, after], axis=1)


def blank(said):
    return replace(said, picture=np.full_like(said.picture, 0.1))


def with_rows_of_positions_swapped(said):
    return replace(said, positions=said.positions[[0, 2, 1]])


def with_shifted_picture(said):
    """Placeholders that begin one token late."""
    return replace(said, picture=np.roll(said.picture, 1, axis=0))


def turn(x, where):
    """Rotates pairs of dimensions by angles of time, row and column."""
    angles = (where.T[:, :, None] * FREQUENCIES).reshape(len(x), -1)
    a, b = x[:, 0::2], x[:, 1::2]
    cos, sin = np.cos(angles), np.sin(angles)
    return np.stack([a * cos - b * sin, a * sin + b * cos], axis=-1).reshape(x.shape)


def logprobs(said, dtype=np.float64):
    """Of each token of the reply but the first, given all before it."""
    rng = np.random.default_rng(123)
    table = rng.normal(size=(VOCABULARY, WIDTH))
    wq, wk, wv = (rng.normal(size=(WIDTH, WIDTH)) / np.sqrt(WIDTH) for _ in range(3))
    head = rng.normal(size=(WIDTH, VOCABULARY))
    ids = np.concatenate([np.arange(PROMPT), np.zeros(SIDE * SIDE, int), said.reply])
    visual = np.zeros(len(ids), bool)
    visual[PROMPT : PROMPT + SIDE * SIDE] = True
    x = table[ids]
    x[visual] = said.picture

    def product(a, b):
        return (a.astype(dtype) @ b.astype(dtype)).astype(dtype).astype(np.float64)

    q, k = (turn(product(x, w), said.positions) for w in (wq, wk))
    scores = 2 * product(q, k.T)
    seen = np.tril(np.ones(scores.shape, bool)) & (visual[None] == (ids % 2 == 0)[:, None])
    seen |= np.eye(len(ids), dtype=bool) & ~visual[None]
    scores = np.where(seen, scores, -np.inf)
    weights = np.exp(scores - scores.max(1, keepdims=True, initial=-1e9, where=seen))
    weights = np.where(seen.any(1, keepdims=True), weights, 0)
    weights /= np.maximum(weights.sum(1, keepdims=True), 1e-9)
    logits = product(product(weights, product(x, wv)), head)
    logits -= np.log(np.exp(logits).sum(1, keepdims=True))
    start = PROMPT + SIDE * SIDE
    return logits[np.arange(start, len(ids) - 1), said.reply[1:]]


BF16 = ml_dtypes.bfloat16
