"""A quantity from a diagram of physics: forces, a mirror, a lever, or a circuit."""

from fractions import Fraction

import numpy as np

from cogvit_jax.data.rendering.canvas import pick
from mmtp.data.records import Image, Text
from mmtp.data.tasks.scenes import PALETTE
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, by_answer
from rl.envs.drawing import draw_physics
from rl.envs.drawing.draw_physics import Pixels
from rl.rewards.rules import units
from rl.types import Task

Problem = tuple[Pixels, str, str, list[str]]  # picture, key of ASKS, answer, wrong answers

ASKS = {
    "net": {"en": "How large is the net force on the block?", "zh": "木块所受的合力有多大？"},
    "mirror": {"en": "What is the angle of reflection (?)?", "zh": "反射角（?）是多少度？"},
    "load": {
        "en": "The lever is balanced. How large is the force F?",
        "zh": "杠杆平衡。力F有多大？",
    },
    "place": {
        "en": "The lever is balanced. How long is the distance d?",
        "zh": "杠杆平衡。距离d是多长？",
    },
    "current": {"en": "What does the ammeter show?", "zh": "电流表的示数是多少？"},
    "resistance": {
        "en": "What is the total resistance that the battery sees?",
        "zh": "电路的总电阻是多少？",
    },
}
FORM = {
    "en": " Answer with the number and its unit alone, such as {}.",
    "zh": "只回答数值和单位，如{}。",
}
SHUNTS = ((3, 6, 2), (6, 12, 4), (10, 15, 6), (4, 12, 3), (20, 30, 12), (5, 20, 4), (9, 18, 6),
          (15, 30, 10), (8, 24, 6), (4, 4, 2), (10, 10, 5), (12, 12, 6))  # fmt: skip
TRIPLES = ((3, 4, 5), (6, 8, 10), (5, 12, 13), (8, 15, 17), (9, 12, 15))
KINDS = (("net",), ("net3", "mirror"), ("load", "series"), ("across", "shunt"), ("mixed", "place"))


def draw(context: Draw) -> Drawn:
    """A diagram with values, and what is asked."""
    rng, difficulty, language = context
    pixels, asks, answer, wrong = _problem(rng, pick(rng, KINDS[difficulty]))
    unit = answer.partition(" ")[2]
    gold = units.parse_quantity(answer)
    near = [one for one in wrong if units.parse_quantity(one) != gold]
    reference = {"answer": answer, "wrong": near, "unit": unit}
    example = {"°": "25°", "ohm": "25 ohm"}.get(unit, f"25 {unit}")
    return Drawn(
        (Image(pixels), Text(ASKS[asks][language] + FORM[language].format(example))), reference
    )


def _problem(rng: np.random.Generator, kind: str) -> Problem:
    ink = PALETTE[pick(rng, ("blue", "green", "orange", "purple", "red"))][1]
    if kind in ("net", "net3", "across"):
        return _forces(rng, kind, ink)
    if kind == "mirror":
        angle, from_normal = 5 * int(rng.integers(6, 12)), bool(rng.random() < 0.3)
        given = angle if from_normal else 90 - angle
        wrong = [f"{90 - angle} °", f"{180 - angle} °", f"{2 * angle} °", f"{angle + 5} °"]
        pixels = draw_physics.mirror(angle, f"{given}°", from_normal, ink)
        return pixels, "mirror", f"{angle} °", wrong
    if kind in ("load", "place"):
        return _lever(rng, kind, ink)
    return _circuit(rng, kind)


def _forces(rng: np.random.Generator, kind: str, ink: tuple[int, int, int]) -> Problem:
    if kind == "across":
        a, b, net = pick(rng, TRIPLES)
        a, b = (a, b) if rng.random() < 0.5 else (b, a)
        side = pick(rng, (-1, 1))
        pixels = draw_physics.forces([(side, 0, f"{a} N"), (0, 1, f"{b} N")], ink)
        return pixels, "net", f"{net} N", [f"{a + b} N", f"{abs(a - b)} N", f"{a} N", f"{b} N"]
    pulls = [
        int(n) for n in rng.choice(np.arange(1, 20), 3 if kind == "net3" else 2, replace=False)
    ]
    signs = [-1, 1, pick(rng, (-1, 1))][: len(pulls)]
    net = sum(sign * n for sign, n in zip(signs, pulls, strict=True))
    if net == 0:
        pulls[0], net = pulls[0] + 1, -1
    arrows = [(sign, 0, f"{n} N") for sign, n in zip(signs, pulls, strict=True)]
    wrong = [f"{sum(pulls)} N", f"{max(pulls)} N", f"{abs(net) + 1} N", f"{abs(net)} kg", "0 N"]
    return draw_physics.forces(arrows, ink), "net", f"{abs(net)} N", wrong


def _lever(rng: np.random.Generator, kind: str, ink: tuple[int, int, int]) -> Problem:
    """Moments in N times steps of 10 cm; one step is 21 pixels."""
    while True:
        places = [-int(rng.integers(2, 6)), int(rng.integers(2, 6))]
        loads = [int(n) for n in rng.integers(2, 13, 2)]
        more = []
        if kind == "place":
            near, far = sorted(int(n) for n in rng.choice(np.arange(2, 6), 2, replace=False))
            if far - near < 2:
                continue
            places[0], more = -far, [(-near, int(rng.integers(2, 9)))]
        moment = -places[0] * loads[0] + sum(-place * n for place, n in more)
        if moment % places[1] == 0 and 2 <= moment // places[1] <= 40:
            break
    force = moment // places[1]
    known = [(places[0], loads[0]), *more]
    drawn = [(place, f"{n} N", f"{-10 * place} cm") for place, n in known]
    if kind == "load":
        drawn.append((places[1], "F", f"{10 * places[1]} cm"))
        other = Fraction(loads[0] * places[1], -places[0])
        wrong = [f"{loads[0]} N", f"{other} N", f"{force + 1} N", f"{force} cm", f"{moment} N"]
        return draw_physics.lever(drawn, ink), "load", f"{force} N", wrong
    drawn.append((places[1], f"{force} N", "d"))
    first = Fraction(-places[0] * loads[0] * 10, force)
    wrong = [
        f"{first} cm",
        f"{10 * places[1] + 1} cm",
        f"{10 * places[1]} m",
        f"{10 * places[1]} N",
    ]
    return draw_physics.lever(drawn, ink), "place", f"{10 * places[1]} cm", wrong


def _circuit(rng: np.random.Generator, kind: str) -> Problem:
    a, b, shunt = pick(rng, SHUNTS)
    a, b = (a, b) if rng.random() < 0.5 else (b, a)
    if kind == "shunt":
        pixels = draw_physics.circuit(f"{int(rng.integers(3, 25))} V", (), (str(a), str(b)), "")
        wrong = [f"{a + b} ohm", f"{a} ohm", f"{shunt} kohm", f"{shunt} V", f"1/{shunt} ohm"]
        return pixels, "resistance", f"{shunt} ohm", wrong
    current = int(rng.integers(1, 5))
    if kind == "series":
        first, second = (int(n) for n in rng.integers(1, 10, 2))
        volts = current * (first + second)
        pixels = draw_physics.circuit(f"{volts} V", (str(first), str(second)), (), "A")
        wrong = [f"{Fraction(volts, first)} A", f"{volts * (first + second)} A", f"{current} mA"]
        return pixels, "current", f"{current} A", [*wrong, f"{current} V", f"{current + 1} A"]
    first = int(rng.integers(1, 10))
    volts = current * (first + shunt)
    pixels = draw_physics.circuit(f"{volts} V", (f"{first} k",), (f"{a} k", f"{b} k"), "A")
    wrong = [f"{Fraction(volts, first + a + b)} mA", f"{Fraction(volts, first)} mA", f"{current} A"]
    return pixels, "current", f"{current} mA", [*wrong, f"{current} V", f"{current + 1} mA"]


def oracle(task: Task) -> Replies:
    """The quantity."""
    return (boxed(task.reference["answer"]),)


def distractors(task: Task) -> list[Replies]:
    """Usual mistakes, the number alone, another unit, hedges."""
    gold, wrong = task.reference["answer"], task.reference["wrong"]
    number, unit = gold.split(" ")
    said = [*wrong, number, unit, f"{gold} or {wrong[0]}", f"{gold}, {wrong[0]}", f"-{gold}"]
    said += [
        f"{number} kg",
        f"{number}.1 {unit}",
        f"{number}e0 {unit}",
        f"{number} {number} {unit}",
        "",
    ]
    return [(boxed(answer),) for answer in said] + [(boxed(gold) * 2,)]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """A number and the unit that the question names."""
    unit = task.reference["unit"]
    number = {"°": 5 * int(rng.integers(2, 17)), "cm": 10 * int(rng.integers(1, 6))}.get(unit)
    return (boxed(f"{number or int(rng.integers(1, 25))} {unit}"),)


CATEGORY = Category(
    name="physics_diagram",
    group="stem",
    level="step",
    benchmark="MathVista, MMMU (physics)",
    scale="two forces, three or a mirror, lever or series circuit, right angles or shunts, mixed",
    draw=draw,
    score=by_answer(units.quantity),
    oracle=oracle,
    distractors=distractors,
    guess=guess,
)
