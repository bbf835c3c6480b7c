"""Muon for matrices, AdamW for the rest, by parameter path; one schedule per parameter group.

Three ordered `(regex, value)` tables in `config.optim` say, for each parameter, its group (learning
rate, schedule, weight decay, freezing), its algorithm, and whether it decays. `Optimizer.table`
shows the outcome. Muon and AdamW are optax's (its Muon corrects the bias of the momentum, so early
updates differ a little from Keller Jordan's); what is ours is the routing: optax by default sends
scan-stacked kernels and 3-D attention kernels to Adam and embedding tables to Muon.
"""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

import jax
import optax
from optax.contrib import MuonDimensionNumbers, scale_by_muon
from rich.table import Table

from cogvit_jax import settings, tree

MatrixAxes = tuple[tuple[int, ...], tuple[int, ...]]

# (regex, input axes, output axes) of every kernel that is a matrix, counted from the end: leading
# axes (stacked layers, and the 3 of a fused qkv) are batches of matrices, each by itself.
MATRIX_AXES = (
    (r"/qkv/kernel$", ((-4,), (-2, -1))),  # d 3 h k
    (r"/(query|key|value)/kernel$", ((-3,), (-2, -1))),  # d h k
    (r"(attention|pool)/out/kernel$", ((-3, -2), (-1,))),  # h k d
    (r"kernel$", ((-2,), (-1,))),  # in out
)

# Newton-Schulz iterations: Keller Jordan's quintic; Dion's five-step coefficients.
NEWTON_SCHULZ = {
    "quintic": (3.4445, -4.7750, 2.0315),
    "dion": (
        (4.0848, -6.8946, 2.9270),
        (3.9505, -6.3029, 2.6377),
        (3.7418, -5.5913, 2.3037),
        (2.8769, -3.1427, 1.2046),
        (2.8366, -3.0525, 1.2012),
    ),
}


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
        muon_momentum, muon_steps, muon_coefficients: momentum, Newton-Schulz iterations and their
            coefficients (a key of NEWTON_SCHULZ).
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
    muon_steps: int = 5
    muon_coefficients: str = "quintic"
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


def build(config: Mapping[str, Any], params: Any, num_steps: int) -> Optimizer:
    """Optimizer for parameters shaped like `params` (arrays or shapes).

    Raises:
        ConfigError: a parameter without a rule, a rule without a parameter, an unknown name.
    """
    options = settings.read(OptimSettings, config, "config.optim")
    groups = {
        name: settings.read(GroupSettings, group, f"config.optim.groups.{name}")
        for name, group in dict(options.groups).items()
    }
    names = [name for name, _ in tree.named_leaves(params)]
    for field in ("group_rules", "algorithm_rules", "decay_rules"):
        tree.check_rules(getattr(options, field), names, f"config.optim.{field}")

    group_of = _routes(options.group_rules, groups, params, "group_rules")
    algorithm_of = _routes(options.algorithm_rules, ALGORITHMS, params, "algorithm_rules")
    labels = jax.tree.map(
        lambda g, a: f"{g}/frozen" if groups[g].freeze else f"{g}/{a}", group_of, algorithm_of
    )
    decay = tree.map_named(
        lambda n, _: float(tree.match(options.decay_rules, n, "config.optim.decay_rules")), params
    )
    schedules = {name: schedule(group, num_steps, name) for name, group in groups.items()}
    transforms = {
        label: _transform(label, options, groups, schedules, decay)
        for label in sorted(set(jax.tree.leaves(labels)))
    }
    transform = optax.partition(transforms, labels)
    if options.clip_norm:
        trained = jax.tree.map(lambda g: not groups[g].freeze, group_of)
        clip = optax.masked(optax.clip_by_global_norm(options.clip_norm), trained)
        transform = optax.chain(clip, transform)
    return Optimizer(transform, schedules, group_of, _table(params, labels, groups, decay))


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


def matrix_axes(name: str, ndim: int) -> MatrixAxes | None:
    """(input axes, output axes) of the matrices that Muon orthogonalises in parameter `name`."""
    for pattern, axes in MATRIX_AXES:
        if re.search(pattern, name):
            rows, columns = (tuple(ndim + a for a in side) for side in axes)
            return rows, columns
    return None


def matrix_sizes(axes: MatrixAxes, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(number of matrices, rows, columns) in an array of `shape`."""
    rows = math.prod(shape[a] for a in axes[0])
    columns = math.prod(shape[a] for a in axes[1])
    return math.prod(shape) // (rows * columns), rows, columns


def _muon(options: OptimSettings) -> optax.GradientTransformation:
    coefficients = settings.choose(
        NEWTON_SCHULZ, options.muon_coefficients, "config.optim.muon_coefficients"
    )

    if isinstance(coefficients[0], tuple) and options.muon_steps > len(coefficients):
        raise settings.ConfigError(
            f"config.optim.muon_steps = {options.muon_steps}, but muon_coefficients = "
            f"{options.muon_coefficients!r} has {len(coefficients)} steps: lower muon_steps."
        )

    def axes(params: Any) -> Any:
        return tree.map_named(
            lambda name, x: MuonDimensionNumbers(*_require_matrix(name, x)), params
        )

    def match_adamw_rms(updates: Any, _: Any) -> Any:
        def scale(name: str, x: jax.Array) -> jax.Array:
            _, rows, columns = matrix_sizes(_require_matrix(name, x), x.shape)
            return x * (options.muon_rms * max(rows, columns) ** 0.5)

        return tree.map_named(scale, updates)

    newton_schulz = scale_by_muon(
        coefficients, options.muon_steps, options.muon_momentum, weight_dimension_numbers=axes
    )
    return optax.chain(newton_schulz, optax.stateless(match_adamw_rms))


def _adam(options: OptimSettings) -> optax.GradientTransformation:
    return optax.scale_by_adam(options.adam_b1, options.adam_b2, options.adam_eps)


ALGORITHMS = {"muon": _muon, "adamw": _adam}


def _require_matrix(name: str, x: Any) -> MatrixAxes:
    axes = matrix_axes(name, x.ndim)
    if axes is None or x.ndim < 2:
        raise settings.ConfigError(
            f"config.optim.algorithm_rules sends {name} of shape {x.shape} to Muon, but it is no "
            "matrix: send it to 'adamw', or name its axes in optim.MATRIX_AXES."
        )
    return axes


def _transform(
    label: str,
    options: OptimSettings,
    groups: Mapping[str, GroupSettings],
    schedules: Mapping[str, optax.Schedule],
    decay: Any,
) -> optax.GradientTransformation:
    group, algorithm = label.split("/")
    if algorithm == "frozen":
        return optax.set_to_zero()
    steps = [ALGORITHMS[algorithm](options)]
    weight_decay = groups[group].weight_decay
    if weight_decay:
        scaled = jax.tree.map(lambda m: m * weight_decay, decay)
        steps.append(_decoupled_decay(scaled))
    return optax.chain(*steps, optax.scale_by_learning_rate(schedules[group]))


def _decoupled_decay(rates: Any) -> optax.GradientTransformation:
    """Adds `rate * parameter`, with a rate of its own for each parameter."""
    by_name = dict(tree.named_leaves(rates))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        decayed = jax.tree_util.tree_map_with_path(
            lambda path, u, p: u + by_name[tree.path_name(path)] * p, updates, params
        )
        return decayed, state

    return optax.GradientTransformation(optax.init_empty_state, update)


def _routes(rules: tree.Rules, choices: Mapping[str, Any], params: Any, field: str) -> Any:
    """Tree of rule values, each checked to be a key of `choices`."""
    path = f"config.optim.{field}"
    for _, value in rules:
        settings.choose(choices, value, path)
    return tree.map_named(lambda name, _: tree.match(rules, name, path), params)


def _table(params: Any, labels: Any, groups: Mapping[str, GroupSettings], decay: Any) -> Table:
    table = Table(title="Optimizer routing", title_justify="left")
    for column in ("parameter", "shape", "group", "algorithm", "matrices", "peak lr", "decay"):
        right = column in ("peak lr", "decay")
        table.add_column(column, justify="right" if right else "left", no_wrap=True)
    rows = zip(
        tree.named_leaves(params), jax.tree.leaves(labels), jax.tree.leaves(decay), strict=True
    )
    for (name, x), label, rate in rows:
        group, algorithm = label.split("/")
        frozen = algorithm == "frozen"
        lr, weight_decay = groups[group].lr, groups[group].weight_decay * rate
        table.add_row(
            name,
            "×".join(map(str, x.shape)) or "scalar",
            group,
            algorithm,
            _matrices(name, x) if algorithm == "muon" else "",
            "" if frozen else f"{lr:g}",
            "" if frozen else f"{weight_decay:g}",
        )
    return table


def _matrices(name: str, x: Any) -> str:
    """Such as `24 of 1024×4096`."""
    count, rows, columns = matrix_sizes(_require_matrix(name, x), x.shape)
    return f"{count} of {rows}×{columns}"
