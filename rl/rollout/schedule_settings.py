"""`config.rollout`: the numbers of the schedule, and what they may be."""

from dataclasses import dataclass

from cogvit_jax.settings import ConfigError, choose

PATH = "config.rollout"
PARTIAL = ("continue", "restart")


@dataclass(frozen=True)
class RolloutSettings:
    """`config.rollout`.

    Attributes:
        group_size: samples of one prompt, G.
        batch_groups: groups per trainer step, B.
        max_staleness: versions that the trainer may be ahead of the weights which the engine had
            when a group was admitted, at most; 0 = on policy. No trained token is older either.
        concurrency: samples in the engine at a time, at most.
        colocated: rollouts and training share the accelerators and take turns.
        batches_ahead: batches that may be formed, and packed, while the trainer is at another.
        abort_count: groups of a wave after whose completion the rest of it is aborted; 0 = never.
        abort_seconds: seconds of a wave after which what still runs is aborted; 0 = never. Either
            abort waits until there is a batch to train on: before that nobody would gain by it.
        partial: "continue": what an aborted sample has said is kept, and continued with the newest
            weights; "restart": its prompt is kept, and begun again.
        dynamic_sampling: groups whose rewards are all equal are dropped; they have no gradient.
            Of `rl.main`: also where `config.algorithm.dynamic_sampling` says so.
        oversampling: groups that are completed per group that is trained, at most; beyond it, equal
            groups are trained on, since otherwise a policy that is always right would never be.
        min_valid: samples with a reward that a group needs; it is judged again, then dropped.
        max_judgings: times that a sample is judged before it is left out of its group.
        max_attempts: engines that may die under a sample before it is left out of its group.
        max_unanswered: groups in a row that are dropped for want of answers or of rewards, before
            the run ends with an error; 0 = it goes on.
        reuse: times that a group may be trained on again, within max_staleness; at least one group
            in (1 + reuse) of each batch is a new one.
        num_steps: batches of the run, after which nothing more is admitted; 0 = no end. Of
            `rl.main`: `config.train.steps / config.algorithm.updates`, whatever stands here.
    """

    group_size: int = 8
    batch_groups: int = 8
    max_staleness: int = 1
    concurrency: int = 64
    colocated: bool = False
    batches_ahead: int = 0
    abort_count: int = 0
    abort_seconds: float = 0.0
    partial: str = "continue"
    dynamic_sampling: bool = False
    oversampling: float = 4.0
    min_valid: int = 2
    max_judgings: int = 3
    max_attempts: int = 4
    max_unanswered: int = 64
    reuse: int = 0
    num_steps: int = 0


def check(settings: RolloutSettings) -> None:
    """Raises ConfigError for what cannot be; names field, value and remedy."""
    choose(dict.fromkeys(PARTIAL), settings.partial, f"{PATH}.partial")
    for name in ("group_size", "batch_groups", "concurrency", "max_judgings", "max_attempts"):
        _at_least(settings, name, 1)
    for name in ("max_staleness", "batches_ahead", "abort_count", "abort_seconds"):
        _at_least(settings, name, 0)
    for name in ("reuse", "num_steps", "max_unanswered"):
        _at_least(settings, name, 0)
    _at_least(settings, "oversampling", 1)
    _at_least(settings, "min_valid", 1)
    if settings.min_valid > settings.group_size:
        raise ConfigError(
            f"{PATH}.min_valid = {settings.min_valid} is more than a group has: "
            f"set it to at most group_size = {settings.group_size}."
        )
    _check_aborts(settings)
    if settings.colocated and settings.batches_ahead:
        raise ConfigError(
            f"{PATH}.batches_ahead = {settings.batches_ahead} needs rollouts beside training: "
            "set it to 0, or colocated to False."
        )


def _check_aborts(settings: RolloutSettings) -> None:
    outstanding = (settings.max_staleness + 1) * settings.batch_groups
    if settings.abort_count and not settings.batch_groups <= settings.abort_count <= outstanding:
        raise ConfigError(
            f"{PATH}.abort_count = {settings.abort_count} must be from batch_groups = "
            f"{settings.batch_groups} to (max_staleness + 1) · batch_groups = {outstanding}, "
            "the groups that can be at work; or 0 for never."
        )
    if (settings.abort_count or settings.abort_seconds) and not settings.max_staleness:
        raise ConfigError(
            f"{PATH}.max_staleness = 0 leaves nothing to abort, since every group at work is "
            "needed for the next batch: set it to 1 or more, or abort_count and abort_seconds to 0."
        )


def _at_least(settings: RolloutSettings, name: str, least: int) -> None:
    value = getattr(settings, name)
    if not value >= least:
        raise ConfigError(f"{PATH}.{name} = {value} must be at least {least}.")
