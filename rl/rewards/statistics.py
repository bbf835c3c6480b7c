"""Statistics of rewards, per source and level, that many hosts can put together exactly.

Every number here is an integer or a fraction, and `merge` adds them up: the outcome is the same
however rollouts were spread over hosts, even where a group's rollouts were, and in whichever order
hosts are merged. `rl.rewards.metrics` makes floats of them.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

from rl.types import Rollout, Verdict

VERSION = 1
PER_DECADE = 10  # steps of a latency histogram: each bucket is 26% wide
FIRST, LAST = -50, 40  # 10^(i / PER_DECADE) seconds: 10 µs … 10,000 s


class Group(NamedTuple):
    """Rollouts of one task that are compared: its source and level, and its rewards."""

    source: str
    level: str
    rewards: int = 0
    successes: int = 0
    least: float = math.inf
    most: float = -math.inf

    def plus(self, other: "Group") -> "Group":
        """Both parts of a group."""
        return self._replace(
            rewards=self.rewards + other.rewards,
            successes=self.successes + other.successes,
            least=min(self.least, other.least),
            most=max(self.most, other.most),
        )


@dataclass
class Statistics:
    """What is known of the rollouts of a stretch of training.

    Attributes:
        success: least reward that counts as a success.
        groups: by the group's name.
        verdicts: (source, level, kind) -> how many.
        sums: (source, level) -> sum of rewards, and of their squares.
        parts: (verifier, kind) -> how many, of the verifiers that rewards are made of.
        seconds: (verifier, bucket) -> how many took so long.
    """

    success: float = 1.0
    groups: dict[str, Group] = field(default_factory=dict)
    verdicts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    sums: dict[tuple[str, str], tuple[Fraction, Fraction]] = field(default_factory=dict)
    parts: Counter[tuple[str, str]] = field(default_factory=Counter)
    seconds: Counter[tuple[str, int]] = field(default_factory=Counter)

    def add(self, rollout: Rollout, verdict: Verdict, group: str) -> None:
        """One rollout's verdict from `RewardSystem.score`.

        Args:
            rollout: what was judged.
            verdict: of it.
            group: the same for rollouts that are compared, on whichever hosts they are.
        """
        self.count(rollout.task.source, rollout.task.level, verdict, group)

    def count(self, source: str, level: str, verdict: Verdict, group: str) -> None:
        """One verdict on a rollout that is not at hand; see `add`."""
        self.verdicts[source, level, verdict.kind] += 1
        mine = Group(source, level)
        if verdict.value is not None:
            value, exact = verdict.value, Fraction(verdict.value)
            self._add_sums((source, level), (exact, exact * exact))
            mine = Group(source, level, 1, int(value >= self.success), value, value)
        self._add_group(group, mine)
        for name, part in verdict.details.get("parts", {}).items():
            self.parts[name, part["kind"]] += 1
            if "seconds" in part:
                self.seconds[name, bucket(part["seconds"])] += 1

    def merge(self, other: "Statistics") -> None:
        """Adds what another host has seen.

        Raises:
            ValueError: it counts other rewards as successes, or takes a group for another source's.
        """
        if other.success != self.success:
            raise ValueError(f"success = {self.success} here and {other.success} there")
        self.verdicts += other.verdicts
        self.parts += other.parts
        self.seconds += other.seconds
        for key, sums in other.sums.items():
            self._add_sums(key, sums)
        for name, group in other.groups.items():
            self._add_group(name, group)

    def _add_sums(self, key: tuple[str, str], sums: tuple[Fraction, Fraction]) -> None:
        before = self.sums.get(key, (Fraction(0), Fraction(0)))
        self.sums[key] = (before[0] + sums[0], before[1] + sums[1])

    def _add_group(self, name: str, group: Group) -> None:
        before = self.groups.get(name, Group(group.source, group.level))
        if before[:2] != group[:2]:
            raise ValueError(f"group {name!r} is of {before[:2]} and of {group[:2]}")
        self.groups[name] = before.plus(group)


def merged(statistics: Iterable[Statistics]) -> Statistics:
    """All together.

    Raises:
        ValueError: there are none, or they do not fit together.
    """
    first, *others = statistics
    whole = Statistics(first.success)
    for one in (first, *others):
        whole.merge(one)
    return whole


def dumps(statistics: Statistics) -> str:
    """As text, to be sent to another host; equal statistics are equal texts."""
    sums = [(*key, str(a), str(b)) for key, (a, b) in sorted(statistics.sums.items())]
    groups = {
        name: [*g[:4], *(g[4:] if g.rewards else ())] for name, g in statistics.groups.items()
    }
    counters = {
        name: [[*key, n] for key, n in sorted(getattr(statistics, name).items())]
        for name in ("verdicts", "parts", "seconds")
    }
    fields = {"version": VERSION, "success": statistics.success, "groups": groups, "sums": sums}
    return json.dumps(fields | counters, sort_keys=True)


def loads(text: str) -> Statistics:
    """What `dumps` wrote.

    Raises:
        ValueError: another version did.
    """
    fields = json.loads(text)
    if fields["version"] != VERSION:
        raise ValueError(f"statistics of version {fields['version']}; this is {VERSION}")
    return Statistics(
        fields["success"],
        {name: Group(*group) for name, group in fields["groups"].items()},
        Counter({(s, level, k): n for s, level, k, n in fields["verdicts"]}),
        {(s, level): (Fraction(a), Fraction(b)) for s, level, a, b in fields["sums"]},
        Counter({(name, kind): n for name, kind, n in fields["parts"]}),
        Counter({(name, place): n for name, place, n in fields["seconds"]}),
    )


def bucket(seconds: float) -> int:
    """The histogram's place of a latency; too short or too long go to the first and last."""
    if not seconds > 0:
        return FIRST
    return min(LAST, max(FIRST, math.floor(math.log10(seconds) * PER_DECADE)))
