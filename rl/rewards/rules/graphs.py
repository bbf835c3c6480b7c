"""Graphs as lists of edges: the exact set of named edges, or the same shape whatever the names.

    edges(A, G)       = 1 where both have the same edges, else 0
    isomorphic(A, G)  = 1 where some renaming of nodes makes them the same, else 0

An edge that is said twice, or one from a node to itself, spoils the answer, so listing every pair
or repeating cannot help. Isomorphism is looked for (networkx, VF2) only among graphs of equal
degrees and at most MAX_NODES nodes, so that no answer is slow.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from rl.answers.json_answer import parse_json
from rl.types import Json

MAX_NODES = 10
MAX_EDGES = 60
Edge = tuple[str, str]

_NODE = r"([A-Za-z0-9]{1,4})"
_EDGE = re.compile(rf"{_NODE}\s*(?:->|→|-|–)\s*{_NODE}|\(\s*{_NODE}\s*,\s*{_NODE}\s*\)", re.ASCII)
_COMMA = re.compile(r"\s*[,，;；]\s*|\s+")


def parse_edges(answer: str, directed: bool) -> list[Edge] | None:
    """Edges as "A-B, B-C", "A->B", "(A,B), (B,C)" or JSON [["A","B"],…]; None for anything else.

    Without direction the smaller name comes first. None also where an edge comes twice or joins a
    node with itself, or there are more than MAX_EDGES.
    """
    said = answer.strip()
    if len(said) > 20 * MAX_EDGES:
        return None
    edges = _from_json(said) if said[:1] == "[" else _from_text(said)
    if not edges or len(edges) > MAX_EDGES:
        return None
    kept = [edge if directed else ordered(edge) for edge in edges]
    one_of_each = len(set(kept)) == len(kept) and all(a != b for a, b in kept)
    return kept if one_of_each else None


def ordered(edge: Sequence[str]) -> Edge:
    """The edge with the smaller name first."""
    first, second = sorted(edge)
    return first, second


def edges(answer: str, reference: Mapping[str, Json]) -> float:
    """1 where the answer has exactly reference["edges"]; reference["directed"] says how."""
    said = parse_edges(answer, reference["directed"])
    return float(said is not None and set(said) == _gold(reference))


def isomorphic(answer: str, reference: Mapping[str, Json]) -> float:
    """1 where the answer's graph has the shape of reference["edges"]."""
    said, gold = parse_edges(answer, reference["directed"]), _gold(reference)
    if said is None:
        return 0.0
    return float(same_shape(said, sorted(gold), reference["directed"]))


def same_shape(one: Sequence[Edge], other: Sequence[Edge], directed: bool) -> bool:
    """Whether two lists of edges are isomorphic; False for more than MAX_NODES nodes."""
    if len(one) != len(other) or _degrees(one, directed) != _degrees(other, directed):
        return False
    if len({node for edge in one for node in edge}) > MAX_NODES:
        return False
    import networkx

    kind = networkx.DiGraph if directed else networkx.Graph
    return bool(networkx.is_isomorphic(kind(list(one)), kind(list(other))))


def _gold(reference: Mapping[str, Json]) -> set[Edge]:
    gold = [(a, b) for a, b in reference["edges"]]
    return {edge if reference["directed"] else ordered(edge) for edge in gold}


def _degrees(edges: Sequence[Edge], directed: bool) -> list[tuple[int, int]]:
    """(out, in) degrees, or the degree twice, in order."""
    out, into = Counter(a for a, _ in edges), Counter(b for _, b in edges)
    if not directed:
        out = into = out + into
    return sorted((out[node], into[node]) for node in set(out) | set(into))


def _from_json(said: str) -> list[Edge] | None:
    value = parse_json(said, max_depth=2)
    if not isinstance(value, list):
        return None
    edges = []
    for edge in value:
        if not isinstance(edge, list) or len(edge) != 2:
            return None
        names = [str(node) if isinstance(node, int) else node for node in edge]
        if not all(isinstance(node, str) and 1 <= len(node) <= 4 for node in names):
            return None
        edges.append((names[0], names[1]))
    return edges


def _from_text(said: str) -> list[Edge] | None:
    edges, place = [], 0
    while True:
        match = _EDGE.match(said, place)
        if not match or len(edges) == MAX_EDGES:
            return None
        edges.append((match[1] or match[3], match[2] or match[4]))
        place = match.end()
        if place == len(said):
            return edges
        comma = _COMMA.match(said, place)
        if not comma:
            return None
        place = comma.end()
