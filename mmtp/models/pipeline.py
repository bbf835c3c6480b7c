"""Layers split over the mesh axis "stage", and microbatches that follow each other through them.

The model comes as three functions (`Stages`): what stage 0 makes of a microbatch, one layer, and
what the last stage makes of the result. Between stages travels exactly the tree that `first`
returns: a model whose last stage needs more than the hidden states, such as the visual embeddings
(as mcore-bridge concatenates them), sends that along at every hop; one whose last stage looks up
what it needs by token id sends hidden states only.

Everything runs in one manual `shard_map` over all mesh axes: the functions see this device's rows
and tokens and no mesh. `block` may use any collective over "context"; `first` and `last` only those
over groups, such as gathers (`context.gathered`): stages take different branches, devices of a
stage the same, and XLA's permutes on CPU wait for the devices of all stages.

Parameters enter whole but for their stage, gathered over other axes once per step, and their
gradients leave summed once per step: of each microbatch only activations move.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from cogvit_jax.settings import ConfigError
from mmtp.models.pipeline_schedule import Schedule

AXIS = "stage"
Ends = Literal["branch", "select"]


@dataclass(frozen=True)
class Stages:
    """A model for the pipeline; all functions see one microbatch's share of one device.

    Attributes:
        first: (params, batch) -> state: a tree of floating-point arrays, what travels.
        block: (one layer's params, state, batch) -> state.
        last: (params, state, batch) -> sums over this device's tokens: a tree of f32 arrays.
    """

    first: Callable[[Any, Any], Any]
    block: Callable[[Any, Any, Any], Any]
    last: Callable[[Any, Any, Any], Any]


def run(
    stages: Stages,
    schedule: Schedule,
    blocks: Any,
    params: Any,
    batch: Any,
    specs: Any,
    *,
    mesh: jax.sharding.Mesh | None = None,
    ends: Ends = "branch",
) -> Any:
    """Sums of all microbatches, differentiable in `blocks` and `params`.

    Args:
        stages: the model.
        schedule: from `pipeline_schedule.resolve`.
        blocks: parameters of the layers, every leaf stacked `[layers, …]`.
        params: what `first` and `last` are given.
        batch: leaves `[microbatches, …]` (`sharding.split_microbatches`).
        specs: a PartitionSpec for every leaf of one microbatch (or a prefix of that tree), such as
            `PartitionSpec(BATCH_AXES, None, "context")`; nothing is split over "stage".
        mesh: of Auto axes; None = the one that is set while a training step is traced.
        ends: "branch" computes `first` and `last` only where they are needed; "select" on every
            stage in every iteration, for a platform that refuses collectives in branches.

    Returns:
        The tree that `last` returns, summed over microbatches and devices.

    Raises:
        ConfigError: the mesh has a tensor axis, or the batch another number of microbatches.
    """
    shape = dict((mesh or jax.sharding.get_abstract_mesh()).shape)
    _check(schedule, shape, batch)
    specs = jax.tree.map(
        lambda spec: PartitionSpec(None, *spec), specs, is_leaf=lambda x: type(x) is PartitionSpec
    )
    local = partial(_local, stages, schedule, ends == "branch")
    per_device = jax.shard_map(
        local,
        mesh=mesh,
        in_specs=(PartitionSpec(None, AXIS), PartitionSpec(), specs),
        out_specs=PartitionSpec(tuple(shape)),
        check_vma=False,
    )(split_layers(blocks, schedule), params, batch)
    return jax.tree.map(lambda x: x.sum(0), per_device)


def split_layers(blocks: Any, schedule: Schedule) -> Any:
    """`[layers, …] -> [repeats, stages, layers of a piece, …]`.

    With one repeat, layers that lie split over the stages in order stay where they are.
    """
    pieces = (schedule.repeats, schedule.stages)
    return jax.tree.map(lambda x: x.reshape(*pieces, -1, *x.shape[1:]), blocks)


def check_mesh(mesh: dict[str, int]) -> None:
    """Raises ConfigError where stages cannot work on a mesh with these sizes of axes."""
    if mesh.get("tensor", 1) > 1:
        raise ConfigError(
            f"config.mesh.tensor = {mesh['tensor']} with config.mesh.stage = {mesh[AXIS]}: layers "
            "are split over one of the two; set tensor to 1 and use fsdp or context."
        )


def _check(schedule: Schedule, mesh: dict[str, int], batch: Any) -> None:
    if mesh.get(AXIS) != schedule.stages:
        raise ConfigError(
            f"the schedule has {schedule.stages} stages and the mesh {mesh}: give both the same."
        )
    check_mesh(mesh)
    for x in jax.tree.leaves(batch):
        if x.shape[0] != schedule.microbatches:
            raise ConfigError(
                f"the batch holds {x.shape[0]} microbatches, the schedule "
                f"{schedule.microbatches}: split it with sharding.split_microbatches."
            )


def _local(
    stages: Stages, schedule: Schedule, branch: bool, blocks: Any, params: Any, batch: Any
) -> Any:
    """What one device does; its sums with a leading dim of size 1."""
    blocks = jax.tree.map(lambda x: x[:, 0], blocks)
    # The model's functions hold one device's share: what they call must not split it once more.
    with jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((), ())):
        sums = _loop(stages, schedule, branch, blocks, params, batch)
    return jax.tree.map(lambda x: x[None], sums)


def _loop(
    stages: Stages, schedule: Schedule, branch: bool, blocks: Any, params: Any, batch: Any
) -> Any:
    stage = jax.lax.axis_index(AXIS)
    # Of an iteration only what came in is kept for the backward pass.
    piece = jax.checkpoint(partial(_piece, stages, schedule, branch), prevent_cse=False)

    def iteration(carry: tuple, number: jax.Array) -> tuple[tuple, None]:
        received, waiting, sums = carry
        received, waiting = _queue(schedule, stage, number, received, waiting)
        state, more = piece(received, blocks, params, batch, stage, number)
        return (_send(state, schedule.stages), waiting, jax.tree.map(jnp.add, sums, more)), None

    state, sums = jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype), _shapes(stages, params, batch)
    )
    places = schedule.wait + 1 if schedule.repeats > 1 else 0
    waiting = jax.tree.map(lambda x: jnp.zeros((places, *x.shape), x.dtype), state)
    numbers = jnp.arange(schedule.iterations)
    (_, _, sums), _ = jax.lax.scan(iteration, (state, waiting, sums), numbers)
    return sums


def _shapes(stages: Stages, params: Any, batch: Any) -> tuple[Any, Any]:
    """Shapes of (what travels, sums)."""
    one = jax.tree.map(lambda x: x[0], batch)
    state = jax.eval_shape(stages.first, params, one)
    return state, jax.eval_shape(stages.last, params, state, one)


def _queue(
    schedule: Schedule, stage: jax.Array, number: jax.Array, received: Any, waiting: Any
) -> tuple[Any, Any]:
    """(input of this iteration, queue): before stage 0 microbatches wait for their next round."""
    if not schedule.wait:
        return received, waiting
    places = schedule.wait + 1
    put, get = number % places, (number + 1) % places  # the oldest
    waiting = jax.tree.map(
        lambda queue, x: jax.lax.dynamic_update_index_in_dim(queue, x, put, 0), waiting, received
    )
    oldest = _pick(waiting, get)
    return _where(stage == 0, oldest, received), waiting


def _piece(
    stages: Stages,
    schedule: Schedule,
    branch: bool,
    state: Any,
    blocks: Any,
    params: Any,
    batch: Any,
    stage: jax.Array,
    number: jax.Array,
) -> tuple[Any, Any]:
    """One stage's iteration: (what it sends, its sums)."""
    repeat, microbatch, busy = schedule.work(stage, number)
    one = _pick(batch, microbatch)
    begins = busy & (stage == 0) & (repeat == 0)
    ends = busy & (stage == schedule.stages - 1) & (repeat == schedule.repeats - 1)
    state = _only_where(branch, begins, lambda: stages.first(params, one), state)

    def layer(state: Any, params: Any) -> tuple[Any, None]:
        return stages.block(params, state, one), None

    layers = _pick(blocks, jnp.clip(repeat, 0, schedule.repeats - 1))
    state, _ = jax.lax.scan(layer, state, layers)
    sums = jax.eval_shape(lambda: stages.last(params, state, one))
    nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), sums)
    return state, _only_where(branch, ends, lambda: stages.last(params, state, one), nothing)


def _only_where(branch: bool, where: jax.Array, compute: Callable[[], Any], other: Any) -> Any:
    if branch:
        return jax.lax.cond(where, compute, lambda: other)
    return _where(where, compute(), other)


def _where(condition: jax.Array, x: Any, y: Any) -> Any:
    return jax.tree.map(partial(jnp.where, condition), x, y)


def _pick(tree: Any, index: jax.Array) -> Any:
    return jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, index, 0, keepdims=False), tree)


def _send(state: Any, num: int) -> Any:
    route = [(i, (i + 1) % num) for i in range(num)]
    return jax.tree.map(lambda x: jax.lax.ppermute(x, AXIS, route), state)
