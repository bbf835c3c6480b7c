"""Count the shapes of one kind, colour, or both, among others that share one of the two."""

import numpy as np

from cogvit_jax.data.rendering.canvas import pick
from mmtp.data.records import Image, Text
from mmtp.data.tasks import scenes
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, by_answer
from rl.rewards.rules import counts
from rl.types import Task

ASKS = {
    "en": (
        "How many {what} are there? Answer with a number.",
        "Count the {what}. Give only the number.",
    ),
    "zh": ("有几个{what}？只回答一个数字。", "请数一数{what}有多少个，只写数字。"),
}
CELLS = (2, 3, 4, 6, 8)  # along a side
RANGES = ((1, 3), (1, 5), (2, 8), (4, 16), (8, 32))  # of the answer
PLURALS = {"cross": "crosses"}


def draw(context: Draw) -> Drawn:
    """Shapes in the cells of a grid, some of them asked for."""
    rng, difficulty, language = context
    cells, (low, high) = CELLS[difficulty], RANGES[difficulty]
    count = int(rng.integers(low, high + 1))
    kind, colour = pick(rng, scenes.KINDS), pick(rng, scenes.COLOURS)
    by = pick(rng, ("kind", "colour", "both"))
    room = cells * cells - count
    rest = int(rng.integers(0, min(room, max(1, round(0.8 * high))) + 1))
    pairs = [_asked(rng, by, kind, colour) for _ in range(count)]
    pairs += [_other(rng, by, kind, colour) for _ in range(rest)]
    pairs = [pairs[i] for i in rng.permutation(len(pairs))]
    shapes = scenes.scatter(rng, pairs, cells, radii=(7, 12) if difficulty < 3 else (6, 11))
    side = cells * scenes.PATCH
    pixels = scenes.draw(shapes, (side, side), scenes.light_ground(rng))
    question = pick(rng, ASKS[language]).format(what=_name(by, kind, colour, language))
    reference = {"answer": count, "low": low, "high": high, "all": len(pairs)}
    return Drawn((Image(pixels), Text(question)), reference)


def oracle(task: Task) -> Replies:
    """The number."""
    return (boxed(task.reference["answer"]),)


def distractors(task: Task) -> list[Replies]:
    """One more or less, all shapes, several numbers, no digits, no number."""
    gold, total = task.reference["answer"], task.reference["all"]
    wrong = [gold - 1, gold + 1, -gold, f"{gold} or {gold + 1}", f"{gold}, {gold + 1}", f"~{gold}"]
    wrong += [f"{gold - 1}-{gold + 1}", f"{gold}.5", f"{gold}²", f"not {gold}", f"{gold}%", ""]
    wrong += [" ".join(map(str, range(40))), "²", "several", total if total != gold else 0]
    return [(boxed(one),) for one in wrong]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """Any number that can be the answer."""
    return (boxed(int(rng.integers(task.reference["low"], task.reference["high"] + 1))),)


def _asked(rng: np.random.Generator, by: str, kind: str, colour: str) -> tuple[str, str]:
    """A kind and a colour of which what is asked for is true."""
    if by == "kind":
        return kind, pick(rng, scenes.COLOURS)
    return (pick(rng, scenes.KINDS), colour) if by == "colour" else (kind, colour)


def _other(rng: np.random.Generator, by: str, kind: str, colour: str) -> tuple[str, str]:
    """A kind and a colour of which it is not true; where both are asked for, one often is."""
    kinds = [one for one in scenes.KINDS if one != kind]
    colours = [one for one in scenes.COLOURS if one != colour]
    if by == "kind":
        return pick(rng, kinds), pick(rng, scenes.COLOURS)
    if by == "colour":
        return pick(rng, scenes.KINDS), pick(rng, colours)
    near = ((kind, pick(rng, colours)), (pick(rng, kinds), colour))
    return pick(rng, (*near, (pick(rng, kinds), pick(rng, colours))))


def _name(by: str, kind: str, colour: str, language: str) -> str:
    """What is asked for, in the plural: "red circles", "crosses", "blue shapes"."""
    name, word = scenes.SHAPES[kind].of(language), scenes.colour_name(colour, language)
    if language == "zh":
        return {"kind": name, "colour": f"{word}的形状", "both": word + name}[by]
    plural = PLURALS.get(kind, f"{name}s")
    return {"kind": plural, "colour": f"{word} shapes", "both": f"{word} {plural}"}[by]


CATEGORY = Category(
    name="counting",
    group="perception",
    level="element",
    benchmark="CountBench, TallyQA",
    scale="the count, from 1 … 3 to 8 … 32, and the number of other shapes",
    draw=draw,
    score=by_answer(counts.count),
    oracle=oracle,
    distractors=distractors,
    guess=guess,
)
