"""How much better a sample did than what it is compared with: advantages, on the host.

Every function of `ADVANTAGES` takes the same three arrays, one entry per sample of a batch:

    rewards   NaN where there is none (the verifier failed or abstained)
    groups    samples with equal numbers answer the same prompt; groups may differ in size
    lengths   trained tokens of the sample; only the whitened ones read them

and gives one advantage per sample, which holds for each of its tokens. A sample without a reward
is left out of all statistics and gets 0; `judged` says which those are, since their tokens should
not be trained on either (a 0 still counts in a mean over tokens). A sample that has nobody to be
compared with, being the only judged one of its group, gets 0 as well.
"""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Bool, Float, Int

GRPO_EPSILON = 1e-6  # added to a group's standard deviation
WHITEN_EPSILON = 1e-8  # added to the batch's variance

Rewards = Float[np.ndarray, " n"]
Groups = Int[np.ndarray, " n"]
Lengths = Int[np.ndarray, " n"]


def judged(rewards: Rewards) -> Bool[np.ndarray, " n"]:
    """Samples that have a reward.

    Raises:
        ValueError: a reward is infinite, which no verifier may say.
    """
    if np.isinf(rewards).any():
        raise ValueError(f"rewards hold infinity at {np.flatnonzero(np.isinf(rewards)).tolist()}")
    return ~np.isnan(rewards)


def grpo(rewards: Rewards, groups: Groups, lengths: Lengths) -> Float[np.ndarray, " n"]:
    """(r - mean) / (std + 1e-6) of the group, std with n - 1 (DeepSeekMath, arXiv:2402.03300).

    Some implementations give a group of one its reward; here it is 0.
    """
    centred, index, counts = _centred(rewards, groups)
    variance = np.bincount(index, centred**2) / np.maximum(counts - 1, 1)
    return centred / (np.sqrt(variance)[index] + GRPO_EPSILON)


def dr_grpo(rewards: Rewards, groups: Groups, lengths: Lengths) -> Float[np.ndarray, " n"]:
    """r - mean of the group (Dr. GRPO, arXiv:2503.20783): easy and hard prompts weigh the same."""
    return _centred(rewards, groups)[0]


def rloo(rewards: Rewards, groups: Groups, lengths: Lengths) -> Float[np.ndarray, " n"]:
    """r - mean of the others of the group (RLOO, arXiv:2402.14740), (r - mean) n / (n - 1)."""
    centred, index, counts = _centred(rewards, groups)
    return centred * (counts / np.maximum(counts - 1, 1))[index]


def reinforce_pp(rewards: Rewards, groups: Groups, lengths: Lengths) -> Float[np.ndarray, " n"]:
    """Rewards whitened over the batch's tokens (REINFORCE++, arXiv:2501.03262), without discount.

    Groups play no part. `returns_to_go` has the discount.
    """
    known = judged(rewards)
    return _whiten(np.where(known, rewards, 0.0), np.where(known, lengths, 0))


def reinforce_pp_baseline(
    rewards: Rewards, groups: Groups, lengths: Lengths
) -> Float[np.ndarray, " n"]:
    """r - mean of the group, then whitened over the batch's tokens (arXiv:2501.03262, section 3).

    The whitening subtracts the mean over tokens once more, which is not 0 where longer samples do
    worse; groups with equal rewards are moved by it, those of one sample are not.
    """
    centred, index, counts = _centred(rewards, groups)
    compared = judged(rewards) & (counts[index] > 1)
    return _whiten(centred, np.where(compared, lengths, 0))


def none(rewards: Rewards, groups: Groups, lengths: Lengths) -> Float[np.ndarray, " n"]:
    """0: the reward teaches nothing, as in distillation alone."""
    return np.zeros(len(rewards))


ADVANTAGES: Mapping[str, Callable[[Rewards, Groups, Lengths], Float[np.ndarray, " n"]]] = {
    "grpo": grpo,
    "dr_grpo": dr_grpo,
    "rloo": rloo,
    "reinforce_pp": reinforce_pp,
    "reinforce_pp_baseline": reinforce_pp_baseline,
    "none": none,
}


def returns_to_go(
    rewards: Rewards, lengths: Lengths, gamma: float = 1.0
) -> Float[np.ndarray, "n t"]:
    """REINFORCE++ token by token: R_t = gamma R_(t+1), whitened over all tokens.

    Args:
        rewards: earned at the last token.
        lengths: trained tokens of each sample.
        gamma: discount of a token; with 1 this is `reinforce_pp` at every token.

    Returns:
        the first `lengths[i]` numbers of row i are of its tokens, the rest is 0.
    """
    known = judged(rewards)
    token = np.arange(max(lengths, default=0))
    earned = np.where(token == lengths[:, None] - 1, np.where(known, rewards, 0.0)[:, None], 0.0)
    trained = known[:, None] & (token < lengths[:, None])
    returns = np.zeros_like(earned)
    following = np.zeros(len(rewards))
    for t in reversed(token):
        following = earned[:, t] + gamma * following
        returns[:, t] = following
    return _whiten(returns, trained.astype(np.int64))


def per_token(
    name: str, rewards: Rewards, groups: Groups, lengths: Lengths, gamma: float = 1.0
) -> list[Float[np.ndarray, " t"]]:
    """The advantage of every trained token of each sample.

    Args:
        name: key of ADVANTAGES.
        rewards, groups, lengths: as there.
        gamma: discount of a token; below 1 only with "reinforce_pp", see `returns_to_go`.
    """
    if gamma < 1:
        returns = returns_to_go(rewards, lengths, gamma)
        return [row[:length] for row, length in zip(returns, lengths, strict=True)]
    gained = ADVANTAGES[name](rewards, groups, lengths)
    return [np.full(length, gain) for gain, length in zip(gained, lengths, strict=True)]


def overlong_penalty(
    lengths: Lengths, max_tokens: int = 20480, buffer: int = 4096
) -> Float[np.ndarray, " n"]:
    """What is added to the reward of a long reply: 0 … -1 (DAPO, arXiv:2503.14476, eq. 13).

    Args:
        lengths: tokens (not characters) of the replies.
        max_tokens: from here on it is -1.
        buffer: the last tokens before that, over which it falls linearly from 0; 0 turns it off.
    """
    if not buffer:
        return np.zeros(len(lengths))
    return np.clip((max_tokens - buffer - lengths) / buffer, -1.0, 0.0)


def _centred(rewards: Rewards, groups: Groups) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """r - mean of the judged of its group (0 without reward); each one's group; their counts."""
    known = judged(rewards)
    names, index = np.unique(groups, return_inverse=True)
    counts = np.bincount(index, known, len(names))
    sums = np.bincount(index, np.where(known, rewards, 0.0), len(names))
    means = sums / np.maximum(counts, 1)
    return np.where(known, rewards - means[index], 0.0), index, counts


def _whiten(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Values less their mean, over their standard deviation; each counts `counts` times."""
    total = counts.sum()
    if total < 2:
        return np.zeros(values.shape)
    mean = np.sum(counts * values) / total
    variance = np.sum(counts * (values - mean) ** 2) / (total - 1)
    return np.where(counts > 0, (values - mean) / np.sqrt(variance + WHITEN_EPSILON), 0.0)
