"""Count the parts of a thing whose number everybody knows, and that often has another here."""

import numpy as np

from cogvit_jax.data.rendering.canvas import COLOURS, WHITE, mix, new_sheet, pick
from mmtp.data.records import Image, Text
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, by_answer
from rl.envs.drawing.draw_habits import HABITS, SIDE
from rl.rewards.rules import counts
from rl.types import Task

ASKS = {
    "en": ("How many {what}? Answer with a number.", "How many {what}? Give only the number."),
    "zh": ("{what}？只回答一个数字。", "{what}？请数一数，只写数字。"),
}
CHOICES = ((0, 3), (0, 5), (2, 7), (4, 9), (6, 11))  # of HABITS, in order of their numbers
AS_EVER = 0.25  # share of pictures with the usual number


def draw(context: Draw) -> Drawn:
    """A thing with too few parts, too many, or at times as many as ever."""
    rng, difficulty, language = context
    habit = pick(rng, HABITS[slice(*CHOICES[difficulty])])
    unusual = [n for n in range(habit.low, habit.high + 1) if n != habit.usual]
    count = habit.usual if rng.random() < AS_EVER else int(pick(rng, unusual))
    colour = pick(rng, [rgb for name, _, rgb in COLOURS if name != "black"])
    sheet = new_sheet((SIDE, SIDE), mix(WHITE, colour, float(rng.uniform(0, 0.08))), 3)
    habit.paint(sheet, count, colour)
    question = pick(rng, ASKS[language]).format(what=habit.ask[language])
    reference = {
        "answer": count,
        "usual": habit.usual,
        "low": habit.low,
        "high": habit.high,
        "thing": habit.paint.__name__,
    }
    return Drawn((Image(sheet.pixels()), Text(question)), reference)


def oracle(task: Task) -> Replies:
    """The number that is drawn."""
    return (boxed(task.reference["answer"]),)


def distractors(task: Task) -> list[Replies]:
    """The usual number, its neighbours, hedges between both, and no number."""
    gold, usual = task.reference["answer"], task.reference["usual"]
    numbers = [n for n in (usual, gold - 1, gold + 1, usual + 1, usual - 1) if n != gold]
    said = [*numbers, f"{gold} or {usual}", f"{usual}, but here {gold}", f"{gold} {usual}", -gold]
    said += [f"{gold}.0", f"{gold}²", "as usual", "", "²", " ".join(map(str, range(20)))]
    return [*((boxed(one),) for one in said), (boxed(usual) + boxed(gold),)]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """Any number that can be drawn."""
    return (boxed(int(rng.integers(task.reference["low"], task.reference["high"] + 1))),)


CATEGORY = Category(
    name="counterfactual",
    group="perception",
    level="element",
    benchmark="VLMsAreBiased",
    scale="things of 2 … 5 parts, up to things of 6 … 15",
    draw=draw,
    score=by_answer(counts.count),
    oracle=oracle,
    distractors=distractors,
    guess=guess,
)
