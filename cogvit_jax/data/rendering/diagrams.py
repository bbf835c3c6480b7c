"""Diagrams: networks of circles and arrows, electric circuits, molecules as balls and sticks."""

import numpy as np

from cogvit_jax.data.rendering.canvas import (
    BLACK,
    COLOURS,
    WHITE,
    Colour,
    Drawing,
    Point,
    Sheet,
    draw_size,
    mix,
    new_sheet,
    pick,
    pick_some,
)

_LETTERS = "ABCDEFGHIJKLMN"
# Element: English, Chinese, colour of the ball (as chemists colour them), radius in pixels.
_ELEMENTS = {
    "C": ("carbon", "碳", (60, 60, 64), 9.0),
    "O": ("oxygen", "氧", (220, 30, 30), 9.0),
    "N": ("nitrogen", "氮", (50, 80, 220), 9.0),
    "H": ("hydrogen", "氢", (236, 236, 236), 6.0),
    "S": ("sulfur", "硫", (220, 200, 40), 10.5),
    "Cl": ("chlorine", "氯", (40, 190, 60), 10.5),
}
_PARTS = (  # English, Chinese, letter
    ("resistor", "电阻", "R"),
    ("capacitor", "电容", "C"),
    ("battery", "电池", "U"),
    ("lamp", "灯", "L"),
)


def network(rng: np.random.Generator, language: str) -> Drawing:
    """Named nodes on a ring, in layers or anywhere, joined by lines or arrows."""
    del language
    sheet = new_sheet(draw_size(rng, 0.8, 1.4), _paper(rng), scale=2)
    count = int(rng.integers(4, 11))
    places = _places(rng, sheet, count)
    directed = rng.random() < 0.5
    edges = {
        (int(rng.integers(i)), i) for i in range(1, count)
    }  # a tree, so that all hang together
    for _ in range(int(rng.integers(0, count))):
        first, second = sorted(rng.choice(count, 2, replace=False).tolist())
        edges.add((first, second))
    en, zh, colour = pick(rng, COLOURS)
    radius, ink = float(rng.uniform(8, 12)), mix(BLACK, WHITE, rng.uniform(0, 0.4))
    for first, second in sorted(edges):
        _edge(sheet, places[first], places[second], radius, ink, directed)
    hollow, named = rng.random() < 0.4, rng.random() < 0.8
    for place, letter in zip(places, _LETTERS, strict=False):
        sheet.disc(place, radius, WHITE if hollow else colour, colour)
        if named:
            sheet.text(place, letter, 11, colour if hollow else WHITE, "mm")
    joined = ("arrows", "箭头") if directed else ("lines", "线")
    return Drawing(
        sheet.pixels(),
        (
            f"a network diagram of {count} {en} nodes and {len(edges)} {joined[0]}",
            f"{count} {en} circles joined by {len(edges)} {joined[0]} in a network diagram",
        ),
        (
            f"一张网络图，有{count}个{zh}节点和{len(edges)}条{joined[1]}",
            f"网络图：{len(edges)}条{joined[1]}连接{count}个{zh}圆",
        ),
        f"network: {count} {en} nodes, {len(edges)} {joined[0]}",
    )


def circuit(rng: np.random.Generator, language: str) -> Drawing:
    """A loop, with a branch at times, of a battery and other parts in their standard symbols."""
    del language
    paper = _paper(rng)
    sheet = new_sheet(draw_size(rng, 0.9, 1.6), paper, scale=2)
    ink = pick(rng, (BLACK, BLACK, COLOURS[2][2], COLOURS[1][2]))
    left, top = rng.uniform(22, 40), rng.uniform(26, 44)
    right, bottom = sheet.width - rng.uniform(22, 40), sheet.height - rng.uniform(26, 44)
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    sides = list(zip(corners, [*corners[1:], corners[0]], strict=True))
    if rng.random() < 0.5:
        middle = (left + right) / 2
        sides.append(((middle, top), (middle, bottom)))
        for y in (top, bottom):
            sheet.disc((middle, y), 2.6, ink)
    others = [int(i) for i in rng.integers(0, len(_PARTS), len(sides))]
    empty = rng.random(len(sides)) < 0.25
    others[3], empty[3] = 2, False  # the battery stands in the left side
    counts = dict.fromkeys(range(len(_PARTS)), 0)
    for side, part, wire in zip(sides, others, empty.tolist(), strict=True):
        # Horizontal halves where a branch divides them.
        (x0, y0), (x1, y1) = side
        sheet.line(side, ink, 1.4)
        if wire:
            continue
        counts[part] += 1
        share = 0.26 if len(sides) == 5 and y0 == y1 else 0.5
        place = (x0 + (x1 - x0) * share, y0 + (y1 - y0) * share)
        label = f"{_PARTS[part][2]}{counts[part]}"
        _component(sheet, part, place, y0 == y1, ink, paper, label)
    shown = [(_PARTS[i], n) for i, n in counts.items() if n]
    english = ", ".join(f"{n} {part[0]}{'s' if n > 1 else ''}" for part, n in shown)
    english = english.replace("batterys", "batteries")
    chinese = "、".join(f"{n}个{part[1]}" for part, n in shown)
    return Drawing(
        sheet.pixels(),
        (f"a circuit diagram with {english}", f"an electric circuit diagram: {english}"),
        (f"一张电路图，有{chinese}", f"电路图：{chinese}"),
        f"circuit: {english}",
    )


def molecule(rng: np.random.Generator, language: str) -> Drawing:
    """Atoms as shaded balls joined by sticks: a ring or a chain with side groups."""
    del language
    dark = rng.random() < 0.4
    paper = (16, 18, 30) if dark else _paper(rng)
    sheet = new_sheet(draw_size(rng, 0.8, 1.4), paper, scale=2)
    kinds, points, bonds = _skeleton(rng)
    angle, zoom = rng.uniform(0, 2 * np.pi), rng.uniform(0.75, 1.0)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = points @ turn
    points -= (points.max(axis=0) + points.min(axis=0)) / 2
    room = np.array([sheet.width, sheet.height]) / 2 - 16
    scale = zoom * min((room / np.maximum(np.abs(points).max(axis=0), 0.5)).min(), 44.0)
    places = [(sheet.width / 2 + x * scale, sheet.height / 2 + y * scale) for x, y in points]
    stick = (150, 150, 156) if dark else (110, 110, 116)
    for first, second, double in bonds:
        _bond(sheet, places[first], places[second], stick, double)
    size = float(np.clip(scale / 34, 0.6, 1.2))
    for place, kind in zip(places, kinds, strict=True):
        _ball(sheet, place, _ELEMENTS[kind][3] * size, _ELEMENTS[kind][2])
    counts = {kind: kinds.count(kind) for kind in _ELEMENTS if kind in kinds}
    english = ", ".join(f"{n} {_ELEMENTS[kind][0]}" for kind, n in counts.items())
    chinese = "、".join(f"{n}个{_ELEMENTS[kind][1]}" for kind, n in counts.items())
    return Drawing(
        sheet.pixels(),
        (
            f"a ball-and-stick model of a molecule with {english} atoms",
            f"a molecule drawn as balls and sticks: {english}",
        ),
        (f"一个分子的球棍模型，有{chinese}原子", f"用球和棍画出的分子：{chinese}"),
        f"molecule: {english}",
    )


def _paper(rng: np.random.Generator) -> Colour:
    return mix(WHITE, pick(rng, COLOURS)[2], rng.uniform(0, 0.1))


def _places(rng: np.random.Generator, sheet: Sheet, count: int) -> list[Point]:
    """Places of nodes that keep their distance from each other."""
    room_x, room_y = sheet.width - 40, sheet.height - 40
    kind = int(rng.integers(3))
    if kind == 0:
        angles = np.linspace(0, 2 * np.pi, count, endpoint=False) + rng.uniform(0, 6)
        shares = 0.5 + 0.5 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    elif kind == 1:
        layers = int(rng.integers(2, 4))
        layer = np.sort(np.arange(count) % layers)
        row = np.concatenate([np.arange((layer == k).sum()) + 0.5 for k in range(layers)])
        height = np.array([(layer == k).sum() for k in layer])
        shares = np.stack([layer / (layers - 1), row / height], axis=1)
    else:
        # Cells of a 4 x 3 grid, each node somewhere inside its own.
        cells = rng.choice(12, count, replace=False)
        jitter = rng.uniform(-0.25, 0.25, (count, 2)) / (4, 3)
        shares = np.stack([(cells % 4 + 0.5) / 4, (cells // 4 + 0.5) / 3], axis=1) + jitter
    return [(20 + x * room_x, 20 + y * room_y) for x, y in shares.tolist()]


def _edge(
    sheet: Sheet, first: Point, second: Point, radius: float, ink: Colour, directed: bool
) -> None:
    start, end = np.array(first), np.array(second)
    along = (end - start) / max(1e-6, float(np.linalg.norm(end - start)))
    end = end - along * (radius + 1)
    sheet.line([first, (float(end[0]), float(end[1]))], ink, 1.2)
    if directed:
        across = np.array([-along[1], along[0]])
        tip = [end, end - 8 * along + 4 * across, end - 8 * along - 4 * across]
        sheet.polygon([(float(p[0]), float(p[1])) for p in tip], ink)


def _component(
    sheet: Sheet, part: int, at: Point, flat: bool, ink: Colour, paper: Colour, label: str
) -> None:
    """One part's symbol and its label; `flat` where its wire is horizontal."""

    def place(along: float, across: float) -> Point:
        return (at[0] + along, at[1] + across) if flat else (at[0] + across, at[1] + along)

    def stroke(*points: Point, width: float = 1.4) -> None:
        sheet.line([place(*p) for p in points], ink, width)

    def clear(half: float) -> None:
        (x0, y0), (x1, y1) = place(-half, -6), place(half, 6)
        sheet.box((x0, y0, x1, y1), paper)

    if part == 0:
        (x0, y0), (x1, y1) = place(-15, -6), place(15, 6)
        sheet.box((x0, y0, x1, y1), paper, ink)
    elif part == 1:
        clear(3)
        stroke((-3, -10), (-3, 10), width=2)
        stroke((3, -10), (3, 10), width=2)
    elif part == 2:
        clear(3)
        stroke((-3, -11), (-3, 11))
        stroke((3, -5), (3, 5), width=3)
    else:
        sheet.disc(at, 10, paper, ink)
        half = 10 * 0.7071
        stroke((-half, -half), (half, half))
        stroke((-half, half), (half, -half))
    if flat:
        sheet.text((at[0], at[1] - 13), label, 11, ink, "mb")
    elif at[0] > sheet.width - 34:  # no room outside the loop
        sheet.text((at[0] - 13, at[1]), label, 11, ink, "rm")
    else:
        sheet.text((at[0] + 13, at[1]), label, 11, ink, "lm")


def _skeleton(
    rng: np.random.Generator,
) -> tuple[list[str], np.ndarray, list[tuple[int, int, bool]]]:
    """Elements, places in bond lengths `[n, 2]` and bonds (first, second, double)."""
    kinds, bonds = [], []
    if rng.random() < 0.5:  # a ring of five or six
        size = int(rng.integers(5, 7))
        angles = np.linspace(0, 2 * np.pi, size, endpoint=False)
        core = np.stack([np.cos(angles), np.sin(angles)], axis=1) * 0.5 / np.sin(np.pi / size)
        bonds = [(i, (i + 1) % size, i % 2 == 0) for i in range(size)]
        outward = core / np.linalg.norm(core, axis=1, keepdims=True)
    else:  # a zigzag chain
        size = int(rng.integers(2, 6))
        index = np.arange(size)
        core = np.stack([index * 0.87, (index % 2) * 0.5], axis=1)
        bonds = [(i, i + 1, bool(rng.random() < 0.2)) for i in range(size - 1)]
        outward = np.stack([np.zeros(size), np.where(index % 2, 1.0, -1.0)], axis=1)
    kinds = [pick(rng, ("C", "C", "C", "N", "O", "S")) for _ in range(size)]
    points = list(core)
    for i in range(size):
        if rng.random() < 0.75:
            kinds.append(pick(rng, ("H", "H", "O", "N", "Cl", "C")))
            points.append(core[i] + outward[i] * (0.8 if kinds[-1] == "H" else 1.0))
            bonds.append((i, len(points) - 1, False))
    order = pick_some(rng, range(len(kinds)), len(kinds))  # which ball covers which
    renamed = {old: new for new, old in enumerate(order)}
    return (
        [kinds[i] for i in order],
        np.array([points[i] for i in order]),
        [(renamed[a], renamed[b], double) for a, b, double in bonds],
    )


def _bond(sheet: Sheet, first: Point, second: Point, colour: Colour, double: bool) -> None:
    if not double:
        sheet.line([first, second], colour, 4)
        return
    along = np.array(second) - np.array(first)
    across = np.array([-along[1], along[0]]) / max(1e-6, float(np.linalg.norm(along))) * 3
    for x, y in (across.tolist(), (-across).tolist()):
        sheet.line([(first[0] + x, first[1] + y), (second[0] + x, second[1] + y)], colour, 2.5)


def _ball(sheet: Sheet, at: Point, radius: float, colour: Colour) -> None:
    """A disc that is lighter towards its upper left, as a lit ball."""
    for i in range(5):
        share, shift = 1 - i * 0.18, i * 0.09 * radius
        ink = mix(mix(colour, BLACK, 0.25), mix(colour, WHITE, 0.75), i / 4)
        sheet.disc((at[0] - shift, at[1] - shift), radius * share, ink)
