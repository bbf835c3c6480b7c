"""`config.algorithm` read and checked: a preset by name, and what differs from it."""

from collections.abc import Mapping
from typing import Any

from cogvit_jax import settings
from cogvit_jax.settings import ConfigError
from rl.advantages import ADVANTAGES
from rl.losses.aggregate import AGGREGATIONS
from rl.losses.correction import CORRECTIONS, REJECTIONS
from rl.losses.kl import ESTIMATORS
from rl.losses.loss import PROXIMALS
from rl.losses.policy import OBJECTIVES
from rl.losses.settings import AlgorithmSettings

PATH = "config.algorithm"
KL_PLACES: Mapping[str, None] = {"loss": None, "advantage": None}

# What each paper writes; fields left out have the defaults of AlgorithmSettings.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "grpo": {  # DeepSeekMath, arXiv:2402.03300, §4.1.2 of its version 3 for beta
        "aggregation": "seq_mean_token_mean",
        "kl_weight": 0.04,
        "kl_estimator": "k3",
    },
    "dr_grpo": {  # arXiv:2503.20783
        "advantage": "dr_grpo",
        "aggregation": "seq_mean_token_sum_norm",
    },
    "dapo": {  # arXiv:2503.14476
        "clip_high": 0.28,
        "dynamic_sampling": True,
        "overlong_buffer": 4096,
    },
    "gspo": {  # arXiv:2507.18071, §5.1
        "objective": "gspo",
        "clip_low": 3e-4,
        "clip_high": 4e-4,
        "aggregation": "seq_mean_token_mean",
    },
    # arXiv:2506.13585, which gives no bounds: these are DAPO's, on both sides of 1.
    "cispo": {"objective": "cispo", "clip_high": 0.28},
    "rloo": {  # arXiv:2402.14740
        "advantage": "rloo",
        "objective": "reinforce",
        "proximal": "current",
        "aggregation": "seq_mean_token_sum",
    },
    # arXiv:2501.03262 without its penalty per token, which is part of the return there;
    # kl_in = "advantage" takes k1 off each token's advantage.
    "reinforce_pp": {"advantage": "reinforce_pp"},
    "reinforce_pp_baseline": {
        "advantage": "reinforce_pp_baseline",
        "kl_weight": 0.01,
        "kl_estimator": "k2",
    },
    # AReaL, arXiv:2505.24298, with the proximal policy and the cap of its public configurations,
    # which leaves out tokens whose weight is above it (and does not cut their weight).
    "decoupled": {
        "proximal": "loglinear",
        "correction": "icepop",
        "correction_low": 0.0,
        "correction_high": 5.0,
    },
    "distill": {  # one teacher, and no reward
        "advantage": "none",
        "objective": "reinforce",
        "proximal": "current",
        "distill_weights": (1.0,),
    },
}


def read(section: Mapping[str, Any], path: str = PATH) -> AlgorithmSettings:
    """Settings of `section`'s preset, but for the fields that it gives and that are not None.

    Raises:
        ConfigError: an unknown field or choice, or what `check` refuses.
    """
    given = {name: value for name, value in dict(section).items() if value is not None}
    preset = settings.choose(PRESETS, given.get("preset", "grpo"), f"{path}.preset")
    found = settings.read(AlgorithmSettings, {**preset, **given}, path)
    check(found, path)
    return found


def check(found: AlgorithmSettings, path: str = PATH) -> None:
    """Raises ConfigError for what cannot be."""
    for name, choices in (
        ("preset", PRESETS),
        ("advantage", ADVANTAGES),
        ("objective", OBJECTIVES),
        ("proximal", PROXIMALS),
        ("correction", CORRECTIONS),
        ("rejection", REJECTIONS),
        ("kl_in", KL_PLACES),
        ("kl_estimator", ESTIMATORS),
        ("aggregation", AGGREGATIONS),
    ):
        settings.choose(choices, getattr(found, name), f"{path}.{name}")
    _check_numbers(found, path)
    _check_together(found, path)


def _check_numbers(found: AlgorithmSettings, path: str) -> None:
    for name, low, high in (
        ("gamma", 0, 1),
        ("overlong_tokens", 1, None),
        ("overlong_buffer", 0, found.overlong_tokens),
        ("clip_low", 0, 1),
        ("clip_high", 1 if found.objective == "cispo_absolute" else 0, None),
        ("correction_low", 0, found.correction_high),
        ("rejection_low", 0, found.rejection_high),
        ("kl_weight", 0, None),
        ("topk_distill_weight", 0, None),
        ("topk_distill", 1, None),
        ("updates", 1, None),
        ("max_tokens", 1, None),
    ):
        value = getattr(found, name)
        if not low <= value or (high is not None and value > high):
            limit = f"at least {low}" if high is None else f"from {low} to {high}"
            raise ConfigError(f"{path}.{name} = {value} must be {limit}.")
    if found.dual_clip is not None and found.dual_clip <= 1:
        raise ConfigError(
            f"{path}.dual_clip = {found.dual_clip} must be above 1, such as 3; None turns it off."
        )
    if min(found.distill_weights, default=0) < 0:
        raise ConfigError(
            f"{path}.distill_weights = {found.distill_weights} must be 0 or more each."
        )


def _check_together(found: AlgorithmSettings, path: str) -> None:
    if found.gamma < 1 and found.advantage != "reinforce_pp":
        raise ConfigError(
            f"{path}.gamma = {found.gamma} has no meaning with advantage = {found.advantage!r}: "
            "set it to 1, or advantage to 'reinforce_pp'."
        )
    for name in ("correction", "rejection"):
        if getattr(found, name) != "none" and found.proximal == "rollout":
            raise ConfigError(
                f"{path}.{name} = {getattr(found, name)!r} compares the proximal policy with "
                "what the engine said, but proximal = 'rollout' is the same: set proximal to "
                f"'old', 'loglinear' or 'current', or {name} to 'none'."
            )
    if found.updates > 1 and found.proximal == "current":
        raise ConfigError(
            f"{path}.updates = {found.updates}: after the first update the policy is another than "
            "the one that drew the batch, which proximal = 'current' takes it for. Set proximal to "
            "'old', 'rollout' or 'loglinear', or updates to 1."
        )
    if found.kl_ratio and found.kl_in != "loss":
        raise ConfigError(f"{path}.kl_ratio needs kl_in = 'loss'; it has no part in an advantage.")
    learns = found.advantage != "none" or found.distill_weights or found.topk_distill_weight
    if not learns:
        raise ConfigError(
            f"{path}.advantage = 'none' teaches nothing without distill_weights or "
            "topk_distill_weight."
        )
