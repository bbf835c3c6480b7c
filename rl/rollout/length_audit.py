"""Are the samples that are trained on as long as those that were issued?

Throwing away what is late starves long replies without a trace in the rewards. The audit holds,
per source, how many samples of each length were issued, trained, dropped and left out, and how
often one was aborted at which length. Lengths above EXACT tokens are rounded down to 8 bits, so
that memory is bounded: a few thousand numbers per source, whatever the run.
"""

import math
from collections import Counter
from collections.abc import Mapping
from typing import TypeAlias

EXACT = 4096
# issued: the episode's last reply has ended, or it was given up; trained, dropped, left_out: the
# end of each of those; aborted: tokens at an abort, which is no end.
KINDS = ("issued", "trained", "dropped", "left_out", "aborted")
Audit: TypeAlias = dict[str, dict[str, Counter[int]]]


def count(audit: Audit, source: str, kind: str, length: int) -> None:
    """Adds a sample of so many tokens."""
    if source not in audit:
        audit[source] = {name: Counter() for name in KINDS}
    audit[source][kind][binned(length)] += 1


def binned(length: int) -> int:
    """`length` itself up to EXACT; above, its 8 leading bits."""
    if length <= EXACT:
        return length
    low = length.bit_length() - 8
    return length >> low << low


def ks_distance(first: Mapping[int, int], second: Mapping[int, int]) -> float:
    """Two-sample Kolmogorov-Smirnov statistic sup |F₁ − F₂| of histograms; 0 if one is empty."""
    sizes = sum(first.values()), sum(second.values())
    if not all(sizes):
        return 0.0
    below, distance = [0, 0], 0.0
    for length in sorted(first.keys() | second.keys()):
        below[0] += first.get(length, 0)
        below[1] += second.get(length, 0)
        distance = max(distance, abs(below[0] / sizes[0] - below[1] / sizes[1]))
    return distance


def ks_limit(first: int, second: int) -> float:
    """What two samples of one distribution exceed once in 100 times: 1.628 √((n + m) / nm)."""
    return 1.628 * math.sqrt((first + second) / (first * second)) if first and second else 1.0


def report(audit: Audit) -> dict[str, dict[str, float]]:
    """Per source, and for all together under "": samples and mean length of each kind, and "ks".

    "ks" is the distance between the lengths that were trained and issued, "ks_limit" the distance
    above which it is hardly chance. While a run goes on, the samples that wait for the rest of
    their group are issued and not trained yet; at its end, or over few of many groups, that is
    nothing.
    """
    everything = {kind: Counter[int]() for kind in KINDS}
    for kinds in audit.values():
        for kind in KINDS:
            everything[kind].update(kinds[kind])
    return {source: _figures(kinds) for source, kinds in (audit | {"": everything}).items()}


def _figures(kinds: Mapping[str, Counter[int]]) -> dict[str, float]:
    figures = {}
    for kind, lengths in kinds.items():
        num = figures[f"num_{kind}"] = lengths.total()
        tokens = sum(length * times for length, times in lengths.items())
        figures[f"mean_{kind}"] = tokens / num if num else 0.0
    issued, trained = kinds["issued"], kinds["trained"]
    figures["ks"] = ks_distance(issued, trained)
    figures["ks_limit"] = ks_limit(issued.total(), trained.total())
    return figures
