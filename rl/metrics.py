"""Figures of a training batch for the log, of every source and of all together, from plain arrays.

rl/NUMBER, rl/source/NAME/NUMBER

rollouts, groups                  how many
unjudged_rate                     without a reward, which is not a reward of 0
reward_mean, reward_std           of the rewards; exact, as in `rl.rewards.statistics`
reward_error                      standard error of the mean, rollouts of a group taken together
pass_at_K, pass_all_K             see `rl.rewards.metrics`
zero_variance_rate                groups of two rewards or more that are all equal
length_mean, _p50, _p90, _max     tokens of replies
truncated_rate                    ended by a limit of length
staleness_mean, _max, _K, _more   versions behind when trained: shares of 0 … 7, and of more
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from rl.rewards.metrics import KS, summary
from rl.rewards.statistics import Statistics
from rl.types import Verdict

STALEST = 8  # as many and more versions behind are one share


@dataclass(frozen=True)
class Rows:
    """The samples of a batch, one entry each.

    Attributes:
        sources: of the tasks.
        groups: names; samples that are compared with each other share one.
        rewards: NaN where there is none.
        lengths: tokens of all replies.
        truncated: whether a limit of length ended it.
        staleness: the trainer's version minus that of the oldest token.
    """

    sources: Sequence[str]
    groups: Sequence[str]
    rewards: Float[np.ndarray, " n"]
    lengths: Int[np.ndarray, " n"]
    truncated: Bool[np.ndarray, " n"]
    staleness: Int[np.ndarray, " n"]


def measure(rows: Rows, ks: Iterable[int] = KS, success: float = 1.0) -> dict[str, float]:
    """All figures; see the module.

    Args:
        rows: of the batch.
        ks: of pass@k; those that no group is large enough for are left out.
        success: least reward that counts as a success.

    Raises:
        ValueError: arrays differ in length, or a group has samples of two sources.
    """
    columns = [rows.groups, rows.rewards, rows.lengths, rows.truncated, rows.staleness]
    if any(len(column) != len(rows.sources) for column in columns):
        raise ValueError(f"{[len(c) for c in columns]} entries of {len(rows.sources)} samples")
    found = _figures(rows, np.ones(len(rows.sources), bool), tuple(ks), success, "rl")
    for source in sorted(set(rows.sources)):
        chosen = np.array([one == source for one in rows.sources])
        found |= _figures(rows, chosen, tuple(ks), success, f"rl/source/{source}")
    return found


def standard_error(rewards: Float[np.ndarray, " n"], groups: Sequence[str]) -> float:
    """Of the mean of rewards that are alike within groups; NaN of fewer than two groups.

    sqrt(G / (G − 1) · Σ_g (Σ_i r_gi − mean)²) / n, the cluster-robust error of a mean (Liang &
    Zeger 1986).
    """
    _, index = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    count = index.max(initial=-1) + 1
    if count < 2:
        return math.nan
    sums = np.bincount(index, rewards - rewards.mean())
    return float(np.sqrt(count / (count - 1) * np.sum(sums**2)) / len(rewards))


def _figures(
    rows: Rows, chosen: Bool[np.ndarray, " n"], ks: tuple[int, ...], success: float, prefix: str
) -> dict[str, float]:
    if not chosen.any():
        return {}
    places: list[int] = np.flatnonzero(chosen).tolist()
    rewards, groups = rows.rewards[chosen], [rows.groups[i] for i in places]
    judged = ~np.isnan(rewards)
    found = {"rollouts": float(len(rewards)), "groups": float(len(set(groups)))}
    found |= {"unjudged_rate": float(1 - judged.mean())}
    found |= _rewards([rows.sources[i] for i in places], groups, rewards, ks, success)
    compared = [group for group, known in zip(groups, judged, strict=True) if known]
    error = standard_error(rewards[judged], compared)
    found |= {} if math.isnan(error) else {"reward_error": error}
    lengths = rows.lengths[chosen]
    found |= {"length_mean": float(lengths.mean()), "length_max": float(lengths.max())}
    found |= {f"length_p{p}": float(np.percentile(lengths, p)) for p in (50, 90)}
    found |= {"truncated_rate": float(rows.truncated[chosen].mean())}
    found |= _staleness(rows.staleness[chosen])
    return {f"{prefix}/{name}": value for name, value in found.items()}


def _rewards(
    sources: Sequence[str],
    groups: Sequence[str],
    rewards: Float[np.ndarray, " n"],
    ks: tuple[int, ...],
    success: float,
) -> dict[str, float]:
    statistics = Statistics(success)
    for source, group, reward in zip(sources, groups, rewards.tolist(), strict=True):
        verdict = (
            Verdict.error("reward", "none")
            if math.isnan(reward)
            else Verdict("value", reward, "reward")
        )
        statistics.count(source, "", verdict, group)
    names = {"mean": "reward_mean", "std": "reward_std", "useless_rate": "zero_variance_rate"}
    return {
        names.get(name, name): value
        for key, value in summary(statistics, ks).items()
        for whole, _, name in [key.rpartition("/")]
        if whole == "reward" and (name in names or name.startswith("pass_"))
    }


def _staleness(versions: Int[np.ndarray, " n"]) -> dict[str, float]:
    clipped = np.clip(versions, 0, STALEST)
    shares = np.bincount(clipped, minlength=STALEST + 1) / len(versions)
    found = {f"staleness_{k}": float(share) for k, share in enumerate(shares[:-1]) if share}
    found |= {"staleness_more": float(shares[-1])} if shares[-1] else {}
    mean = float(versions.mean())
    return found | {"staleness_mean": mean, "staleness_max": float(versions.max())}
