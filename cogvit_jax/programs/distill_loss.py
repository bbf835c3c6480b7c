"""Stage 1's loss: the student's predictions beside its teachers' features, summed; and what follows
the data: running statistics of the targets, and how many pictures came from each source.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from cogvit_jax.losses import distill, target_statistics
from cogvit_jax.models.student import Student
from cogvit_jax.models.teachers import match_grid
from cogvit_jax.program import BatchArrays, Batches, Loss, Params, Statistics
from cogvit_jax.programs.teachers import Taught
from cogvit_jax.settings import ConfigError
from cogvit_jax.target_calibration import calibrate

LIMB = 2**30  # counts are two int32, so that they do not overflow


@dataclasses.dataclass(frozen=True)
class DistillSettings:
    """`config.loss` of stage 1.

    Attributes:
        terms: (distance, weight) pairs, distances of `losses.distill`.
        tokens: "masked" or "all": where predictions count.
        statistics_rate: share of the running statistics that each batch replaces ("ema_std").
        calibration_batches: from which the first statistics are computed, and the rotation of
            "phi_s", which then stays.
    """

    terms: tuple[tuple[str, float], ...] = (("cosine", 0.5), ("smooth_l1", 0.5))
    tokens: str = "masked"
    statistics_rate: float = 1e-3
    calibration_batches: int = 16


def teacher_features(taught: Taught, side: int, frozen: Any, views: BatchArrays) -> jax.Array:
    """A teacher's features `[b, n, d]` on the student's grid.

    Args:
        taught: the teacher.
        side: patches per side of the student's grid.
        frozen: {teacher: parameters}.
        views: a batch's "teachers".
    """
    features = views[taught.array]
    with jax.named_scope(f"teacher_{taught.name}"):
        if not taught.cache:
            features = taught.model.features(frozen[taught.name], features)
        return jax.lax.stop_gradient(match_grid(features, side))


def make_distill_loss(
    student: Student,
    teachers: Sequence[Taught],
    config: DistillSettings,
    sources: Sequence[str],
) -> Callable[[Params, Any, BatchArrays, jax.Array], Loss]:
    """The loss of a batch from `pictures.picture_batches`, as sums over its tokens.

    Metrics: `loss/<teacher>` per token before weighting, `cosine/<teacher>` of prediction and
    target at the tokens that count, `loss/source/<source>` (weighted, as the total is),
    `data/share/<source>`.
    """

    def loss(params: Params, frozen: Any, batch: BatchArrays, key: jax.Array) -> Loss:
        del key
        inputs = (batch["patches"], batch["masked"])
        predictions: Any = student.apply({"params": params}, *inputs)
        known = batch["statistics"]["targets"]
        views: BatchArrays = batch["teachers"]
        metrics, sums = {}, {}
        by_picture = jnp.zeros(len(batch["source"]), jnp.float32)
        weight = by_picture
        for one in teachers:
            features = teacher_features(one, student.side, frozen, views)
            kind, running = one.config.normalize, known[one.name]
            target = target_statistics.normalize(kind, features, running)
            prediction, masked = predictions[one.name], batch["masked"]
            measure = partial(distill.distillation, prediction, target, masked)
            found = measure(terms=config.terms, tokens=config.tokens)
            apart = measure(terms=(("cosine", 1.0),), tokens=config.tokens)
            by_picture += one.config.weight * found.example_total
            weight = found.example_weight  # of tokens: the same for every teacher
            metrics[f"loss/{one.name}"] = (found.total, found.weight)
            metrics[f"cosine/{one.name}"] = (apart.weight - apart.total, apart.weight)
            sums[one.name] = target_statistics.observe(kind, features, running)
        metrics |= _by_source(sources, batch["source"], by_picture, weight)
        counts = jnp.sum(_is_source(batch["source"], len(sources)), axis=0, dtype=jnp.int32)
        total = {"targets": sums, "seen": counts}
        return Loss(jnp.sum(by_picture), jnp.sum(weight), metrics, total)

    return loss


def make_statistics(
    teachers: Sequence[Taught],
    config: DistillSettings,
    side: int,
    sources: Sequence[str],
    batches: Callable[[dict[str, Any] | None], Batches],
) -> Statistics:
    """Running statistics of every teacher's features, and pictures seen of each source.

    The first statistics come from the first batches, before any step: targets are then of unit
    scale from the first step on. Sums over the batch are over all devices and hosts.
    """

    def init() -> Any:
        kinds = {t.name: (t.config.normalize, t.model.dim) for t in teachers}
        started = {name: target_statistics.init(*kind) for name, kind in kinds.items()}
        return {"targets": started, "seen": jnp.zeros((2, len(sources)), jnp.int32)}

    def first(frozen: Any) -> Any:
        found = calibrate_all(teachers, config, side, frozen, batches)
        return {**init(), "targets": found}

    def update(statistics: Any, sums: Any) -> tuple[Any, dict[str, jax.Array]]:
        new = {
            t.name: target_statistics.update(
                t.config.normalize,
                statistics["targets"][t.name],
                sums["targets"][t.name],
                config.statistics_rate,
            )
            for t in teachers
        }
        high, low = statistics["seen"][0], statistics["seen"][1] + sums["seen"]
        high, low = high + low // LIMB, low % LIMB
        counts = high.astype(jnp.float32) * LIMB + low.astype(jnp.float32)
        metrics = {f"data/seen/{name}": counts[i] for i, name in enumerate(sources)}
        return {"targets": new, "seen": jnp.stack([high, low])}, metrics

    return Statistics(init, first, update)


def calibrate_all(
    teachers: Sequence[Taught],
    config: DistillSettings,
    side: int,
    frozen: Any,
    batches: Callable[[dict[str, Any] | None], Batches],
) -> dict[str, Any]:
    """{teacher: first statistics} from the first `calibration_batches` batches of the run.

    Raises:
        ConfigError: `calibration_batches` is less than 1, or a kind cannot be had at this width.
    """
    if config.calibration_batches < 1:
        raise ConfigError(
            f"config.loss.calibration_batches = {config.calibration_batches} must be at least 1."
        )
    following = [t for t in teachers if target_statistics.init(t.config.normalize, t.model.dim)]
    if not following:
        return {t.name: {} for t in teachers}
    shifts = {t.name: jnp.zeros(t.model.dim, jnp.float32) for t in following}

    @jax.jit
    def measure(frozen: Any, views: BatchArrays, shifts: Any) -> Any:
        found = {}
        for one in following:
            features = teacher_features(one, side, frozen, views)
            found[one.name] = target_statistics.moments(features, shifts[one.name])
        return found

    sums: Any = None
    data = batches(None)
    try:
        for number in range(config.calibration_batches):
            views = next(data)["teachers"]
            found = measure(frozen, views, shifts)
            if number == 0:  # the first batch's mean is what the sums of all are taken about
                shifts = {n: m["sum"] / m["count"] for n, m in found.items()}
                found = measure(frozen, views, shifts)
            sums = found if sums is None else jax.tree.map(jnp.add, sums, found)
    finally:
        data.close()
    return _finish(teachers, shifts, sums)


def _finish(teachers: Sequence[Taught], shifts: Any, sums: Any) -> dict[str, Any]:
    """Computed by process 0, received by the others: eigenvectors are fixed but for their signs."""
    shifts, sums = jax.tree.map(np.asarray, (shifts, sums))

    def one(taught: Taught) -> Any:
        kind = taught.config.normalize
        if taught.name not in sums:
            return {}
        if jax.process_index() > 0:
            return target_statistics.init(kind, taught.model.dim)
        return calibrate(kind, shifts[taught.name], sums[taught.name])

    found = {t.name: one(t) for t in teachers}
    return multihost_utils.broadcast_one_to_all(found) if jax.process_count() > 1 else found


def _is_source(number: jax.Array, num_sources: int) -> jax.Array:
    """`[b, s]`: whether a picture is of source s."""
    return number[:, None] == jnp.arange(num_sources, dtype=number.dtype)[None]


def _by_source(
    names: Sequence[str], number: jax.Array, total: jax.Array, weight: jax.Array
) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Loss per token and share of the batch of each source, as (sum, count) pairs."""
    chosen = _is_source(number, len(names)).astype(jnp.float32)
    metrics = {}
    for i, name in enumerate(names):
        mine = chosen[:, i]
        metrics[f"loss/source/{name}"] = (jnp.sum(total * mine), jnp.sum(weight * mine))
        metrics[f"data/share/{name}"] = (jnp.sum(mine), jnp.full((), len(number), jnp.float32))
    return metrics
