"""Arrays of an RL batch: those of `mmtp.data.layout.ARRAYS`, and what the policy's loss needs.

A sample's per-token values stand where the token is *predicted*: the value of its token j is at
j - 1, as `labels` are. A batch has `groups = batch shards x micro-batches`, a shard's micro-batches
following each other, which is how `cogvit_jax.sharding.split_microbatches` takes them apart.
"""

import dataclasses
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cogvit_jax import sharding
from cogvit_jax.settings import ConfigError
from mmtp.data import layout as layouts
from mmtp.data import pipeline
from mmtp.data.layout import Layout

LADDER = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)

# All [groups, rows, tokens]; 0 where nothing is.
RL_ARRAYS: dict[str, Any] = {
    # 1 where the next token was drawn by the policy and is trained.
    "mask": np.float32,
    # Of the next token, when it was drawn.
    "rollout_logprobs": np.float32,
    "advantages": np.float32,
    # Of the policy that drew the next token.
    "versions": np.int32,
    # 1 + number of the sample in the whole batch, at all of its tokens.
    "sample": np.int32,
}


@dataclasses.dataclass(frozen=True)
class PackingSettings:
    """`config.packing`: the size of a micro-batch, which is what a rank computes at once.

    Attributes:
        seq_len: tokens per row; the longest sample there can be.
        rows: rows of tokens per micro-batch and batch shard.
        vision_row_length: patches per row; the largest picture there can be.
        vision_rows: rows of patches per micro-batch and batch shard.
        microbatches: per step; 0 = the fewest of `ladder` that hold the batch.
        ladder: numbers of micro-batches that may be compiled; above the last one, its multiples.
    """

    seq_len: int
    rows: int = 1
    vision_row_length: int = 4
    vision_rows: int = 1
    microbatches: int = 0
    ladder: tuple[int, ...] = LADDER


def make_layout(
    config: PackingSettings,
    *,
    num_shards: int,
    patch_dim: int,
    image_token: int,
    depth: int = 0,
    context: int = 1,
) -> Layout:
    """The layout of one micro-batch on all batch shards: one group for each.

    Args:
        config: of the micro-batch.
        num_shards: batch shards of the mesh.
        patch_dim, image_token, depth, context: as in `mmtp.data.layout.Layout`.

    Raises:
        ConfigError: a field is out of range, or numbers do not divide.
    """
    for name in ("seq_len", "rows", "vision_row_length", "vision_rows"):
        if getattr(config, name) < 1:
            raise ConfigError(f"config.packing.{name} = {getattr(config, name)} must be 1 or more.")
    if config.microbatches < 0:
        raise ConfigError(
            f"config.packing.microbatches = {config.microbatches} must be 1 or more, or 0 for as "
            "few as hold the batch."
        )
    if (
        not config.ladder
        or sorted(set(config.ladder)) != list(config.ladder)
        or config.ladder[0] < 1
    ):
        raise ConfigError(
            f"config.packing.ladder = {config.ladder} must be numbers from 1, each above the last."
        )
    layouts.check_context(config.seq_len, config.vision_row_length, context)
    return Layout(
        groups=num_shards,
        planned_groups=num_shards,
        global_groups=num_shards,
        rows=config.rows,
        seq_len=config.seq_len,
        vision_rows=config.vision_rows,
        vision_row_length=config.vision_row_length,
        depth=depth,
        patch_dim=patch_dim,
        image_token=image_token,
        padded=False,
        vision_cost=1.0,
        context=context,
        host_batch=0,
        host_offset=0,
    )


def enlarge(layout: Layout, num_microbatches: int) -> Layout:
    """The layout of so many micro-batches."""
    groups = layout.groups * num_microbatches
    return dataclasses.replace(
        layout,
        groups=groups,
        planned_groups=groups,
        global_groups=layout.global_groups * num_microbatches,
    )


def step_up(num: int, ladder: tuple[int, ...]) -> int:
    """The least of the ladder that is not below `num`, which may be a multiple of its last."""
    for rung in ladder:
        if rung >= num:
            return rung
    return -(-num // ladder[-1]) * ladder[-1]


def shapes(
    layout: Layout, num_microbatches: int, extra: tuple[str, ...] = ()
) -> dict[str, tuple[tuple[int, ...], Any]]:
    """Flat name -> (shape, type) of a batch of so many micro-batches, over all hosts.

    Args:
        layout: from `make_layout`.
        num_microbatches: per batch shard.
        extra: names of further per-token arrays, float32.
    """
    whole = enlarge(layout, num_microbatches)
    flat = layouts.flatten(layouts.batch_shapes(whole))
    shape = (whole.global_groups, layout.rows, layout.seq_len)
    return flat | {n: (shape, np.dtype(t)) for n, t in token_arrays(extra).items()}


def token_arrays(extra: tuple[str, ...] = ()) -> dict[str, Any]:
    """Name -> type of what this half adds to the arrays of the language model."""
    return RL_ARRAYS | dict.fromkeys(extra, np.float32)


def batch_shapes(
    layout: Layout, num_microbatches: int, mesh: Mesh, extra: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The same, nested and with shardings, for compiling ahead of time."""
    made = {
        name: jax.ShapeDtypeStruct(shape, dtype, sharding=array_sharding(mesh, name))
        for name, (shape, dtype) in shapes(layout, num_microbatches, extra).items()
    }
    return layouts.nest(made)


def put_batch(mesh: Mesh, batch: dict[str, Any]) -> dict[str, Any]:
    """This host's arrays as global ones: groups over the batch axes, rows over `context`."""
    flat = layouts.flatten(batch)
    where = {name: array_sharding(mesh, name) for name in flat}
    if jax.process_count() == 1:
        return layouts.nest(jax.device_put(flat, where))
    return layouts.nest(jax.tree.map(jax.make_array_from_process_local_data, where, flat))


def array_sharding(mesh: Mesh, name: str) -> NamedSharding:
    """Where an array of the batch lives."""
    if name in layouts.ARRAYS:
        return pipeline.array_sharding(mesh, name)
    spec = (
        (sharding.BATCH_AXES, None, "context")
        if mesh.shape["context"] > 1
        else (sharding.BATCH_AXES,)
    )
    return NamedSharding(mesh, PartitionSpec(*spec))
