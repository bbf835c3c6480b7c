"""The loss with text blocks that travel round a ring of devices.

Double buffering: while a device compares its images with block k, block k+1 is on its way to it
and so is the gradient of block k-1, which follows its block one hop behind. Nothing that is being
sent is needed by the tile being computed, so a compiler with asynchronous permutes runs both at
once. In a long loop two visits make up one body, which spares the copies between buffers that
change roles.

Gradients travel and add up in float32. In bfloat16 they would be rounded at each of up to N/2
hops: over 256 devices that made their error 2 to 5 times that of one rounding at the end (which
bfloat16 embeddings ask for anyway), to save a third of the bytes.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from cogvit_jax.losses.tiles import Compare, Found, Side, add

DIRECTIONS = {"ring": (1,), "bidirectional": (1, -1)}


def travel(
    compare: Compare, images: Side, texts: Side, axes: tuple[str, ...], *, directions: Sequence[int]
) -> Found:
    """Passes text blocks on, one stream per direction, until each has met each device.

    A stream's gradient goes home in a single hop at the end.
    """
    size = jax.lax.axis_size(axes)
    hops, single = divmod(size - 1, len(directions))  # the odd block out goes to the right
    send = partial(_send, axes=axes, size=size)

    def visit(state: Any, onward: Sequence[int]) -> Any:
        stay, blocks, d_texts = state
        leaving = tuple(send(x, steps) for x, steps in zip(blocks, onward, strict=False))
        d_texts = list(d_texts)
        for i, arrived in enumerate(blocks):
            followed = send(d_texts[i], directions[i])
            *found, d_text = compare(images, arrived)
            stay, d_texts[i] = add(stay, found), add(followed, d_text)
        return stay, leaving, tuple(d_texts)

    def step(state: Any, _: None) -> tuple[Any, None]:
        return visit(state, directions), None

    leaving = tuple(send(texts, steps) for steps in directions)
    *stay, d_text = compare(images, texts)
    empty = jax.tree.map(jnp.zeros_like, d_text)
    state = (stay, leaving, (d_text, empty)[: len(directions)])
    if hops > 1:
        state, _ = jax.lax.scan(step, state, length=hops - 1, unroll=2 if hops > 4 else 1)
    if hops:
        state = visit(state, directions[:single])
    if single:
        stay, leaving, d_texts = state
        state = visit((stay, leaving[:1], d_texts), ())
    (sums, d_images), _, (d_right, *d_left) = state
    home = send(d_right, -(hops + single))
    for d_text in d_left:
        home = add(home, send(d_text, hops))
    return Found(sums, d_images, home)


def _send(tree: Any, steps: int, axes: tuple[str, ...], size: int) -> Any:
    route = [(i, (i + steps) % size) for i in range(size)]
    return jax.tree.map(lambda x: jax.lax.ppermute(x, axes, route), tree)
