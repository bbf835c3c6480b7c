"""Graphs and molecules as nodes with names and edges between them."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from cogvit_jax.data.rendering.canvas import BLACK, WHITE, Colour, Point, mix, new_sheet

SCALE = 2
NODE = 11.0  # pixels, radius of a node
CLEAR = 20.0  # between a node and an edge that is not its own
Pixels = UInt8[np.ndarray, "h w 3"]


def places(rng: np.random.Generator, count: int, side: int) -> list[Point]:
    """Places on a rough ring: no node comes near the line between two others."""
    reach = side / 2 - NODE - 8
    start = float(rng.uniform(0, 2 * math.pi))
    turns = [
        start + 2 * math.pi * (i + float(rng.uniform(-0.12, 0.12))) / count for i in range(count)
    ]
    pulls = [reach * float(rng.uniform(0.94, 1)) for _ in range(count)]
    spots = [
        (side / 2 + pull * math.cos(turn), side / 2 + pull * math.sin(turn))
        for turn, pull in zip(turns, pulls, strict=True)
    ]
    return [spots[i] for i in rng.permutation(count)]


def distance_to_line(spot: Point, one: Point, other: Point) -> float:
    """Of a place from the stretch between two others, in pixels."""
    along = np.subtract(other, one)
    share = float(
        np.clip(np.dot(np.subtract(spot, one), along) / max(1e-9, float(along @ along)), 0, 1)
    )
    return float(np.hypot(*(np.subtract(spot, one) - share * along)))


def graph(
    spots: Sequence[Point],
    names: Sequence[str],
    edges: Sequence[tuple[int, int]],
    directed: bool,
    side: int,
    ink: Colour,
) -> Pixels:
    """Lines or arrows between discs with names.

    Args:
        spots: middles of the nodes.
        names: of the nodes; "" = a small disc without one.
        edges: pairs of nodes.
        directed: whether they are arrows to the second.
        side: of the square picture.
        ink: of the nodes.
    """
    sheet = new_sheet((side, side), WHITE, SCALE)
    radii = [NODE if name else 7.0 for name in names]
    for first, second in edges:
        start, end = np.array(spots[first]), np.array(spots[second])
        along = (end - start) / max(1e-9, float(np.hypot(*(end - start))))
        if directed:
            across = np.array([-along[1], along[0]])
            tip = end - along * (radii[second] + 1)
            head = [tip, tip - 9 * along + 4.5 * across, tip - 9 * along - 4.5 * across]
            end = tip - 6 * along
            sheet.polygon([(float(x), float(y)) for x, y in head], BLACK)
        sheet.line([spots[first], (float(end[0]), float(end[1]))], BLACK, 1.6)
    for spot, name, radius in zip(spots, names, radii, strict=True):
        sheet.disc(spot, radius, mix(ink, WHITE, 0.75) if name else ink, ink)
        sheet.text(spot, name, 13, BLACK, "mm")
    return sheet.pixels()


ATOM_INKS: dict[str, Colour] = {
    "C": (70, 70, 74),
    "O": (214, 40, 40),
    "N": (50, 90, 210),
    "H": (150, 150, 156),
    "S": (196, 160, 20),
    "F": (30, 150, 90),
}


def molecule(
    spots: Sequence[Point],
    atoms: Sequence[str],
    bonds: Sequence[tuple[int, int, int]],
    size: tuple[int, int],
) -> Pixels:
    """Atoms as discs with their symbols, bonds as one line or two.

    Args:
        spots: middles of the atoms.
        atoms: their symbols.
        bonds: (one, other, 1 or 2).
        size: width and height of the picture.
    """
    sheet = new_sheet(size, WHITE, SCALE)
    for first, second, order in bonds:
        one, other = np.array(spots[first]), np.array(spots[second])
        along = (other - one) / max(1e-9, float(np.hypot(*(other - one))))
        across = np.array([-along[1], along[0]]) * (2.6 if order == 2 else 0.0)
        for shift in (across, -across)[:order]:
            ends = [(float(x), float(y)) for x, y in (one + shift, other + shift)]
            sheet.line(ends, BLACK, 1.6)
    for spot, atom in zip(spots, atoms, strict=True):
        sheet.disc(spot, 9.5, ATOM_INKS[atom])
        sheet.text(spot, atom, 13, WHITE, "mm")
    return sheet.pixels()
