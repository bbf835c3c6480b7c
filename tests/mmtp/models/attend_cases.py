"""Inputs of attention: segments, orders, random queries, keys and values."""

import jax
import jax.numpy as jnp
import numpy as np

from mmtp.models import attend, rope


def make_inputs(segments, order=None, usable=None):
    segments = jnp.asarray(segments, jnp.int32)
    if order is None:
        order = np.broadcast_to(np.arange(segments.shape[1]), segments.shape)
    angles = rope.angles(rope.text_positions(*segments.shape), 4, (2,), 1e4)
    usable = None if usable is None else jnp.asarray(usable)
    return attend.Inputs(angles, segments, jnp.asarray(order, jnp.int32), usable)


def random_qkv(seed, rows, tokens, heads, kv_heads, dim):
    keys = jax.random.split(jax.random.key(seed), 3)
    shapes = [(rows, tokens, n, dim) for n in (heads, kv_heads, kv_heads)]
    return tuple(jax.random.normal(k, s) for k, s in zip(keys, shapes, strict=True))
