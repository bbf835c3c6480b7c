"""Attention whose rows are split over the mesh axis "context" (context parallelism).

A row's tokens may lie on the devices in any layout: segments and places in the row travel with the
keys, and the mask is computed from them. In the zig-zag layout (each device an early and a late
part) all devices do the same work.

    gathered   every device gathers all keys and values (arXiv:2407.21783, section 3.3.2)
    ring       keys and values go round a ring, one hop ahead of the computation
               (arXiv:2310.01889); memory does not grow with the number of devices

Both give one device's numbers. Gradients of keys go round in f32, one hop behind their block.

    inside a manual `shard_map`:   ring(q, k, v, inputs)
    under jit on a mesh:           decoder.run(..., attend=context.over_mesh(context.ring))
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float

from cogvit_jax.settings import ConfigError
from cogvit_jax.sharding import BATCH_AXES
from mmtp.models import blockwise
from mmtp.models.blockwise import Back, Block, Partial, Places

AXIS = "context"
BLOCK_SIZE = 512  # tokens; logits of a block are f32 [b, h, 512, 512]

Attend = Callable[[Array, Array, Array, Any], Array]


def gathered(
    q: Float[Array, "b t h k"],
    k: Float[Array, "b t g k"],
    v: Float[Array, "b t g k"],
    inputs: Any,
    *,
    axis_name: str = AXIS,
    block_size: int = BLOCK_SIZE,
) -> Float[Array, "b t h k"]:
    """Attention to the gathered keys of all devices along `axis_name`, in a manual `shard_map`.

    Args:
        q: this device's queries, rotated.
        k, v: this device's keys and values.
        inputs: with `segments`, `order` and `usable` of this device's tokens, `[b, t]`
            (`decoder.Inputs`, or `Places`).
        axis_name: mesh axis that the tokens are split over.
        block_size: tokens of a block of logits, at most.
    """
    places = _places(inputs)
    gather = partial(jax.lax.all_gather, axis_name=axis_name, axis=1, tiled=True)
    keys, all_places = (gather(k), gather(v)), jax.tree.map(gather, places)
    return _attend(None, block_size, q, *keys, places, all_places)


def ring(
    q: Float[Array, "b t h k"],
    k: Float[Array, "b t g k"],
    v: Float[Array, "b t g k"],
    inputs: Any,
    *,
    axis_name: str = AXIS,
    block_size: int = BLOCK_SIZE,
) -> Float[Array, "b t h k"]:
    """The same with keys and values that go round the devices along `axis_name`."""
    places = _places(inputs)
    return _attend(axis_name, block_size, q, k, v, places, places)


def local(
    q: Float[Array, "b t h k"],
    k: Float[Array, "b t g k"],
    v: Float[Array, "b t g k"],
    inputs: Any,
    *,
    block_size: int = BLOCK_SIZE,
) -> Float[Array, "b t h k"]:
    """The same for rows that lie on one device whole."""
    places = _places(inputs)
    return _attend(None, block_size, q, k, v, places, places)


def whole_rows(x: Array, *, axis_name: str = AXIS) -> Array:
    """`[b, t, …] -> [b, t of all devices, …]`, in a manual `shard_map`: rows as they are laid out,
    for what looks up tokens by their place (`mtp_sources`).
    """
    return jax.lax.all_gather(x, axis_name, axis=1, tiled=True)


METHODS: dict[str, Attend] = {"gathered": gathered, "ring": ring}


def over_mesh(attend: Attend) -> Attend:
    """`attend` for arrays of a mesh with Auto axes, under jit: rows stay split over the batch axes,
    tokens over "context", heads over "tensor".

    Where no mesh is set the row is attended to as it is.

    Raises:
        ConfigError: the mesh does not divide rows, tokens or key heads.
    """

    def whole(q: Array, k: Array, v: Array, inputs: Any) -> Array:
        mesh = jax.sharding.get_abstract_mesh()
        if mesh.empty or math.prod(mesh.shape.values()) == 1:
            return local(q, k, v, inputs)
        _check(mesh.shape, q.shape, k.shape)
        heads = PartitionSpec(BATCH_AXES, AXIS, "tensor", None)
        specs = (heads, heads, heads, PartitionSpec(BATCH_AXES, AXIS))
        run = jax.shard_map(attend, in_specs=specs, out_specs=heads, check_vma=False)
        return run(q, k, v, _places(inputs))

    return whole


def _check(mesh: Any, q: tuple[int, ...], k: tuple[int, ...]) -> None:
    batch = math.prod(mesh[axis] for axis in BATCH_AXES)
    needed = (
        ("rows", q[0], "+".join(BATCH_AXES), batch),
        ("tokens of a row", q[1], AXIS, mesh[AXIS]),
        ("key heads", k[2], "tensor", mesh["tensor"]),
    )
    for name, size, axis, devices in needed:
        if size % devices:
            raise ConfigError(
                f"config.mesh has {devices} devices along {axis}, which do not divide the {size} "
                f"{name}: change the mesh or the batch."
            )


def _places(inputs: Any) -> Places:
    return Places(inputs.segments, inputs.order, inputs.usable)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _attend(
    axis_name: str | None,
    block_size: int,
    q: Array,
    k: Array,
    v: Array,
    of_queries: Places,
    of_keys: Places,
) -> Array:
    return _forward(axis_name, block_size, q, k, v, of_queries, of_keys)[0]


def _forward(
    axis_name: str | None,
    block_size: int,
    q: Array,
    k: Array,
    v: Array,
    of_queries: Places,
    of_keys: Places,
) -> tuple[Array, Any]:
    q, of_queries, of_keys = _together(q, of_queries, of_keys)
    queries = blockwise.queries(q, of_queries, k.shape[2], block_size)
    send, hops = _route(axis_name)

    def visit(state: tuple[Partial, Block], _: None) -> tuple[tuple[Partial, Block], None]:
        seen, block = state
        leaving = send(block)  # not needed by this visit: both can run at once
        return (blockwise.see(seen, queries, block, block_size), leaving), None

    state = (blockwise.nothing(queries), Block(k, v, of_keys))
    if hops:
        state, _ = jax.lax.scan(visit, state, length=hops)
    out, normaliser = blockwise.finish(blockwise.see(state[0], queries, state[1], block_size))
    # Under the name that remat policies save; with it kept, nothing here is computed again.
    out = checkpoint_name(_rows(out, q.shape).astype(q.dtype), "attention_out")
    normaliser = checkpoint_name(normaliser, "attention_out")
    return out, (q, k, v, of_queries, of_keys, out, normaliser)


def _backward(axis_name: str | None, block_size: int, kept: Any, grad: Array) -> tuple:
    q, k, v, of_queries, of_keys, out, normaliser = kept
    grad, of_queries, of_keys = _together(grad, of_queries, of_keys)
    queries = blockwise.queries(q, of_queries, k.shape[2], block_size)
    blocks = (_blocks(x, queries.q.shape) for x in (grad, out))
    grad, out = (x.astype(jnp.float32) for x in blocks)
    found = Back(grad, normaliser, (grad * out).sum(-1))
    send, hops = _route(axis_name)

    def visit(state: tuple, _: None) -> tuple[tuple, None]:
        d_q, block, d_block = state
        leaving, followed = send(block), send(d_block)
        more, d_here = blockwise.back(queries, found, block, block_size)
        return (d_q + more, leaving, jax.tree.map(jnp.add, followed, d_here)), None

    block = Block(k, v, of_keys)
    leaving = send(block) if hops else block
    d_q, d_block = blockwise.back(queries, found, block, block_size)
    state = (d_q, leaving, d_block)
    if hops > 1:
        state, _ = jax.lax.scan(visit, state, length=hops - 1)
    if hops:
        d_q, block, d_block = state
        more, d_here = blockwise.back(queries, found, block, block_size)
        home = send(jax.tree.map(jnp.add, send(d_block), d_here))
        state = (d_q + more, block, home)
    d_q, _, (d_k, d_v) = state
    d_q = blockwise.join(d_q).reshape(q.shape)
    return d_q.astype(q.dtype), d_k.astype(k.dtype), d_v.astype(v.dtype), None, None


_attend.defvjp(_forward, _backward)


def _together(*arrays: Any) -> Any:
    """The same arrays, none of them there before all are.

    Masks follow from places alone, which all layers share: JAX's scan over the layers, and XLA's
    loops, would compute the masks of all pairs of blocks beforehand and keep them, t x t in all.
    """
    return jax.lax.optimization_barrier(arrays)


def _route(axis_name: str | None) -> tuple[Callable[[Any], Any], int]:
    """(a hop to the next device, hops until a block has met all)."""
    size = jax.lax.axis_size(axis_name) if axis_name else 1
    route = [(i, (i + 1) % size) for i in range(size)]
    return lambda x: jax.tree.map(lambda x: jax.lax.ppermute(x, axis_name, route), x), size - 1


def _rows(out: Array, shape: tuple[int, ...]) -> Array:
    """`[n b g r c k] -> [b t h k]`."""
    return jnp.moveaxis(out, (1, 0, 4), (0, 1, 2)).reshape(shape)


def _blocks(x: Array, shape: tuple[int, ...]) -> Array:
    """`[b t h k] -> [n b g r c k]`, for queries `[n b c g r k]`."""
    n, b, c, g, r, k = shape
    return jnp.moveaxis(x.reshape(b, n, c, g, r, k), (0, 1, 2), (1, 0, 4))
