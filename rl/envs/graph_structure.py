"""The edges of a drawn graph: by the nodes' names, or its shape where they have none."""

from collections.abc import Mapping
from itertools import combinations

import numpy as np

from cogvit_jax.data.rendering.canvas import COLOURS, pick
from mmtp.data.records import Image, Text
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, by_answer
from rl.envs.drawing import draw_graphs
from rl.rewards.rules import graphs
from rl.types import Json, Task

LETTERS = "ABCDEFGH"
ASKS = {
    ("named", False): {
        "en": "List all lines of the graph by the letters at their ends, in the form A-B, C-D.",
        "zh": "用两端的字母列出图中所有的线，形式为A-B, C-D。",
    },
    ("named", True): {
        "en": "List all arrows of the graph from start to head, in the form A->B, C->D.",
        "zh": "列出图中所有的箭头，从起点到箭头，形式为A->B, C->D。",
    },
    ("bare", False): {
        "en": "Number the nodes from 1 as you like and list all lines, in the form 1-2, 2-3.",
        "zh": "请从1开始任意给节点编号，列出所有的线，形式为1-2, 2-3。",
    },
}


def draw(context: Draw) -> Drawn:
    """A connected graph of 3 … 7 nodes."""
    rng, difficulty, language = context
    count = 3 + difficulty
    named = bool(difficulty < 2 or rng.random() < 0.6)
    directed = bool(named and difficulty > 0 and rng.random() < 0.5)
    side = 112 + 28 * difficulty
    spots = draw_graphs.places(rng, count, side)
    edges = _edges(rng, count, spots)
    if directed:
        edges = [(b, a) if rng.random() < 0.5 else (a, b) for a, b in edges]
    names = list(LETTERS[:count]) if named else [""] * count
    pixels = draw_graphs.graph(spots, names, edges, directed, side, pick(rng, COLOURS)[2])
    called = names if named else [str(i + 1) for i in range(count)]
    reference = {
        "edges": [[called[a], called[b]] for a, b in edges],
        "nodes": called,
        "directed": directed,
        "named": named,
    }
    return Drawn(
        (Image(pixels), Text(ASKS["named" if named else "bare", directed][language])), reference
    )


def _edges(
    rng: np.random.Generator, count: int, spots: list[tuple[float, float]]
) -> list[tuple[int, int]]:
    """A tree and some more, never all pairs; no line comes near a third node."""
    clear = [
        (a, b)
        for a, b in combinations(range(count), 2)
        if all(
            draw_graphs.distance_to_line(spots[c], spots[a], spots[b]) > draw_graphs.CLEAR
            for c in range(count)
            if c not in (a, b)
        )
    ]
    pairs = [clear[i] for i in rng.permutation(len(clear))]
    most = min(len(pairs), count * (count - 1) // 2 - 1)
    wanted = int(rng.integers(count - 1, min(most, count + 2) + 1))
    group = list(range(count))
    chosen = []
    for a, b in pairs:  # Kruskal: those that join two parts
        if group[a] != group[b]:
            chosen.append((a, b))
            group = [group[a] if g == group[b] else g for g in group]
    more = [pair for pair in pairs if pair not in chosen]
    return chosen + more[: max(0, wanted - len(chosen))]


def score(answer: str, reference: Mapping[str, Json]) -> float:
    """By names, or by shape."""
    rule = graphs.edges if reference["named"] else graphs.isomorphic
    return rule(answer, reference)


def oracle(task: Task) -> Replies:
    """All edges."""
    return (boxed(_said(task.reference["edges"], task)),)


def distractors(task: Task) -> list[Replies]:
    """One edge less or more, one twice, one turned, all pairs, the names alone."""
    edges, nodes = task.reference["edges"], task.reference["nodes"]
    there = {frozenset(edge) for edge in edges}
    absent = [list(pair) for pair in combinations(nodes, 2) if frozenset(pair) not in there]
    wrong = [edges[1:], [*edges, absent[0]], [*edges, edges[0]], [*edges, [nodes[0], nodes[0]]]]
    wrong += [list(map(list, combinations(nodes, 2))), [*edges, [nodes[0], "Z"]]]
    if task.reference["named"]:
        wrong.append([*edges[1:], absent[0]])
    if task.reference["directed"]:
        wrong += [
            [[b, a] for a, b in edges],
            [edges[0][::-1], *edges[1:]],
            [*edges, edges[0][::-1]],
        ]
    said = [_said(one, task) for one in wrong] + ["", "".join(nodes), ", ".join(nodes), "[]"]
    said.append(_said(edges, task) + " or " + _said(edges[1:], task))
    return [(boxed(answer),) for answer in said]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """A random tree, and one edge more at times."""
    nodes = task.reference["nodes"]
    edges = [[nodes[int(rng.integers(i))], nodes[i]] for i in range(1, len(nodes))]
    if rng.random() < 0.5:
        edges.append(sorted(str(n) for n in rng.choice(nodes, 2, replace=False)))
    if task.reference["directed"]:
        edges = [edge[::-1] if rng.random() < 0.5 else edge for edge in edges]
    return (boxed(_said(edges, task)),)


def _said(edges: list[list[str]], task: Task) -> str:
    joint = "->" if task.reference["directed"] else "-"
    return ", ".join(joint.join(edge) for edge in edges)


CATEGORY = Category(
    name="graph_structure",
    group="stem",
    level="step",
    benchmark="MathVista, ChartMimic-like diagram reading",
    scale="nodes: 3 … 7; arrows from 1 on, nodes without names from 2 on",
    draw=draw,
    score=by_answer(score),
    oracle=oracle,
    distractors=distractors,
    guess=guess,
)
