"""Muon for matrices, AdamW for the rest, by parameter path; one schedule per parameter group.

Three ordered `(regex, value)` tables in `config.optim` say, for each parameter, its group (learning
rate, schedule, weight decay, freezing), its algorithm, and whether it decays. `Optimizer.table`
shows the outcome. AdamW is optax's, Muon is `muon.py`: one for the matrices of all groups, so
that those of one size are orthogonalised together; weight decay and learning rate come after it.
"""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from rich.table import Table

from cogvit_jax import muon, settings, tree
from cogvit_jax.matrices import MatrixDims
from cogvit_jax.routing_table import routing_table

# (regex, input dims, output dims) of every kernel that is a matrix, counted from the end: leading
# dims (stacked layers, and the 3 of a fused qkv) are batches of matrices, each by itself.
MATRIX_DIMS = (
    (r"/qkv/kernel$", ((-4,), (-2, -1))),  # d 3 h k
    (r"/(query|key|value)/kernel$", ((-3,), (-2, -1))),  # d h k
    (r"(attention|pool)/out/kernel$", ((-3, -2), (-1,))),  # h k d
    (r"kernel$", ((-2,), (-1,))),  # in out
)

ALGORITHMS: Mapping[str, None] = dict.fromkeys(("muon", "adamw"))
# Of Newton-Schulz's operands, and of what chips exchange for it.
MUON_DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


@dataclasses.dataclass(frozen=True)
class GroupSettings:
    """`config.optim.groups.<name>`: what module-specific means in the report (§2.1).

    Attributes:
        lr: peak learning rate.
        weight_decay: decoupled, multiplied by the learning rate.
        warmup_steps: linear from 0.
        schedule: "cosine", "linear" or "constant" after the warm-up.
        final_lr: fraction of `lr` at the last step.
        decay_steps: step at which the schedule ends; 0 = `train.steps`.
        freeze: parameters stay as they are and cost no optimizer state.
    """

    lr: float
    weight_decay: float = 0.0
    warmup_steps: int = 0
    schedule: str = "cosine"
    final_lr: float = 0.0
    decay_steps: int = 0
    freeze: bool = False


@dataclasses.dataclass(frozen=True)
class OptimSettings:
    """`config.optim`.

    Attributes:
        groups: name -> GroupSettings.
        group_rules: ordered (regex, group name).
        algorithm_rules: ordered (regex, "muon" | "adamw").
        decay_rules: ordered (regex, multiplier of the group's weight decay).
        clip_norm: bound of the norm of all gradients that are not frozen; 0 = none.
        muon_momentum: its decay per step.
        muon_bias_correction: of the momentum, as in optax.contrib.muon; without it as in Keller
            Jordan's.
        muon_steps, muon_coefficients: Newton-Schulz iterations and their coefficients (a key of
            `muon.NEWTON_SCHULZ`).
        muon_dtype: of the iterations' operands and of what chips exchange for them: "float32" or
            "bfloat16"; products accumulate in f32.
        muon_rms: updates are scaled by `muon_rms * sqrt(max(rows, columns))`, which gives them
            AdamW's typical size, so that both share a learning rate (arXiv:2502.16982).
        adam_b1, adam_b2, adam_eps: of AdamW.
    """

    groups: Any
    group_rules: tuple[Any, ...]
    algorithm_rules: tuple[Any, ...] = ((r"kernel$", "muon"), (".*", "adamw"))
    decay_rules: tuple[Any, ...] = ((r"kernel$", 1.0), (".*", 0.0))
    clip_norm: float = 1.0
    muon_momentum: float = 0.95
    muon_bias_correction: bool = True
    muon_steps: int = 5
    muon_coefficients: str = "quintic"
    muon_dtype: str = "float32"
    muon_rms: float = 0.2
    adam_b1: float = 0.9
    adam_b2: float = 0.95
    adam_eps: float = 1e-8


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """The gradient transformation, and what to show of it.

    Attributes:
        transform: optax's; its updates are added to the parameters.
        schedules: group -> (step -> learning rate).
        groups: tree of group names, shaped like the parameters.
        table: for the terminal, one row per parameter.
    """

    transform: optax.GradientTransformation
    schedules: Mapping[str, optax.Schedule]
    groups: Any
    table: Table


def build(
    config: Mapping[str, Any], params: Any, num_steps: int, shardings: Any = None
) -> Optimizer:
    """Optimizer for parameters shaped like `params` (arrays or shapes).

    Args:
        config: `config.optim`.
        params: what is trained.
        num_steps: where schedules end by default.
        shardings: where each parameter lives, a tree like `params`, so that Muon deals its work out
            over the mesh; None = every device does all of it.

    Raises:
        ConfigError: a parameter without a rule, a rule without a parameter, an unknown name.
    """
    options = settings.read(OptimSettings, config, "config.optim")
    groups = {
        name: settings.read(GroupSettings, group, f"config.optim.groups.{name}")
        for name, group in dict(options.groups).items()
    }
    shapes = dict(tree.named_leaves(params))
    names = list(shapes)
    for field in ("group_rules", "algorithm_rules", "decay_rules"):
        tree.check_rules(getattr(options, field), names, f"config.optim.{field}")

    group_of = _routes(options.group_rules, groups, params, "group_rules")
    algorithm_of = _routes(options.algorithm_rules, ALGORITHMS, params, "algorithm_rules")
    algorithm_of = jax.tree.map(
        lambda g, a: "frozen" if groups[g].freeze else a, group_of, algorithm_of
    )
    decay = tree.map_named(
        lambda n, _: float(tree.match(options.decay_rules, n, "config.optim.decay_rules")), params
    )
    rates = jax.tree.map(
        lambda g, m: 0.0 if groups[g].freeze else groups[g].weight_decay * m, group_of, decay
    )
    schedules = {name: schedule(group, num_steps, name) for name, group in groups.items()}
    placed = dict(tree.named_leaves(shardings)) or None
    transform = optax.chain(
        optax.partition(_algorithms(options, algorithm_of, placed), algorithm_of),
        _decoupled_decay(rates),
        _learning_rates(schedules, group_of),
    )
    if options.clip_norm:
        trained = jax.tree.map(lambda g: not groups[g].freeze, group_of)
        clip = optax.masked(optax.clip_by_global_norm(options.clip_norm), trained)
        transform = optax.chain(clip, transform)
    matrices = tree.map_named(
        lambda n, a: _matrices(n, shapes[n]) if a == "muon" else "", algorithm_of
    )
    peaks = {name: group.lr for name, group in groups.items()}
    table = routing_table(params, group_of, algorithm_of, matrices, peaks, rates, shardings)
    return Optimizer(transform, schedules, group_of, table)


def schedule(group: GroupSettings, num_steps: int, name: str) -> optax.Schedule:
    """Linear warm-up to `lr`, then the group's decay to `final_lr * lr`."""
    end = group.decay_steps or num_steps
    if group.warmup_steps > end:
        raise settings.ConfigError(
            f"config.optim.groups.{name}.warmup_steps = {group.warmup_steps} is more than the "
            f"schedule's {end} steps: lower it or raise config.train.steps."
        )
    decay_steps = max(end - group.warmup_steps, 1)
    shapes = {
        "cosine": lambda: optax.cosine_decay_schedule(group.lr, decay_steps, group.final_lr),
        "linear": lambda: optax.linear_schedule(group.lr, group.lr * group.final_lr, decay_steps),
        "constant": lambda: optax.constant_schedule(group.lr),
    }
    shape = settings.choose(shapes, group.schedule, f"config.optim.groups.{name}.schedule")()
    if not group.warmup_steps:
        return shape
    warmup = optax.linear_schedule(0.0, group.lr, group.warmup_steps)
    return optax.join_schedules([warmup, shape], [group.warmup_steps])


def matrix_dims(name: str, x: Any) -> MatrixDims:
    """(input dims, output dims) of the matrices that Muon orthogonalises in parameter `name`.

    Raises:
        ConfigError: it has none.
    """
    for pattern, dims in MATRIX_DIMS:
        if re.search(pattern, name) and x.ndim >= sum(map(len, dims)):
            rows, columns = (tuple(x.ndim + d for d in side) for side in dims)
            return rows, columns
    raise settings.ConfigError(
        f"config.optim.algorithm_rules sends {name} of shape {x.shape} to Muon, but it is no "
        "matrix: send it to 'adamw', or name its dims in optim.MATRIX_DIMS."
    )


def matrix_sizes(dims: MatrixDims, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(number of matrices, rows, columns) in an array of `shape`."""
    rows, columns = (math.prod(shape[d] for d in side) for side in dims)
    return math.prod(shape) // (rows * columns), rows, columns


def _algorithms(
    options: OptimSettings, algorithm_of: Any, shardings: Any
) -> dict[Any, optax.GradientTransformation]:
    """Transform of each algorithm that `algorithm_of` names; updates are in units of the rate."""
    used = set(jax.tree.leaves(algorithm_of))
    build = {
        "muon": lambda: _muon(options, shardings),
        "adamw": lambda: optax.scale_by_adam(options.adam_b1, options.adam_b2, options.adam_eps),
        "frozen": optax.set_to_zero,
    }
    return {name: build[name]() for name in build if name in used}


def _muon(options: OptimSettings, shardings: Any) -> optax.GradientTransformation:
    dtype = settings.choose(MUON_DTYPES, options.muon_dtype, "config.optim.muon_dtype")
    iterations = settings.choose(
        muon.NEWTON_SCHULZ, options.muon_coefficients, "config.optim.muon_coefficients"
    )
    num = len(iterations.coefficients)
    if num == 1:
        repeated = iterations.coefficients * options.muon_steps
        iterations = dataclasses.replace(iterations, coefficients=repeated)
    elif options.muon_steps != num:
        raise settings.ConfigError(
            f"config.optim.muon_steps = {options.muon_steps}, but muon_coefficients = "
            f"{options.muon_coefficients!r} are for {num} steps together: set muon_steps to {num}."
        )
    return optax.chain(
        muon.scale_by_muon(
            iterations,
            matrix_dims,
            beta=options.muon_momentum,
            bias_correction=options.muon_bias_correction,
            dtype=dtype,
            shardings=shardings,
        ),
        optax.scale(options.muon_rms),
    )


def _decoupled_decay(rates: Any) -> optax.GradientTransformation:
    """Adds `rate * parameter`, with a rate of its own for each parameter."""

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        return jax.tree.map(lambda r, u, p: u + r * p if r else u, rates, updates, params), state

    return optax.GradientTransformation(optax.init_empty_state, update)


def _learning_rates(
    schedules: Mapping[str, optax.Schedule], group_of: Any
) -> optax.GradientTransformation:
    """Descends at the learning rate of each parameter's group."""

    def init(params: Any) -> optax.ScaleByScheduleState:
        return optax.ScaleByScheduleState(jnp.zeros((), jnp.int32))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        rates = {name: -jnp.asarray(schedule(state.count)) for name, schedule in schedules.items()}
        updates = jax.tree.map(lambda g, u: rates[g] * u, group_of, updates)
        return updates, optax.ScaleByScheduleState(optax.safe_increment(state.count))

    return optax.GradientTransformation(init, update)


def _routes(rules: tree.Rules, choices: Mapping[str, Any], params: Any, field: str) -> Any:
    """Tree of rule values, each checked to be a key of `choices`."""
    path = f"config.optim.{field}"
    for _, value in rules:
        settings.choose(choices, value, path)
    return tree.map_named(lambda name, _: tree.match(rules, name, path), params)


def _matrices(name: str, x: Any) -> str:
    """Such as `24 of 1024×4096`."""
    count, rows, columns = matrix_sizes(matrix_dims(name, x), x.shape)
    return f"{count} of {rows}×{columns}"
