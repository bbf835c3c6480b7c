"""Problems of plane geometry: a figure to scale, what is asked, the exact answer, near misses."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from cogvit_jax.data.rendering.canvas import pick
from rl.envs.drawing.draw_geometry import Figure


@dataclass(frozen=True)
class Problem:
    """One problem.

    Attributes:
        figure: to scale.
        asks: key of `ASKS`.
        answer: the exact value.
        wrong: what usual mistakes lead to.
    """

    figure: Figure
    asks: str
    answer: str
    wrong: tuple[str, ...]


ASKS = {
    "area": {"en": "What is the area of the figure?", "zh": "图形的面积是多少？"},
    "shaded": {"en": "What is the area of the shaded part?", "zh": "阴影部分的面积是多少？"},
    "perimeter": {"en": "What is the perimeter of the figure?", "zh": "图形的周长是多少？"},
    "x": {"en": "What is the length x?", "zh": "长度x是多少？"},
    "angle": {"en": "How many degrees is the angle x?", "zh": "角x是多少度？"},
    "circle": {"en": "What is the area of the circle?", "zh": "圆的面积是多少？"},
    "round": {"en": "What is the circumference of the circle?", "zh": "圆的周长是多少？"},
}


def _rectangle(rng: np.random.Generator) -> Problem:
    a, b = (int(n) for n in rng.integers(2, 10, 2))
    a = min(max(a, (b + 2) // 3), 3 * b)  # not too narrow for its labels
    points = {
        "A": (0.0, 0.0),
        "B": (float(a), 0.0),
        "C": (float(a), float(b)),
        "D": (0.0, float(b)),
    }
    figure = Figure(points, ("ABCD",), sides=(("AB", str(a)), ("BC", str(b))))
    area, around = str(a * b), str(2 * (a + b))
    if rng.random() < 0.5:
        return Problem(figure, "area", area, (around, str(a + b), f"{a}*{b}/2"))
    return Problem(figure, "perimeter", around, (area, str(a + b)))


def _third_angle(rng: np.random.Generator) -> Problem:
    a, b = (5 * int(n) for n in rng.integers(8, 15, 2))
    if not 35 <= 180 - a - b <= 90:
        a, b = 60, 5 * int(rng.integers(8, 17))
    figure = Figure(
        _two_angles(a, b), ("ABC",), angles=(("CAB", f"{a}°"), ("ABC", f"{b}°"), ("BCA", "x"))
    )
    return Problem(figure, "angle", str(180 - a - b), (str(90 - a), str(a + b), str(360 - a - b)))


def _two_angles(a: float, b: float) -> dict[str, tuple[float, float]]:
    """Corners of a triangle with these angles at A and B, and base 1."""
    rise = 1 / (1 / math.tan(math.radians(a)) + 1 / math.tan(math.radians(b)))
    return {"A": (0.0, 0.0), "B": (1.0, 0.0), "C": (rise / math.tan(math.radians(a)), rise)}


def _triangle_area(rng: np.random.Generator) -> Problem:
    base = int(rng.integers(6, 15))
    height = int(rng.integers(base // 2 + 1, base + 1))
    foot = base * float(rng.uniform(0.35, 0.65))
    points = {
        "A": (0.0, 0.0),
        "B": (float(base), 0.0),
        "C": (foot, float(height)),
        "D": (foot, 0.0),
    }
    figure = Figure(
        points,
        ("ABC",),
        ("CD",),
        sides=(("AB", str(base)),),
        inner=(("CD", str(height)),),
        angles=(("BDC", ""),),
    )
    area = str(Fraction(base * height, 2))
    return Problem(figure, "area", area, (str(base * height), str(base + height), f"{area}+1"))


def _on_a_line(rng: np.random.Generator) -> Problem:
    known = 5 * int(rng.integers(8, 29))
    turn = math.radians(known)
    points = {
        "A": (1.0, 0.0),
        "B": (-1.0, 0.0),
        "C": (math.cos(turn), math.sin(turn)),
        "O": (0.0, 0.0),
    }
    figure = Figure(points, (), ("AB", "OC"), angles=(("AOC", f"{known}°"), ("COB", "x")), dots="O")
    wrong = (str(known), str(abs(90 - known)), str(360 - known))
    return Problem(figure, "angle", str(180 - known), wrong)


def _right_triangle(rng: np.random.Generator) -> Problem:
    a, b = (int(n) for n in rng.integers(3, 10, 2))
    a = min(max(a, (b + 1) // 2), 2 * b)
    points = {"A": (0.0, 0.0), "B": (float(a), 0.0), "C": (0.0, float(b))}
    if rng.random() < 0.3:  # the hypotenuse is known
        labels, answer = (
            (("BC", f"{a + b}"), ("AC", str(b)), ("AB", "x")),
            f"sqrt({a * a + 2 * a * b})",
        )
        side = math.sqrt(a * a + 2 * a * b)
        points["B"] = (side, 0.0)
        wrong = (str(a), f"sqrt({(a + b) ** 2 + b * b})", str(a + 2 * b))
    else:
        labels, answer = (("AB", str(a)), ("AC", str(b)), ("BC", "x")), f"sqrt({a * a + b * b})"
        wrong = (str(a + b), f"sqrt({abs(a * a - b * b) + 1})", str(a * a + b * b))
    return Problem(
        Figure(points, ("ABC",), sides=labels, angles=(("BAC", ""),)), "x", answer, wrong
    )


def _circle(rng: np.random.Generator) -> Problem:
    r = int(rng.integers(2, 13))
    across = rng.random() < 0.5
    points = {"O": (0.0, 0.0), "A": (1.0, 0.0), "B": (-1.0, 0.0)}
    line, label = ("AB", str(2 * r)) if across else ("OA", str(r))
    figure = Figure(points, (), (line,), (("O", 1.0),), inner=((line, label),), dots="O")
    if rng.random() < 0.5:
        return Problem(
            figure, "circle", f"{r * r}*pi", (f"{2 * r}*pi", f"{4 * r * r}*pi", f"{r}*pi")
        )
    return Problem(figure, "round", f"{2 * r}*pi", (f"{r * r}*pi", f"{r}*pi", f"{4 * r}*pi"))


def _isosceles(rng: np.random.Generator) -> Problem:
    base = 5 * int(rng.integers(8, 15))
    figure = Figure(
        _two_angles(base, base),
        ("ABC",),
        sides=(("AC", "a"), ("BC", "a")),
        angles=(("CAB", f"{base}°"), ("BCA", "x")),
    )
    return Problem(
        figure, "angle", str(180 - 2 * base), (str(base), str(180 - base), str(90 - base))
    )


def _special(rng: np.random.Generator) -> Problem:
    """Halves of a square and of an equilateral triangle."""
    a = int(rng.integers(2, 13))
    if rng.random() < 0.5:
        points = {"A": (0.0, 0.0), "B": (1.0, 0.0), "C": (0.0, 1.0)}
        angles = (("BAC", ""), ("ABC", "45°"))
        if rng.random() < 0.5:
            labels, answer, wrong = (("AB", str(a)), ("BC", "x")), f"{a}*sqrt(2)", f"{a}*sqrt(3)"
        else:
            labels, answer, wrong = (("BC", str(a)), ("AC", "x")), f"{a}/sqrt(2)", f"{a}*sqrt(2)"
    else:
        points = {"A": (0.0, 0.0), "B": (1.0, 0.0), "C": (0.0, math.sqrt(3))}
        angles = (("BAC", ""), ("ABC", "60°"))
        if rng.random() < 0.5:
            labels, answer, wrong = (("AB", str(a)), ("AC", "x")), f"{a}*sqrt(3)", f"{a}*sqrt(2)"
        else:
            labels, answer, wrong = (("BC", str(a)), ("AC", "x")), f"{a}*sqrt(3)/2", f"{a}/2"
    figure = Figure(points, ("ABC",), sides=labels, angles=angles)
    return Problem(figure, "x", answer, (wrong, str(2 * a), f"{answer}+1"))


def _trapezium(rng: np.random.Generator) -> Problem:
    top, height = int(rng.integers(3, 8)), int(rng.integers(4, 9))
    base = top + int(rng.integers(2, 7))
    left = float(rng.uniform(0.2, 0.8)) * (base - top)
    points = {
        "A": (0.0, 0.0), "B": (float(base), 0.0), "C": (left + top, float(height)),
        "D": (left, float(height)), "E": (left + top / 2, float(height)),
        "F": (left + top / 2, 0.0),
    }  # fmt: skip
    figure = Figure(
        points,
        ("ABCD",),
        ("EF",),
        sides=(("AB", str(base)), ("CD", str(top))),
        inner=(("EF", str(height)),),
        angles=(("EFB", ""),),
    )
    area = str(Fraction((top + base) * height, 2))
    return Problem(
        figure, "area", area, (str((top + base) * height), str(base * height), f"{area}+1")
    )


def _inscribed(rng: np.random.Generator) -> Problem:
    central = 10 * int(rng.integers(8, 16))
    turns = {"A": 270 - central / 2, "B": 270 + central / 2, "C": 90 + float(rng.uniform(-25, 25))}
    points = {n: (math.cos(math.radians(t)), math.sin(math.radians(t))) for n, t in turns.items()}
    points["O"] = (0.0, 0.0)
    known, asked = ("AOB", "ACB") if rng.random() < 0.5 else ("ACB", "AOB")
    given, answer = (central, central // 2) if known == "AOB" else (central // 2, central)
    figure = Figure(
        points,
        (),
        ("AOB", "ACB"),
        (("O", 1.0),),
        angles=((known, f"{given}°"), (asked, "x")),
        dots="O",
    )
    return Problem(figure, "angle", str(answer), (str(given), str(180 - given), str(answer + 10)))


def _sector(rng: np.random.Generator) -> Problem:
    r, degrees = int(rng.integers(2, 10)), pick(rng, (45, 60, 90, 120, 135))
    turn = math.radians(degrees)
    rim = [math.radians(degrees * k / 24) for k in range(25)]
    names = [chr(ord("a") + k) for k in range(25)]
    points = {n: (math.cos(t), math.sin(t)) for n, t in zip(names, rim, strict=True)}
    points |= {"O": (0.0, 0.0), "A": (1.0, 0.0), "B": (math.cos(turn), math.sin(turn))}
    figure = Figure(
        points,
        ("O" + "".join(names),),
        ("AOB",),
        (("O", 1.0),),
        inner=(("OA", str(r)),),
        angles=(("AOB", f"{degrees}°"),),
        dots="O",
    )
    share = Fraction(degrees, 360)
    area, arc = f"{share * r * r}*pi", f"{share * 2 * r}*pi"
    return Problem(figure, "shaded", area, (arc, f"{r * r}*pi", f"{share * r}*pi"))


def _chord(rng: np.random.Generator) -> Problem:
    r = int(rng.integers(5, 13))
    d = int(rng.integers((r + 2) // 3, 2 * r // 3 + 1))
    half = math.sqrt(r * r - d * d)
    points = {
        "O": (0.0, 0.0),
        "A": (-half, -float(d)),
        "B": (half, -float(d)),
        "M": (0.0, -float(d)),
    }
    figure = Figure(
        points,
        (),
        ("AB", "OM", "OA"),
        (("O", float(r)),),
        sides=(("OA", str(r)), ("AB", "x")),
        inner=(("OM", str(d)),),
        angles=(("OMB", ""),),
        dots="O",
    )
    whole = f"2*sqrt({r * r - d * d})"
    return Problem(
        figure, "x", whole, (f"sqrt({r * r - d * d})", f"2*sqrt({r * r + d * d})", str(2 * r))
    )


def _equilateral(rng: np.random.Generator) -> Problem:
    a = int(rng.integers(2, 15))
    points = {"A": (0.0, 0.0), "B": (1.0, 0.0), "C": (0.5, math.sqrt(3) / 2)}
    labels = tuple((side, str(a)) for side in ("AB", "BC", "AC"))
    area = f"{Fraction(a * a, 4)}*sqrt(3)"
    wrong = (str(Fraction(a * a, 2)), f"{Fraction(a * a, 2)}*sqrt(3)", str(3 * a))
    return Problem(Figure(points, ("ABC",), sides=labels), "area", area, wrong)


def _round_hole(rng: np.random.Generator) -> Problem:
    r = int(rng.integers(1, 8))
    side = 2.0
    points = {
        "A": (0.0, 0.0),
        "B": (side, 0.0),
        "C": (side, side),
        "D": (0.0, side),
        "O": (1.0, 1.0),
    }
    figure = Figure(
        points,
        ("ABCD",),
        (),
        (("O", 1.0),),
        sides=(("AB", str(2 * r)), ("BC", str(2 * r))),
        holes=True,
    )
    wrong = (
        f"{r * r}*pi",
        f"{4 * r * r}-{2 * r}*pi",
        f"{4 * r * r}-{4 * r * r}*pi",
        str(4 * r * r),
    )
    return Problem(figure, "shaded", f"{4 * r * r}-{r * r}*pi", wrong)


KINDS: tuple[tuple[Callable[[np.random.Generator], Problem], ...], ...] = (
    (_rectangle, _third_angle),
    (_triangle_area, _on_a_line),
    (_right_triangle, _circle, _isosceles),
    (_special, _trapezium, _inscribed),
    (_sector, _chord, _equilateral, _round_hole),
)
