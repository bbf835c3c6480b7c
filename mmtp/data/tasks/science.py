"""Simple diagrams of physics and chemistry: levers, forces, circuits and molecules."""

import numpy as np

from cogvit_jax.data.rendering.canvas import BLACK, WHITE, Sheet, mix, new_sheet, pick
from mmtp.data.tasks.example import YES_NO, Example, ask, say
from mmtp.data.tasks.scenes import PALETTE, SCALE

_LEVER = {
    "en": ("Which side goes down?", "Where does the beam tip: left, right or balanced?"),
    "zh": ("哪一边会下降？", "杠杆向左、向右，还是平衡？"),
}
LEVER = {"en": ("left", "right", "balanced"), "zh": ("左", "右", "平衡")}
_FORCE = {
    "en": ("What is the net force?", "How large is the force, and which way?"),
    "zh": ("合力是多少？", "合力多大，向哪边？"),
}
_NET = {
    "en": ("{n} N to the left", "{n} N to the right", "0 N"),
    "zh": ("向左{n} N", "向右{n} N", "0 N"),
}
_LAMP = {
    "en": ("Is the lamp on?", "Does the lamp light up?"),
    "zh": ("灯亮吗？", "灯会不会亮？"),
}
_ATOMS = {
    "en": ("How many {atom} atoms are there?", "Count the {atom} atoms."),
    "zh": ("有几个{atom}原子？", "请数一数{atom}原子。"),
}
_INKS = {"C": (70, 70, 74), "O": (214, 40, 40), "N": (50, 90, 210), "H": (150, 150, 156)}


def levers(rng: np.random.Generator, language: str, split: str) -> Example:
    """Which way a beam tips: weight times distance on both sides; distances are marked."""
    which = int(rng.integers(3))
    while True:
        left, right = (tuple(int(n) for n in rng.integers(1, (7, 4))) for _ in range(2))
        moments = (left[0] * left[1], right[0] * right[1])
        sign = 2 if moments[0] == moments[1] else int(moments[0] < moments[1])
        if sign == which:
            break
    sheet = new_sheet((112, 56), WHITE, SCALE)
    sheet.polygon([(56, 36), (64, 52), (48, 52)], (120, 120, 126))
    sheet.box((10, 32, 102, 36), PALETTE["orange"][1])
    for distance in (-3, -2, -1, 1, 2, 3):
        sheet.line([(56 + 14 * distance, 32), (56 + 14 * distance, 40)], BLACK, 1)
    for (weight, distance), direction in ((left, -1), (right, 1)):
        x = 56 + 14 * distance * direction
        sheet.box((x - 9, 14, x + 9, 32), PALETTE["blue"][1])
        sheet.text((x, 23), str(weight), 14, WHITE, "mm")
    thinking = f"{left[0]} × {left[1]} = {moments[0]}, {right[0]} × {right[1]} = {moments[1]}"
    question, options = say(rng, _LEVER, language), LEVER[language]
    answer = options[which]
    tags = {"options": options, "moments": moments}
    return ask(rng, [sheet.pixels()], question, answer, thinking=thinking, **tags)


def forces(rng: np.random.Generator, language: str, split: str) -> Example:
    """The net force of two arrows on a block."""
    left, right = (int(n) for n in rng.integers(1, 10, 2))
    sheet = new_sheet((112, 56), WHITE, SCALE)
    sheet.box((44, 20, 68, 44), PALETTE[pick(rng, ("green", "purple", "orange"))][1])
    for force, start, direction in ((left, 44, -1), (right, 68, 1)):
        tip = start + direction * (12 + 3 * force)
        sheet.line([(start, 32), (tip, 32)], BLACK, 2)
        back = tip - direction * 6
        sheet.polygon([(tip + direction, 32), (back, 27), (back, 37)], BLACK)
        sheet.text(((start + tip) / 2, 16), f"{force} N", 12, BLACK, "mm")
    sheet.line([(4, 45), (108, 45)], (120, 120, 126), 1.5)
    way = 2 if left == right else int(right > left)
    answer = _NET[language][way].format(n=abs(left - right))
    return ask(rng, [sheet.pixels()], say(rng, _FORCE, language), answer, forces=(left, right))


def circuits(rng: np.random.Generator, language: str, split: str) -> Example:
    """Whether a lamp lights: two switches in a row, each open or closed; lit if all are closed."""
    lit = bool(rng.random() < 0.5)
    count = int(rng.integers(1, 3))
    open_one = int(rng.integers(count))
    closed = [lit or (i != open_one and rng.random() < 0.5) for i in range(count)]
    sheet = new_sheet((84, 56), WHITE, SCALE)
    for points in ([(10, 24), (10, 10), (74, 10), (74, 46)], [(74, 46), (10, 46), (10, 30)]):
        sheet.line(points, BLACK, 1.5)
    sheet.box((6, 24, 14, 30), WHITE)
    sheet.line([(3, 24), (17, 24)], BLACK, 1.5)
    sheet.line([(7, 30), (13, 30)], BLACK, 3)
    sheet.disc((42, 46), 7, mix(PALETTE["yellow"][1], WHITE, 0.4), BLACK)
    sheet.line([(37, 41), (47, 51)], BLACK, 1)
    sheet.line([(37, 51), (47, 41)], BLACK, 1)
    for i, is_closed in enumerate(closed):
        _switch(sheet, 42.0 if count == 1 else 26.0 + 30 * i, is_closed)
    answer = YES_NO[language][0 if lit else 1]
    question, options = say(rng, _LAMP, language), YES_NO[language]
    return ask(rng, [sheet.pixels()], question, answer, options=options, closed=tuple(closed))


def _switch(sheet: Sheet, x: float, closed: bool) -> None:
    """A switch in the upper wire."""
    sheet.box((x - 7, 6, x + 7, 14), WHITE)
    end = (x + 7, 10.0) if closed else (x + 5, 1.0)
    sheet.line([(x - 7, 10), end], BLACK, 2)
    for dot in (x - 7, x + 7):
        sheet.disc((dot, 10), 2, BLACK)


def molecules(rng: np.random.Generator, language: str, split: str) -> Example:
    """How many atoms of one element a drawn chain with side atoms has: zero to four."""
    asked = pick(rng, ("C", "O", "N", "H"))
    count = int(rng.integers(5))
    others = [name for name in _INKS if name != asked]
    atoms = [asked] * count + [pick(rng, others) for _ in range(max(2 - count, 0))]
    atoms += [pick(rng, others) for _ in range(int(rng.integers(1, 3)))]
    atoms = [atoms[i] for i in rng.permutation(len(atoms))]
    spine = (len(atoms) + 1) // 2
    step = 84 / spine
    places = [(step * (i + 0.5), 40.0) for i in range(spine)]
    places += [(step * (i + 0.5), 16.0) for i in range(len(atoms) - spine)]
    sheet = new_sheet((84, 56), WHITE, SCALE)
    sheet.line(places[:spine], BLACK, 2)
    for above in places[spine:]:
        sheet.line([above, (above[0], 40.0)], BLACK, 2)
    for (x, y), atom in zip(places, atoms, strict=True):
        sheet.disc((x, y), 9, _INKS[atom])
        sheet.text((x, y), atom, 13, WHITE, "mm")
    question, options = say(rng, _ATOMS, language, atom=asked), tuple("01234")
    tags = {"options": options, "atoms": tuple(atoms), "asked": asked}
    return ask(rng, [sheet.pixels()], question, str(count), **tags)
