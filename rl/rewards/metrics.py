"""Metrics of rewards: means, pass@k and pass^k, rates and latencies, from exact statistics.

    pass@k = 1 − C(n−c, k) / C(n, k)    pass^k = C(c, k) / C(n, k)

of a group with n rewards, c of them successes, are the chances that of k of its rollouts one, or
all, succeed (Chen et al. 2021, arXiv:2107.03374; Yao et al. 2024, arXiv:2406.12045): unbiased, and
averaged over the groups that have k rewards or more. Errors and abstentions are no rewards; they
are counted apart.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from fractions import Fraction

from rl.rewards.statistics import PER_DECADE, Statistics
from rl.types import Kind

KINDS: tuple[Kind, ...] = ("value", "abstain", "error")
KS = (1, 2, 4, 8, 16, 32)


def pass_at(k: int, n: int, c: int) -> Fraction:
    """Chance that one of k of n rollouts, c of them successes, succeeds."""
    return 1 - Fraction(math.comb(n - c, k), math.comb(n, k))


def pass_all(k: int, n: int, c: int) -> Fraction:
    """Chance that all of k do."""
    return Fraction(math.comb(c, k), math.comb(n, k))


def summary(statistics: Statistics, ks: Iterable[int] = KS) -> dict[str, float]:
    """Names and numbers for the writers of `cogvit_jax.metrics`.

    reward/NUMBER, reward/source/NAME/NUMBER, reward/level/NAME/NUMBER, of the numbers rollouts,
    mean, std, pass_at_K, pass_all_K, abstain_rate, error_rate, and useless_rate (groups of two
    rewards or more that are all equal); and verifier/NAME/NUMBER, of value_rate, abstain_rate,
    error_rate, skipped_rate, seconds_p50, seconds_p99.
    """
    found: dict[str, float] = {}
    ks = tuple(ks)
    cells = sorted({(source, level) for source, level, _ in statistics.verdicts})
    for prefix, chosen in _sections(cells).items():
        found |= {f"{prefix}/{k}": v for k, v in _rewards(statistics, chosen, ks).items()}
    for name in sorted({name for name, _ in statistics.parts}):
        found |= {f"verifier/{name}/{k}": v for k, v in _verifier(statistics, name).items()}
    return found


def _sections(cells: list[tuple[str, str]]) -> dict[str, set[tuple[str, str]]]:
    sections = {"reward": set(cells)} if cells else {}
    for place, kind in enumerate(("source", "level")):
        for cell in cells:
            sections.setdefault(f"reward/{kind}/{cell[place]}", set()).add(cell)
    return sections


def _rewards(
    statistics: Statistics, cells: set[tuple[str, str]], ks: tuple[int, ...]
) -> Mapping[str, float]:
    count = {k: sum(statistics.verdicts[*cell, k] for cell in cells) for k in KINDS}
    total = sum(count.values())
    found = {"rollouts": float(total)}
    found |= {f"{kind}_rate": count[kind] / total for kind in ("abstain", "error")}
    if count["value"]:
        sums = [statistics.sums[cell] for cell in cells if cell in statistics.sums]
        mean = sum((a for a, _ in sums), Fraction(0)) / count["value"]
        square = sum((b for _, b in sums), Fraction(0)) / count["value"]
        found |= {"mean": float(mean), "std": math.sqrt(square - mean * mean)}
    groups = [g for g in statistics.groups.values() if g[:2] in cells]
    compared = [g for g in groups if g.rewards >= 2]
    if compared:
        useless = sum(g.least == g.most for g in compared)
        found["useless_rate"] = useless / len(compared)
    shapes = Counter((g.rewards, g.successes) for g in groups)
    for k in ks:
        fits = {shape: times for shape, times in shapes.items() if shape[0] >= k}
        if not fits:
            continue
        for name, chance in (("at", pass_at), ("all", pass_all)):
            whole = sum((chance(k, *shape) * times for shape, times in fits.items()), Fraction(0))
            found[f"pass_{name}_{k}"] = float(whole / sum(fits.values()))
    return found


def _verifier(statistics: Statistics, name: str) -> dict[str, float]:
    count = {k: n for (verifier, k), n in statistics.parts.items() if verifier == name}
    total = sum(count.values())
    found = {f"{kind}_rate": count.get(kind, 0) / total for kind in (*KINDS, "skipped")}
    seconds = {p: n for (verifier, p), n in statistics.seconds.items() if verifier == name}
    for percent in (50, 99) if seconds else ():
        found[f"seconds_p{percent}"] = percentile(seconds, percent)
    return found


def percentile(seconds: Mapping[int, int], percent: int) -> float:
    """Middle, on the logarithmic scale, of the bucket that so many percent do not exceed."""
    rank = -(-sum(seconds.values()) * percent // 100)
    place = 0
    for place in sorted(seconds):
        rank -= seconds[place]
        if rank <= 0:
            break
    return 10 ** ((place + 0.5) / PER_DECADE)
