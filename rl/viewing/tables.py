"""Tables in the terminal: which categories there are, and what was measured of them."""

from collections import Counter
from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from rl.envs.category import Category
from rl.types import LEVELS
from rl.viewing.measures import Measured


def categories(found: Mapping[str, Category]) -> Table:
    """All categories, those of a group together."""
    table = Table("name", "group", "level", "benchmark", "what grows with the difficulty")
    table.add_column("turns", justify="right")
    groups = list(dict.fromkeys(category.group for category in found.values()))
    for group in groups:
        for one in found.values():
            if one.group == group:
                cells = (one.name, one.group, one.level, one.benchmark, one.scale, one.max_turns)
                table.add_row(*(Text(str(cell)) for cell in cells))
        table.add_section()
    return table


def totals(found: Mapping[str, Category]) -> Table:
    """How many categories there are of each group and level."""
    table = Table("group")
    for level in (*LEVELS, "all"):
        table.add_column(level, justify="right")
    groups = list(dict.fromkeys(category.group for category in found.values()))
    for group in groups:
        counts = Counter(one.level for one in found.values() if one.group == group)
        table.add_row(group, *_counted(counts))
    table.add_section()
    table.add_row("all", *_counted(Counter(one.level for one in found.values())))
    return table


def measured(found: Sequence[Measured]) -> Table:
    """The figures of a report."""
    table = Table("category", "group")
    for name in ("random", "oracle = 1", "distractors = 0", "ms per task", "ms per verdict"):
        table.add_column(name, justify="right")
    for one in found:
        table.add_row(
            one.category.name,
            one.category.group,
            f"{one.baseline.mean:.3f}",
            _share(one, "oracle"),
            _share(one, "distractor"),
            f"{one.draw_ms:.1f}",
            f"{one.judge_ms:.1f}",
        )
    return table


def _share(one: Measured, kind: str) -> Text:
    right, of = one.expected[kind]
    return Text(f"{right}/{of}", style="" if right == of else "bold red")


def _counted(counts: Counter[str]) -> list[str]:
    return [*(str(counts[level] or "") for level in LEVELS), str(sum(counts.values()))]
