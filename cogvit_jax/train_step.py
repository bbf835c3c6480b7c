"""One training step: summed losses, gradients, the update, and what is measured of it."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding, PartitionSpec

from cogvit_jax import sharding, tree
from cogvit_jax.program import BatchArrays, Loss, Params, Program, TrainState
from cogvit_jax.settings import ConfigError

StepFn = Callable[[TrainState, Any, BatchArrays], tuple[TrainState, dict[str, jax.Array]]]


def state_shapes(
    program: Program, transform: optax.GradientTransformation, seed: int
) -> TrainState:
    """Shapes and dtypes of the state, without computing it."""
    return jax.eval_shape(lambda: _init(program, transform, seed))


def state_shardings(program: Program, rules: tree.Rules, shapes: TrainState) -> TrainState:
    """Where every array of the state lives."""
    replicated = NamedSharding(program.mesh, PartitionSpec())
    params = sharding.param_shardings(program.mesh, rules, shapes.params)
    opt_state = sharding.like_params(program.mesh, shapes.params, params, shapes.opt_state)
    statistics = jax.tree.map(lambda _: replicated, shapes.statistics)
    return TrainState(replicated, params, opt_state, replicated, replicated, statistics)


def init_state(
    program: Program,
    transform: optax.GradientTransformation,
    seed: int,
    shardings: TrainState,
) -> TrainState:
    """A fresh state, created where it lives; the same numbers on any mesh."""
    return jax.jit(lambda: _init(program, transform, seed), out_shardings=shardings)()


def _init(program: Program, transform: optax.GradientTransformation, seed: int) -> TrainState:
    init_key, step_key = jax.random.split(jax.random.key(seed))
    params = program.init(init_key)
    zero = jnp.zeros((), jnp.int32)
    statistics = program.statistics.init() if program.statistics else None
    return TrainState(zero, params, transform.init(params), step_key, zero, statistics)


def make_step(
    program: Program,
    transform: optax.GradientTransformation,
    groups: Any,
    shardings: TrainState,
    microbatches: int = 1,
    compiler_options: Mapping[str, str] | None = None,
) -> StepFn:
    """The jitted training step; it donates its state.

    Args:
        program: what to train.
        transform: optimizer.
        groups: tree of group names, for per-group statistics.
        shardings: where the state lives, from `state_shardings`.
        microbatches: the batch is split into this many, one after the other, unless the program
            says so itself.
        compiler_options: of XLA, for this step only.

    Returns:
        (state, frozen, batch) -> (state, metrics). A step whose loss or gradient is not finite
        leaves parameters and optimizer state as they were, counts in `state.skipped` and returns
        `finite = 0`.

    Raises:
        ConfigError: microbatches is less than 1.
    """
    if microbatches < 1:
        raise ConfigError(
            f"config.train.microbatches = {microbatches}: it must be at least 1 (the whole batch)."
        )

    def step(
        state: TrainState, frozen: Any, batch: BatchArrays
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        key = jax.random.fold_in(state.key, state.step)
        parts = program.num_microbatches(batch) if program.num_microbatches else microbatches
        with jax.sharding.use_abstract_mesh(program.mesh.abstract_mesh):  # for sharding.keep_rows
            loss, grads = gradients(
                program, state.params, frozen, batch, key, parts, state.statistics
            )
        with jax.named_scope("optimizer"):
            updates, opt_state = transform.update(grads, state.opt_state, state.params)
            params = optax.apply_updates(state.params, updates)
        mean_loss = loss.total / jnp.maximum(loss.weight, 1)
        finite = jnp.isfinite(mean_loss) & jnp.isfinite(optax.tree.norm(grads))
        metrics = {"loss": mean_loss, "finite": finite.astype(jnp.float32)}
        metrics |= {  # NaN = nothing to average over; the log leaves it out
            k: jnp.where(n > 0, s / jnp.maximum(n, 1), jnp.nan)
            for k, (s, n) in loss.metrics.items()
        }
        metrics |= group_statistics(groups, grads, state.params, updates)
        statistics = state.statistics
        if program.statistics:
            statistics, found = program.statistics.update(statistics, loss.sums)
            metrics |= found
        params, opt_state, statistics = jax.tree.map(
            lambda new, old: jnp.where(finite, new, old),
            (params, opt_state, statistics),
            (state.params, state.opt_state, state.statistics),
        )
        skipped = state.skipped + (1 - finite.astype(jnp.int32))
        new = TrainState(state.step + 1, params, opt_state, state.key, skipped, statistics)
        return new, metrics

    replicated = NamedSharding(program.mesh, PartitionSpec())
    return jax.jit(
        step,
        donate_argnums=0,
        out_shardings=(shardings, replicated),
        compiler_options=dict(compiler_options or {}),
    )


def gradients(
    program: Program,
    params: Params,
    frozen: Any,
    batch: BatchArrays,
    key: jax.Array,
    microbatches: int,
    statistics: Any = None,
) -> tuple[Loss, Params]:
    """The summed loss and the gradient of `total / max(weight, 1)`.

    What the microbatches share is computed once for the whole batch, and its gradient goes back
    once: exact for losses that compare every example with every other one, as long as an example's
    loss needs of the others only what is shared. No example is computed twice.
    """

    def share(params: Params) -> tuple[Any, Any]:
        if program.shared is None:
            return None, (None, batch)
        shared, rest = program.shared(params, frozen, batch, key)
        floats, others = tree.split_floats(shared)
        return floats, (others, rest)

    shared, pull_back, (constants, rest) = jax.vjp(share, params, has_aux=True)

    def total(params: Params, shared: Any, part: BatchArrays, key: jax.Array) -> Any:
        whole = tree.merge(shared, constants)
        known = {"shared": whole, "statistics": statistics}
        loss = program.loss(params, frozen, {**part, **known}, key)
        return loss.total, loss

    grad_fn = jax.grad(total, argnums=(0, 1), has_aux=True)
    if microbatches == 1:
        (grads, d_shared), loss = grad_fn(params, shared, rest, key)
    else:
        (grads, d_shared), loss = _accumulate(grad_fn, params, shared, rest, key, microbatches)
    if program.shared is not None:
        grads = jax.tree.map(jnp.add, grads, pull_back(d_shared)[0])
    scale = 1 / jnp.maximum(loss.weight, 1)
    return loss, jax.tree.map(lambda g: g * scale, grads)


def _accumulate(
    grad_fn: Callable[..., Any],
    params: Params,
    shared: Any,
    batch: BatchArrays,
    key: jax.Array,
    num: int,
) -> Any:
    parts = sharding.split_microbatches(batch, num)
    keys = jax.random.split(key, num)
    first = jax.tree.map(lambda x: x[0], parts)
    shapes = jax.eval_shape(grad_fn, params, shared, first, keys[0])
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

    def body(sums: Any, part: Any) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, sums, grad_fn(params, shared, *part)), None

    sums, _ = jax.lax.scan(body, zeros, (parts, keys))
    return sums


def group_statistics(
    groups: Any, grads: Params, params: Params, updates: Params
) -> dict[str, jax.Array]:
    """Gradient norm, parameter norm and update-to-weight ratio of each group, and overall."""
    names = jax.tree.leaves(groups)

    def norms(values: Params) -> dict[str, jax.Array]:
        squares: dict[str, jax.Array] = {}
        for name, x in zip(names, jax.tree.leaves(values), strict=True):
            square = jnp.sum(jnp.square(x.astype(jnp.float32)))
            squares[name] = squares.get(name, jnp.zeros(())) + square
        return {name: jnp.sqrt(s) for name, s in squares.items()}

    grad, weight, update = norms(grads), norms(params), norms(updates)
    stats = {"grad_norm": optax.tree.norm(grads)}
    for name in sorted(grad):
        stats[f"grad_norm/{name}"] = grad[name]
        stats[f"param_norm/{name}"] = weight[name]
        stats[f"update_ratio/{name}"] = update[name] / jnp.maximum(weight[name], 1e-12)
    return stats
