"""Tables that were read: as CSV, by the numbers found under their names; as HTML, by their trees.

DePlot's relative mapping similarity and PubTabNet's TEDS, both with a gate of one half. Holes that
are closed: keys with digits must be equal (2023 is not three quarters of 2024), a wrong number
earns nothing, and a table too large to be half right is refused before anything slow is done, so
a megabyte of cells or tags costs no more than its length.
"""

import csv
import io
from collections.abc import Mapping
from decimal import Decimal

import numpy as np

from rl.answers.html_table import Node, parse_table
from rl.answers.numbers import parse_number
from rl.rewards.rules.fields import similarity
from rl.rewards.rules.text import normalise
from rl.types import Json

GATE = 0.5
MAX_CHARACTERS = 50_000
MAX_ERROR = Decimal("0.15")  # a number that is further off earns nothing

Entry = tuple[str, str, str]  # row's key, column's key, value


def mapping_f1(answer: str, reference: Mapping[str, Json]) -> float:
    """F1 of the entries (row, column, value) of a CSV table, 0 below one half.

    2 Σ s / (predicted + true entries), s over the best one-to-one matching, where
    s = similarity(row) · similarity(column) · (1 − |p − t| / |t|), of `fields.similarity` and with
    relative errors above MAX_ERROR counted as 1.

    Args:
        answer: CSV, its first line the columns' names, its first column the rows'.
        reference: "csv": the true one; "units": of its numbers, or none.
    """
    gold, said = parse_csv(reference["csv"]), parse_csv(answer)
    if not gold or not said or len(said) * GATE > len(gold) * (2 - GATE):
        return 0.0  # with so many, even all the true ones among them do not reach the gate
    if _corner(answer) not in ("", _corner(reference["csv"])):
        return 0.0  # words before a table begin in its corner: "not item,value"
    from scipy.optimize import linear_sum_assignment

    similar = _similarities(said, gold, tuple(reference.get("units", ())))
    rows, columns = linear_sum_assignment(-similar)
    f1 = 2 * float(similar[rows, columns].sum()) / (len(said) + len(gold))
    return f1 if f1 >= GATE else 0.0


def parse_csv(answer: str) -> list[Entry] | None:
    """The entries of a CSV table; None where it is none: ragged, or without rows or columns."""
    if len(answer) > MAX_CHARACTERS:
        return None
    try:
        lines = [line for line in csv.reader(io.StringIO(answer.strip()), strict=True) if line]
    except csv.Error:
        return None
    if len(lines) < 2 or len(lines[0]) < 2 or len({len(line) for line in lines}) > 1:
        return None
    names = [normalise(name) for name in lines[0][1:]]
    return [
        (normalise(line[0]), name, value.strip())
        for line in lines[1:]
        for name, value in zip(names, line[1:], strict=True)
    ]


def _corner(table: str) -> str:
    """Of a CSV table that can be read: what stands over its rows' names."""
    return normalise(next(csv.reader(io.StringIO(table.strip()), strict=True))[0])


def _similarities(said: list[Entry], gold: list[Entry], units: tuple[str, ...]) -> np.ndarray:
    """[said, gold], 0 … 1."""
    keys: dict[tuple[str, str], float] = {}
    found = np.zeros((len(said), len(gold)))
    for j, (row, column, value) in enumerate(gold):
        for i, (said_row, said_column, said_value) in enumerate(said):
            for pair in ((said_row, row), (said_column, column)):
                if pair not in keys:
                    keys[pair] = similarity(*pair)
            share = keys[said_row, row] * keys[said_column, column]
            if share:
                found[i, j] = share * _value_similarity(said_value, value, units)
    return found


def _value_similarity(said: str, gold: str, units: tuple[str, ...]) -> float:
    truth, number = parse_number(gold, units), parse_number(said, units)
    if truth is None:
        return similarity(said, gold)
    if number is None or not truth:
        return float(number == truth)
    error = abs(number - truth) / abs(truth)
    return 1 - float(error) if error <= MAX_ERROR else 0.0


def teds(answer: str, reference: Mapping[str, Json]) -> float:
    """TEDS = 1 − TED / max(nodes) of two tables, 0 below one half.

    To insert or delete a node costs 1, to rename one to another tag or another span 1, and to
    rewrite a cell the normalised edit distance of its texts. Sections are left out, and th is td.

    Args:
        answer: one HTML table and nothing else.
        reference: "html": the true one.
    """
    gold, said = parse_table(reference["html"]), parse_table(answer)
    if gold is None or said is None:
        return 0.0
    if said == gold:
        return 1.0
    sizes = sorted((gold.size, said.size))
    if sizes[0] < GATE * sizes[1]:  # TED is at least the difference of the sizes
        return 0.0
    score = 1 - tree_distance(said, gold) / sizes[1]
    return score if score >= GATE else 0.0


def tree_distance(one: Node, other: Node) -> float:
    """The least cost of turning one tree into the other; O(n³) for n nodes."""
    from apted import APTED, Config

    class Costs(Config):
        """Of TEDS."""

        def rename(self, node1: Node, node2: Node) -> float:  # pyright: ignore
            return rename_cost(node1, node2)

        def children(self, node: Node) -> tuple[Node, ...]:
            return node.children

    return float(APTED(one, other, Costs()).compute_edit_distance())


def rename_cost(one: Node, other: Node) -> float:
    """0 … 1, of making a node into another."""
    from rapidfuzz.distance import Levenshtein

    if one.tag != other.tag or one.spans != other.spans:
        return 1.0
    return float(Levenshtein.normalized_distance(one.text, other.text))
