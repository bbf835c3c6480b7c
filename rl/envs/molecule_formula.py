"""The formula of a drawn molecule: how many atoms of each element it has."""

import math

import numpy as np

from cogvit_jax.data.rendering.canvas import Point, pick
from mmtp.data.records import Image, Text
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, by_answer
from rl.envs.drawing import draw_graphs
from rl.rewards.rules import formulas
from rl.types import Task

ASK = {
    "en": "What is the molecular formula? Answer with it alone, in plain characters (C2H6O).",
    "zh": "分子式是什么？只回答分子式，用普通的字母和数字，如C2H6O。",
}
FREE = {"C": 4, "N": 3, "O": 2, "S": 2, "H": 1, "F": 1}  # bonds of an atom
STEP = 30.0  # pixels between neighbours
_AROUND = ((1, 0), (0, 1), (0, -1), (-1, 0))
Grid = tuple[int, int]


def draw(context: Draw) -> Drawn:
    """Atoms on a square grid, each with as many bonds as its element has."""
    rng, difficulty, language = context
    atoms, bonds = _grown(rng, 1 + difficulty)
    low = [min(place[k] for place in atoms) for k in (0, 1)]
    high = [max(place[k] for place in atoms) for k in (0, 1)]
    size = [28 * math.ceil((STEP * (b - a) + 34) / 28) for a, b in zip(low, high, strict=True)]
    shift = [(whole - STEP * (a + b)) / 2 for whole, a, b in zip(size, low, high, strict=True)]
    order = list(atoms)
    spots: list[Point] = [(shift[0] + STEP * x, shift[1] + STEP * y) for x, y in order]
    lines = [(order.index(a), order.index(b), n) for (a, b), n in bonds.items()]
    pixels = draw_graphs.molecule(
        spots, [atoms[place] for place in order], lines, (size[0], size[1])
    )
    counts = {symbol: list(atoms.values()).count(symbol) for symbol in FREE}
    reference = {"atoms": {symbol: n for symbol, n in counts.items() if n}}
    return Drawn((Image(pixels), Text(ASK[language])), reference)


def _grown(
    rng: np.random.Generator, heavy: int
) -> tuple[dict[Grid, str], dict[tuple[Grid, Grid], int]]:
    """A tree of `heavy` atoms that are no hydrogen, and hydrogen or fluorine where bonds are free.

    Every atom but the first hangs on an earlier one; the four neighbours of a place are its room.
    """
    atoms: dict[Grid, str] = {(0, 0): "C" if heavy > 1 else pick(rng, ("C", "N", "O", "S"))}
    bonds: dict[tuple[Grid, Grid], int] = {}
    while len(atoms) < heavy:
        at = pick(rng, list(atoms))
        free = _room(at, atoms)
        if _used(at, bonds) >= FREE[atoms[at]] or not free:
            continue
        new = pick(rng, free)
        atoms[new] = pick(rng, ("C", "C", "C", "N", "O", "S"))
        bonds[at, new] = 1
    for pair in list(bonds):  # double bonds where both ends allow
        left = min(FREE[atoms[end]] - _used(end, bonds) for end in pair)
        if left > 0 and rng.random() < 0.25:
            bonds[pair] = 2
    for at in list(atoms):
        for new in _room(at, atoms)[: FREE[atoms[at]] - _used(at, bonds)]:
            atoms[new] = "F" if heavy > 2 and rng.random() < 0.15 else "H"
            bonds[at, new] = 1
    return atoms, bonds


def _room(at: Grid, atoms: dict[Grid, str]) -> list[Grid]:
    """Free neighbours."""
    near = [(at[0] + dx, at[1] + dy) for dx, dy in _AROUND]
    return [place for place in near if place not in atoms]


def _used(at: Grid, bonds: dict[tuple[Grid, Grid], int]) -> int:
    return sum(n for pair, n in bonds.items() if at in pair)


def oracle(task: Task) -> Replies:
    """The formula."""
    return (boxed(_formula(task.reference["atoms"])),)


def distractors(task: Task) -> list[Replies]:
    """One atom more or less, small letters, hedges."""
    atoms = task.reference["atoms"]
    gold = _formula(atoms)
    wrong = [atoms | {symbol: n + 1} for symbol, n in atoms.items()]
    wrong += [atoms | {symbol: n - 1} for symbol, n in atoms.items() if n > 1]
    wrong += [{symbol: n for symbol, n in atoms.items() if symbol != gone} for gone in atoms]
    said = [_formula(one) for one in wrong if one] + [gold.lower() + "h", f"{gold}, CH4", ""]
    return [(boxed(answer),) for answer in [*said, f"{gold} or CH4", gold + gold, "C", "CHNOSF"]]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """Some carbon and hydrogen, and something else."""
    other = pick(rng, ("", "N", "O", "S", "O2"))
    return (boxed(f"C{rng.integers(1, 5)}H{rng.integers(1, 10)}{other}"),)


def _formula(atoms: dict[str, int]) -> str:
    return "".join(symbol + (str(n) if n > 1 else "") for symbol, n in atoms.items())


CATEGORY = Category(
    name="molecule_formula",
    group="stem",
    level="step",
    benchmark="MMMU (chemistry)",
    scale="atoms other than hydrogen: 1 … 5",
    draw=draw,
    score=by_answer(formulas.formula),
    oracle=oracle,
    distractors=distractors,
    guess=guess,
)
