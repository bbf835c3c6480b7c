"""Read a function off its graph: slope, intercept, vertex, roots, where two meet, its formula."""

from collections.abc import Callable, Mapping
from fractions import Fraction

import numpy as np
from jaxtyping import UInt8

from cogvit_jax.data.rendering.canvas import BLACK, WHITE, Colour, new_sheet, pick
from mmtp.data.records import Image, Text
from mmtp.data.tasks.scenes import PALETTE
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, by_answer
from rl.rewards.rules import math_equal
from rl.types import Json, Task

REACH = 5  # axes go from -REACH to REACH
INKS = ("blue", "red", "green", "purple")
Curve = Callable[[np.ndarray], np.ndarray]
Asked = tuple[str, list[Curve], list[tuple[int, int]], dict[str, Json]]

ASKS = {
    "intercept": {
        "en": "Where does the line cross the y-axis? Answer with the value of y alone.",
        "zh": "直线与y轴相交处的y值是多少？只回答数值。",
    },
    "slope": {
        "en": "What is the slope of the line? Answer with the exact number alone, such as -3/2.",
        "zh": "直线的斜率是多少？只回答精确的数，如-3/2。",
    },
    "vertex": {
        "en": "Where is the vertex of the parabola? Answer with the point alone, as (x, y).",
        "zh": "抛物线的顶点在哪里？只回答坐标，形式为(x, y)。",
    },
    "roots": {
        "en": "For which values of x is the function zero? Answer with both, separated by a comma.",
        "zh": "x取哪些值时函数为零？回答两个值，用逗号隔开。",
    },
    "meet": {
        "en": "Where do the two lines meet? Answer with the point alone, as (x, y).",
        "zh": "两条直线相交于哪一点？只回答坐标，形式为(x, y)。",
    },
    "formula": {
        "en": "What is the formula of the function? Answer in the form y = ...",
        "zh": "函数的表达式是什么？按y = ...的形式回答。",
    },
}
KINDS = (("intercept",), ("slope",), ("vertex", "roots"), ("meet", "line"), ("parabola",))


def draw(context: Draw) -> Drawn:
    """Axes with numbers, one curve or two, and dots at whole points of it."""
    rng, difficulty, language = context
    asks, curves, dots, reference = _problem(rng, pick(rng, KINDS[difficulty]))
    pixels = _picture(curves, dots, 140 + 28 * (difficulty // 2), pick(rng, INKS))
    return Drawn((Image(pixels), Text(ASKS[asks][language])), reference)


def _problem(rng: np.random.Generator, kind: str) -> Asked:
    if kind in ("intercept", "slope", "line"):
        slope, b = _slope(rng, kind != "intercept"), int(rng.integers(-3, 4))
        wrong = [str(-slope), str(1 / slope), str(b), str(slope + 1)]
        dots = [(0, b), (slope.denominator, b + slope.numerator)]
        if kind == "intercept":
            return "intercept", [_line(slope, b)], [], _one(b, [b + 1, b - 1, -b, slope])
        if kind == "slope":
            return "slope", [_line(slope, b)], dots, _one(slope, wrong)
        wrong = [_linear(-slope, b), _linear(slope, b + 1), _linear(Fraction(b), int(slope))]
        return (
            "formula",
            [_line(slope, b)],
            dots,
            _one(_linear(slope, b), wrong, left=["y", "f(x)"]),
        )
    if kind == "meet":
        x, y = (int(n) for n in rng.integers(-3, 4, 2))
        first, second = _slope(rng), _slope(rng)
        second = second if second != first else -first
        lines = [_line(slope, y - slope * x) for slope in (first, second)]
        return "meet", lines, [], _list([x, y], [[y, x], [-x, y], [x + 1, y], [x, y - 1]], True)
    a = pick(rng, (Fraction(1), Fraction(-1), Fraction(1, 2), Fraction(-1, 2)))
    if kind == "roots":
        middle, half = int(rng.integers(-2, 3)), int(rng.integers(1, 3))
        roots = [middle - half, middle + half]
        curve = _parabola(a, middle, -a * half**2)
        wrong = [[-roots[0], -roots[1]], [roots[0], roots[1] + 1], [roots[0] - 1, roots[1]]]
        return "roots", [curve], [(r, 0) for r in roots], _list(roots, wrong, False)
    x, y = int(rng.integers(-2, 3)), int(rng.integers(-3, 4))
    if kind == "vertex":
        wrong = [[y, x], [-x, y], [x, -y], [x + 1, y], [x, y - 1]]
        return "vertex", [_parabola(a, x, Fraction(y))], [], _list([x, y], wrong, True)
    dots = [(x, y)] + [(x + d, y + int(a * d * d)) for d in (-2, 2)]
    dots = [dot for dot in dots if max(abs(dot[0]), abs(dot[1])) <= REACH]
    formulas = [
        _square(*numbers) for numbers in ((-a, x, y), (a, -x - 1, y), (a, x, y + 1), (2 * a, x, y))
    ]
    return (
        "formula",
        [_parabola(a, x, Fraction(y))],
        dots,
        _one(_square(a, x, y), formulas, left=["y", "f(x)"]),
    )


def _slope(rng: np.random.Generator, fraction: bool = False) -> Fraction:
    low, high = (1, 4) if fraction else (1, 3)
    size = Fraction(int(rng.integers(low, high)), int(rng.integers(low, high)) if fraction else 1)
    return size if rng.random() < 0.5 else -size


def _one(gold: object, wrong: list, **more: Json) -> dict[str, Json]:
    return {
        "answer": str(gold),
        "wrong": math_equal.different(str(gold), [str(w) for w in wrong]),
        **more,
    }


def _list(gold: list[int], wrong: list[list[int]], in_order: bool) -> dict[str, Json]:
    reference = {"answers": [str(n) for n in gold], "ordered": in_order}
    said = [", ".join(str(n) for n in numbers) for numbers in wrong]
    return reference | {"wrong": [s for s in said if not math_equal.values(s, reference)]}


def _line(slope: Fraction, b: Fraction | int) -> Curve:
    return lambda x: float(slope) * x + float(b)


def _parabola(a: Fraction, x0: int, y0: Fraction) -> Curve:
    return lambda x: float(a) * (x - x0) ** 2 + float(y0)


def _linear(slope: Fraction, b: int) -> str:
    return f"{slope}*x+{b}".replace("+-", "-")


def _square(a: Fraction, x: int, y: int) -> str:
    return f"{a}*(x-{x})^2+{y}".replace("--", "+").replace("+-", "-")


def _picture(
    curves: list[Curve], dots: list[tuple[int, int]], side: int, ink: str
) -> UInt8[np.ndarray, "h w 3"]:
    """The plane from -REACH to REACH, numbers at the axes."""
    sheet = new_sheet((side, side), WHITE, 2)
    unit = (side - 16) / (2 * REACH)
    grey: Colour = (222, 222, 226)

    def at(x: float, y: float) -> tuple[float, float]:
        return side / 2 + unit * x, side / 2 - unit * y

    for n in range(-REACH, REACH + 1):
        sheet.line([at(n, -REACH), at(n, REACH)], grey, 0.8)
        sheet.line([at(-REACH, n), at(REACH, n)], grey, 0.8)
    sheet.line([at(-REACH, 0), at(REACH, 0)], BLACK, 1.2)
    sheet.line([at(0, -REACH), at(0, REACH)], BLACK, 1.2)
    x = np.linspace(-REACH, REACH, 161)
    for name, curve in zip((ink, "orange"), curves, strict=False):
        y = curve(x)
        inside = np.abs(y) <= REACH
        points = [at(float(a), float(b)) for a, b in zip(x[inside], y[inside], strict=True)]
        sheet.line(points, PALETTE[name][1], 2)
        shown = [dot for dot in dots if max(abs(dot[0]), abs(dot[1])) <= REACH]
        for dot in shown:
            sheet.disc(at(*dot), 3, PALETTE[name][1])
    for n in range(-4, 5, 2):
        if n:
            sheet.text((at(n, 0)[0], at(n, 0)[1] + 6), str(n), 9, BLACK, "mm")
            sheet.text((at(0, n)[0] - 3, at(0, n)[1]), str(n), 9, BLACK, "rm")
    return sheet.pixels()


def score(answer: str, reference: Mapping[str, Json]) -> float:
    """By the form that was asked for: a list of numbers, or one expression."""
    rule = math_equal.values if "answers" in reference else math_equal.exact
    return rule(answer, reference)


def oracle(task: Task) -> Replies:
    """The exact answer in the form asked for."""
    return (boxed(_gold(task)),)


def distractors(task: Task) -> list[Replies]:
    """Near misses, hedges, one value too many or too few."""
    gold, wrong = _gold(task), task.reference["wrong"]
    said = [*wrong, f"{gold} or {wrong[0]}", f"{gold}, {wrong[0]}", f"{gold}; {gold}", "", "y", "x"]
    if "answers" in task.reference:
        said += [task.reference["answers"][0], f"{gold}, {task.reference['answers'][0]}"]
    return [(boxed(answer),) for answer in said] + [(boxed(gold) * 2,)]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """Small numbers in the form asked for."""
    a, b, c = (int(n) for n in rng.integers(-3, 4, 3))
    if "answers" in task.reference:
        return (boxed(f"{a}, {b}"),)
    return (boxed(f"{a}*(x-{b})^2+{c}" if "left" in task.reference else a),)


def _gold(task: Task) -> str:
    reference = task.reference
    return ", ".join(reference["answers"]) if "answers" in reference else reference["answer"]


CATEGORY = Category(
    name="function_graph",
    group="stem",
    level="step",
    benchmark="MathVista (function plots)",
    scale="intercept, slope, vertex or roots, where lines meet or a line's formula, a parabola's",
    draw=draw,
    score=by_answer(score),
    oracle=oracle,
    distractors=distractors,
    guess=guess,
)
