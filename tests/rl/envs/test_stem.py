"""STEM: contracts, and that the pictures show what the references say."""

import math
from itertools import combinations

import numpy as np
import pytest
from scipy import ndimage

from mmtp.data.tasks.scenes import PALETTE
from rl import envs
from rl.answers.reply import boxed
from rl.envs import (
    function_graph,
    graph_structure,
    molecule_formula,
    physics_diagram,
    plane_geometry,
)
from rl.envs.category import make_task
from rl.envs.drawing import draw_graphs
from rl.envs.environment import judge, play
from rl.envs.parts import geometry_problems
from rl.rewards.rules import graphs, math_equal

CATEGORIES = {
    module.CATEGORY.name: module.CATEGORY
    for module in (
        plane_geometry,
        function_graph,
        physics_diagram,
        graph_structure,
        molecule_formula,
    )
}


@pytest.mark.parametrize("name", CATEGORIES)
def test_it_is_one_of_the_gym(name):
    assert envs.CATEGORIES[name] is CATEGORIES[name]
    assert CATEGORIES[name].group == "stem"


def said(category, task, answer):
    return judge(category, play(category, task, (boxed(answer),))).value


def real(text):
    """The number that an exact value is."""
    value = math_equal.value(text)
    assert value is not None
    return sum(float(c) * math.sqrt(n) * math.pi**k for (n, k, _), c in value.items())


def figures():
    rng = np.random.default_rng(0)
    kinds = [kind for level in geometry_problems.KINDS for kind in level]
    return [(kind.__name__, kind(rng)) for kind in kinds for _ in range(8)]


@pytest.mark.parametrize(("name", "problem"), figures())
def test_figures_are_true_to_scale(name, problem):
    """Lengths are in the ratio of their labels, angles are as labelled, the answer among them."""
    points = problem.figure.points
    units = []
    for ends, label in (*problem.figure.sides, *problem.figure.inner):
        if label == "a":
            continue
        length = math.dist(points[ends[0]], points[ends[1]])
        units.append(length / real(problem.answer if label == "x" else label))
    assert np.allclose(units, units[:1] * len(units), rtol=1e-6), (name, problem)
    for (one, tip, other), label in problem.figure.angles:
        arms = [np.subtract(points[end], points[tip]) for end in (one, other)]
        cosine = arms[0] @ arms[1] / math.hypot(*arms[0]) / math.hypot(*arms[1])
        shown = "90" if not label else problem.answer if label == "x" else label.removesuffix("°")
        assert math.isclose(math.degrees(math.acos(cosine)), real(shown), abs_tol=1e-4), name
    if problem.asks in ("area", "shaded"):
        corners = np.array([points[p] for p in problem.figure.outlines[0]])
        x, y = corners[:, 0], corners[:, 1]
        area = abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
        if problem.figure.holes:
            area -= math.pi * problem.figure.circles[0][1] ** 2
        assert math.isclose(area / units[0] ** 2, real(problem.answer), rel_tol=0.005), name


@pytest.mark.parametrize("seed", range(12))
def test_equal_forms_of_an_answer_are_right(seed):
    task = make_task(plane_geometry.CATEGORY, seed, seed % 5)
    gold = task.reference["answer"]
    for form in (f"({gold})", f"2*({gold})/2", f"\\frac{{{gold}}}{{1}}", f"$ {gold} $"):
        assert said(plane_geometry.CATEGORY, task, form) == 1.0


@pytest.mark.parametrize("seed", range(8))
def test_the_line_crosses_the_axis_where_it_is_said(seed):
    task = make_task(function_graph.CATEGORY, seed, 0)
    pixels = task.observation.parts[0].data.astype(int)
    side = len(pixels)
    unit = (side - 16) / 10
    inks = [np.array(PALETTE[name][1]) for name in function_graph.INKS]
    coloured = min(
        np.abs(
            pixels[round(side / 2 - unit * int(task.reference["answer"])), side // 2 + d] - ink
        ).sum()
        for ink in inks
        for d in (-1, 0, 1)
    )
    assert coloured < 150


def test_formulas_in_any_form_are_right():
    for seed in range(6):
        task = make_task(function_graph.CATEGORY, seed, 4)
        gold = task.reference["answer"]
        for form in (f"y = {gold}", f"f(x)={gold}", f"{gold}+x-x", f"x*0+{gold}"):
            assert said(function_graph.CATEGORY, task, form) == 1.0
        for form in (f"y = {gold}+x", f"z = {gold}", f"{gold} = y", f"y = {gold}, y = x"):
            assert said(function_graph.CATEGORY, task, form) == 0.0


def test_quantities_in_other_units_are_right():
    factors = {"N": (1000, "mN"), "°": (1, "degrees"), "cm": (10, "mm"), "A": (1000, "mA"),
               "ohm": (1000, "mohm"), "mA": (1000, "uA")}  # fmt: skip
    for seed in range(20):
        task = make_task(physics_diagram.CATEGORY, seed, seed % 5)
        number, unit = task.reference["answer"].split(" ")
        factor, other = factors[unit]
        assert said(physics_diagram.CATEGORY, task, f"{int(number) * factor} {other}") == 1.0
        wrong = f"{int(number) * factor + 1} {other}"
        assert said(physics_diagram.CATEGORY, task, wrong) == 0.0


@pytest.mark.parametrize("seed", range(10))
def test_edges_are_drawn_and_no_others(seed):
    """Along an edge there is ink all the way; between other nodes there is not."""
    rng = np.random.default_rng(seed)
    spots = draw_graphs.places(rng, 5, 168)
    edges = graph_structure._edges(rng, 5, spots)
    ink = draw_graphs.graph(spots, "ABCDE", edges, False, 168, (0, 0, 255)).min(axis=2) < 200
    wide = ndimage.binary_dilation(ink)
    for a, b in combinations(range(5), 2):
        share = np.linspace(0.2, 0.8, 60)[:, None]
        x, y = (np.array(spots[a]) * (1 - share) + np.array(spots[b]) * share).astype(int).T
        assert wide[y, x].all() == ((a, b) in edges or (b, a) in edges)


def test_graphs_hang_together_and_some_are_renamed():
    for seed in range(10):
        task = make_task(graph_structure.CATEGORY, seed, 4)
        edges = [tuple(edge) for edge in task.reference["edges"]]
        seen = {edges[0][0]}
        for _ in edges:
            seen |= {node for edge in edges if set(edge) & seen for node in edge}
        assert seen == set(task.reference["nodes"])
        if not task.reference["named"]:
            turned = [(f"{8 - int(a)}", f"{8 - int(b)}") for a, b in edges]
            assert graphs.same_shape(edges, turned, False)
            answer = ", ".join(f"{a}-{b}" for a, b in turned)
            assert said(graph_structure.CATEGORY, task, answer) == 1.0


@pytest.mark.parametrize("seed", range(8))
def test_atoms_can_be_counted(seed):
    """Discs of an element's colour, counted in the picture."""
    task = make_task(molecule_formula.CATEGORY, seed, seed % 5)
    pixels = task.observation.parts[0].data.astype(int)
    y, x = np.mgrid[-8:9, -8:9]
    ring = np.abs(np.hypot(x, y) - 7.6) < 0.6  # around the letter
    for atom, ink in draw_graphs.ATOM_INKS.items():
        near = np.abs(pixels - np.array(ink)).sum(axis=2) < 8
        count = ndimage.label(ndimage.binary_erosion(near, ring), np.ones((3, 3)))[1]
        assert count == task.reference["atoms"].get(atom, 0), atom
