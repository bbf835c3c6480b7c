"""Read a printed formula as LaTeX."""

import functools

import numpy as np
from PIL import Image as Pillow

from cogvit_jax.data.rendering.canvas import COLOURS, WHITE, mix, pick, smooth_noise
from mmtp.data.records import Image, Text
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, by_answer
from rl.rewards.rules import latex
from rl.types import Task

ASKS = {
    "en": (
        "Write the formula in LaTeX. Answer with the LaTeX code only.",
        "Which formula is this? Give nothing but its LaTeX.",
    ),
    "zh": ("把公式写成LaTeX，只回答LaTeX代码。", "这是什么公式？只写出它的LaTeX。"),
}
LETTERS = ("a", "b", "c", "d", "k", "m", "n", "p", "t", "x", "y", "z")
GREEK = ("\\alpha", "\\beta", "\\gamma", "\\theta", "\\lambda", "\\pi", "\\phi", "\\omega")
RELATIONS = ("=", "<", ">", "\\leq", "\\geq", "\\neq")
FUNCTIONS = ("\\sin", "\\cos", "\\tan", "\\log", "\\exp")
SIZES = (26, 22, 20, 20, 18)  # points at 72 dots per inch


def draw(context: Draw) -> Drawn:
    """A formula, from x+3 to a sum or an integral with fractions in it."""
    rng, difficulty, language = context
    said = _formula(rng, difficulty)
    ink = _printed(said, SIZES[difficulty])
    dark, paper = pick(rng, COLOURS)[2], mix(WHITE, pick(rng, COLOURS)[2], rng.uniform(0, 0.1))
    front, back = (dark, paper) if rng.random() < 0.8 else (paper, dark)
    ground = np.ones((*ink.shape, 1), np.float32) * np.array(back, np.float32)
    shown = ground + (np.array(front, np.float32) - ground) * ink[..., None]
    if difficulty >= 3:
        shown += 8 * smooth_noise(rng, ink.shape, 5)[..., None]
        shown += rng.standard_normal((*ink.shape, 1), np.float32) * 6
    pixels = np.clip(shown, 0, 255).astype(np.uint8)
    reference = {"answers": [said], "others": [_formula(rng, difficulty) for _ in range(4)]}
    return Drawn((Image(pixels), Text(pick(rng, ASKS[language]))), reference)


def oracle(task: Task) -> Replies:
    """The LaTeX."""
    return (boxed(task.reference["answers"][0]),)


def distractors(task: Task) -> list[Replies]:
    """Other formulas, signs swapped, parts, more than the formula, and what is no formula."""
    gold = task.reference["answers"][0]
    swapped = [gold.replace(a, b, 1) for a, b in (("+", "-"), ("x", "y"), ("2", "3"), ("^", "_"))]
    said = [*task.reference["others"], *swapped, gold[:-1], gold[1:], f"{gold}+1", f"{gold}{gold}"]
    said += [f"{gold} {other}" for other in task.reference["others"]]
    said += ["", "{", "$$", "\\frac", gold + "}", "x" * 3000, f"It is {gold}", "\\left"]
    wrong = [one for one in said if latex.canonical(one) != latex.canonical(gold)]
    return [*((boxed(one),) for one in wrong), (boxed(gold) + boxed(gold),)]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """A formula of the same kind."""
    return (boxed(pick(rng, task.reference["others"])),)


def _formula(rng: np.random.Generator, difficulty: int) -> str:
    if difficulty == 0:
        left, right = pick(rng, LETTERS), str(rng.integers(1, 10))
        return f"{left}{pick(rng, ('+', '-', '='))}{right}"
    if difficulty == 1:
        return f"{_term(rng, 1)}{pick(rng, ('+', '-', '='))}{_term(rng, 1)}"
    if difficulty == 2:
        return f"{_term(rng, 2)} {pick(rng, RELATIONS)} {_term(rng, 1)}"
    left, sign = _sum(rng, difficulty), pick(rng, RELATIONS)
    return f"{_big(rng, difficulty) if rng.random() < 0.6 else left} {sign} {_sum(rng, 2)}"


def _sum(rng: np.random.Generator, depth: int) -> str:
    return f"{_term(rng, depth - 1)}{pick(rng, ('+', '-'))}{_term(rng, depth - 1)}"


def _term(rng: np.random.Generator, depth: int) -> str:
    """A letter with scripts; from depth 2 on also fractions, roots, functions and brackets."""
    letter, number = pick(rng, LETTERS if depth < 2 else LETTERS + GREEK), int(rng.integers(2, 10))
    if depth <= 0:
        return letter if rng.random() < 0.7 else str(number)
    form = int(rng.integers(3 if depth < 2 else 8))
    inner = _term(rng, depth - 1)
    simple = (f"{letter}^{{{number}}}", f"{letter}_{{{number}}}", f"{number}{letter}")
    if form < 3:
        return simple[form]
    if form == 3:
        return f"\\frac{{{inner}}}{{{_term(rng, depth - 1)}}}"
    if form == 4:
        return f"\\sqrt{{{inner}{pick(rng, ('+', '-'))}{number}}}"
    if form == 5:
        return f"{pick(rng, FUNCTIONS)}({inner})"
    if form == 6:
        return f"({inner}+{letter})^{{{number}}}"
    return f"{letter}_{{{pick(rng, ('i', 'j', 'n'))}}}^{{{number}}}"


def _big(rng: np.random.Generator, difficulty: int) -> str:
    """A sum, an integral or a limit."""
    inner, number = _term(rng, difficulty - 1), str(rng.integers(2, 10))
    top, end, near = (
        pick(rng, ends) for ends in (("n", "m", number), ("1", "\\pi", number), ("0", "\\infty"))
    )
    return pick(
        rng,
        (
            f"\\sum_{{i=1}}^{{{top}}} {inner}",
            f"\\int_{{0}}^{{{end}}} {inner} dx",
            f"\\lim_{{x\\to {near}}} {inner}",
        ),
    )


def _printed(formula: str, size: int) -> np.ndarray:
    """Ink 0 ... 1 of a formula, in the middle of a sheet whose sides are multiples of 28."""
    parser, font = _typesetter(size)
    shown = formula.replace("\\frac", "\\dfrac")  # large enough to read; the same LaTeX
    ink = Pillow.fromarray(np.asarray(parser.parse(f"${shown}$", 72, font).image))
    sides = [28 * -(-(side + 10) // 28) for side in ink.size]
    page = Pillow.new("L", (sides[0], sides[1]))
    page.paste(ink, ((sides[0] - ink.width) // 2, (sides[1] - ink.height) // 2))
    return np.asarray(page, np.float32) / 255


@functools.cache
def _typesetter(size: int):
    """matplotlib's, with its own Computer Modern; imported here since it takes a while."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.mathtext import MathTextParser

    return MathTextParser("agg"), FontProperties(math_fontfamily="cm", size=size)


CATEGORY = Category(
    name="formulas",
    group="ocr",
    level="element",
    benchmark="OCRBench (HME100K)",
    scale="from x+3 to sums, integrals and limits with nested fractions, on noisy paper",
    draw=draw,
    score=by_answer(latex.formula),
    oracle=oracle,
    distractors=distractors,
    guess=guess,
)
