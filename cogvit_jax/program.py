"""The contract between the engine and what it trains: Loss, Batches, Program, TrainState."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
from flax import struct
from jax.sharding import Mesh

Params = Any
BatchArrays = dict[str, Any]


class Loss(NamedTuple):
    """A loss as a sum.

    Attributes:
        total: sum of the terms, f32 scalar.
        weight: what it is summed over; the gradient is that of `total / max(weight, 1)`.
        metrics: name -> (sum, count) pairs, averaged exactly over microbatches and devices.
        sums: what `Statistics.update` needs, added up over microbatches and devices.
    """

    total: jax.Array
    weight: jax.Array
    metrics: dict[str, tuple[jax.Array, jax.Array]]
    sums: Any = ()


class Batches(Protocol):
    """An endless iterator over batches whose place can be saved."""

    def __next__(self) -> BatchArrays:
        """The next batch, as global device arrays."""
        ...

    @property
    def ids(self) -> Sequence[str]:
        """This host's record ids of the batch handed out last."""
        ...

    def stats(self) -> dict[str, float]:
        """Figures for the log, such as the number of corrupt records so far."""
        ...

    def get_state(self) -> dict[str, Any]:
        """JSON-able place after the batch handed out last."""
        ...

    def close(self) -> None:
        """Ends threads and worker processes."""
        ...


Evaluator = Callable[[Params], dict[str, Any]]
Hook = Callable[[int, "TrainState", dict[str, Any]], None]


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Numbers that follow the data and that no gradient touches, such as a running mean.

    They are part of the state and of the checkpoint. The loss finds them, as they were before the
    step, in its batch under "statistics"; evaluators find them in their params under that name.

    Attributes:
        init: () -> a tree of arrays that shows the shapes.
        calibrate: frozen -> such a tree, the first values of a fresh run.
        update: (tree, `Loss.sums` of the whole batch) -> (tree, {name: scalar to log}).
    """

    init: Callable[[], Any]
    calibrate: Callable[[Any], Any]
    update: Callable[[Any, Any], tuple[Any, dict[str, jax.Array]]]


@dataclasses.dataclass(frozen=True)
class Program:
    """What one kind of training is; see `programs/`.

    Attributes:
        init: key -> parameters.
        loss: (params, frozen, batch arrays, key) -> Loss, summed over microbatches.
        shared: None, or (params, frozen, batch arrays, key) -> (tree, arrays to split): what every
            microbatch needs of the whole batch, computed once, and the rest of the batch. The loss
            finds the tree in its batch under "shared"; gradients with respect to it are summed over
            microbatches and go back through `shared` once.
        batches: saved state or None -> Batches.
        mesh: devices.
        frozen: () -> arrays on the devices that the loss reads but no gradient touches (teachers, a
            reference policy), called when training starts; they go through the step's arguments,
            since a closure would bake them into the executable, and are not checkpointed.
        frozen_shapes: () -> their shapes, with shardings, without reading them.
        statistics: what follows the data in the state; None = nothing.
        evaluators: name -> (params -> {metric: float or image array}).
        step_flops: batch arrays -> model FLOPs of one step (forward and backward).
        num_examples: batch arrays -> examples in it, for throughput.
        batch_shapes: () -> the shapes, with shardings, of every batch there can be, longest first;
            for compiling ahead of time, without data.
        num_microbatches: batch arrays -> in how many parts a batch of these shapes is taken; None =
            config.train.microbatches.
        may_stop: steps done -> whether a run that is asked to may be saved and end there; otherwise
            it goes on to the next step where it may.
        interrupt: called when the run is asked to stop, by a signal's handler; `batches` that wait
            for long then raise Interrupted.
        begin: called with the state that training starts from, when the batches are there and
            none is taken yet.
        hooks: run after every step, before its numbers are logged and it is saved.
    """

    init: Callable[[jax.Array], Params]
    loss: Callable[[Params, Any, BatchArrays, jax.Array], Loss]
    batches: Callable[[dict[str, Any] | None], Batches]
    mesh: Mesh
    frozen: Callable[[], Any] = lambda: None
    frozen_shapes: Callable[[], Any] = lambda: None
    statistics: Statistics | None = None
    evaluators: Mapping[str, Evaluator] = dataclasses.field(default_factory=dict)
    step_flops: Callable[[BatchArrays], float] = lambda _: 0.0
    num_examples: Callable[[BatchArrays], int] = lambda _: 0
    shared: Callable[[Params, Any, BatchArrays, jax.Array], tuple[Any, BatchArrays]] | None = None
    batch_shapes: Callable[[], Sequence[BatchArrays]] = tuple
    num_microbatches: Callable[[BatchArrays], int] | None = None
    may_stop: Callable[[int], bool] = lambda _: True
    interrupt: Callable[[], None] = lambda: None
    begin: Callable[["TrainState"], None] = lambda _: None
    hooks: Sequence[Hook] = ()


class Interrupted(Exception):
    """There is no batch, since the run was asked to stop while it waited for one."""


class TrainState(struct.PyTreeNode):
    """Everything a step reads and writes; all of it is checkpointed.

    Trees of the same structure hold its shapes and its shardings.

    Attributes:
        step: steps done, int32 scalar.
        params: of the model.
        opt_state: of the optimizer.
        key: random key, the same in every step; each step folds its number in.
        skipped: updates left out because they were not finite, int32 scalar.
        statistics: see `Statistics`; None where the program has none.
    """

    step: Any
    params: Params
    opt_state: Any
    key: Any
    skipped: Any
    statistics: Any = None
