"""The ball is under one of the cups, the cups change places: under which is it in the end?"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from cogvit_jax.data.rendering.canvas import WHITE, Colour, Sheet, mix, new_sheet, pick
from mmtp.data.records import Text, Video
from mmtp.data.tasks.scenes import PALETTE
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, by_answer
from rl.rewards.rules import counts
from rl.types import Task

ASK = {
    "en": "The red ball is under a cup, then cups change places. Under which cup is it at the end? "
    "Count from the left, beginning with 1, and answer with the number alone.",
    "zh": "红球在一个杯子下面，然后杯子交换位置。最后红球在哪个杯子下面？"
    "从左边数，从1开始，只回答数字。",
}
CUPS = (3, 3, 4, 4, 5)
SWAPS = (1, 2, 3, 5, 7)
GAP = 28  # pixels from cup to cup
TABLE: Colour = (226, 214, 190)


def draw(context: Draw) -> Drawn:
    """The ball is shown, then each change in two pictures: half-way, and done."""
    rng, difficulty, language = context
    cups, swaps = CUPS[difficulty], SWAPS[difficulty]
    ink = PALETTE[pick(rng, ("blue", "green", "purple"))][1]
    first = ball = int(rng.integers(cups))
    still = [(float(i), 0.0) for i in range(cups)]
    frames = [_picture(still, ink, lifted=first), _picture(still, ink)]
    pairs = []
    for _ in range(swaps):
        while True:
            a, b = (int(i) for i in np.sort(rng.choice(cups, 2, replace=False)))
            if not pairs or [a, b] != pairs[-1]:
                break
        pairs.append([a, b])
        frames += [_picture(_halfway(still, a, b), ink), _picture(still, ink)]
        ball = {a: b, b: a}.get(ball, ball)
    reference = {"answer": ball + 1, "cups": cups, "first": first + 1, "swaps": pairs}
    seconds = tuple(0.5 * i for i in range(len(frames)))
    return Drawn((Video(tuple(frames), seconds), Text(ASK[language])), reference)


def _halfway(still: Sequence[tuple[float, float]], a: int, b: int) -> list[tuple[float, float]]:
    """Two cups a third of the way to each other's place, one behind and one before the others."""
    places = list(still)
    third = (b - a) / 3
    places[a], places[b] = (a + third, -0.45), (b - third, 0.45)
    return places


def _picture(
    places: Sequence[tuple[float, float]], ink: Colour, lifted: int | None = None
) -> UInt8[np.ndarray, "h w 3"]:
    """Cups at places in cup distances; one may be lifted, the ball lies under it."""
    width = 28 * len(places)
    sheet = new_sheet((width, 84), mix(TABLE, WHITE, 0.4), 2)
    sheet.box((0, 36, width, 84), TABLE)
    order = sorted(range(len(places)), key=lambda i: places[i][1])
    for i in order:
        x, y = (places[i][0] + 0.5) * GAP, 62 + places[i][1] * GAP
        if i == lifted:
            sheet.disc((x, y - 5), 5, (214, 40, 40))
            y -= 26
        _cup(sheet, x, y, ink)
    return sheet.pixels()


def _cup(sheet: Sheet, x: float, y: float, ink: Colour) -> None:
    """A cup upside down that stands at (x, y)."""
    rim = mix(ink, WHITE, 0.45)
    sheet.polygon([(x - 10, y), (x + 10, y), (x + 7, y - 20), (x - 7, y - 20)], ink)
    sheet.polygon([(x - 10, y), (x + 10, y), (x + 9.5, y - 4), (x - 9.5, y - 4)], rim)


def oracle(task: Task) -> Replies:
    """The number of the cup."""
    return (boxed(task.reference["answer"]),)


def distractors(task: Task) -> list[Replies]:
    """Every other cup, all of them, none, hedges."""
    gold, cups = task.reference["answer"], task.reference["cups"]
    wrong = [str(i) for i in range(cups + 2) if i != gold]
    every = ", ".join(str(i + 1) for i in range(cups))
    said = [*wrong, every, f"{gold} or {wrong[0]}", f"-{gold}", f"{gold}.5", f"{gold}{gold}", ""]
    return [(boxed(answer),) for answer in said]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """Any cup."""
    return (boxed(rng.integers(1, task.reference["cups"] + 1)),)


CATEGORY = Category(
    name="shell_game",
    group="video",
    level="step",
    benchmark="Perception Test (cups and ball), MVBench (object shuffle)",
    scale="cups: 3 … 5; changes: 1, 2, 3, 5, 7",
    draw=draw,
    score=by_answer(counts.count),
    oracle=oracle,
    distractors=distractors,
    guess=guess,
)
