"""Bars of random baselines, as a matplotlib figure."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from rl.envs.category import Category
from rl.viewing.episodes import Baseline

HEIGHT = 0.2  # inches of a bar
GROUPS = ("#4c72b0", "#dd8452")  # neighbouring groups differ


def baselines(categories: Mapping[str, Category], found: Mapping[str, Baseline]) -> Figure:
    """A bar of each category's mean, those of a group together; a dot of the easiest difficulty.

    Args:
        categories: name -> category; more than were measured are welcome.
        found: name -> what blind guesses got.
    """
    order = list(dict.fromkeys(one.group for one in categories.values()))
    names = sorted(found, key=lambda name: order.index(categories[name].group))
    groups = list(dict.fromkeys(categories[name].group for name in names))
    colours = [GROUPS[groups.index(categories[name].group) % 2] for name in names]
    figure = Figure(figsize=(8, 1.2 + HEIGHT * len(names)), layout="constrained")
    axes = figure.subplots()
    places = range(len(names))
    axes.barh(places, [found[name].mean for name in names], color=colours, label="all difficulties")
    easiest = [found[name].means[0] for name in names]
    axes.plot(easiest, places, "k.", markersize=4, clip_on=False, label="difficulty 0")
    axes.set_yticks(places, [f"{name} ({categories[name].group})" for name in names], fontsize=7)
    axes.set(xlim=(0, 1), ylim=(len(names) - 0.4, -0.6), xlabel="mean score of blind guesses")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="lower right", fontsize=8)
    return figure
