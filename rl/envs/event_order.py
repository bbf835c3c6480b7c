"""In which order things happen in a clip."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cogvit_jax.data.rendering.canvas import pick, pick_some
from mmtp.data.records import Text
from mmtp.data.tasks import scenes
from mmtp.data.tasks.scenes import Shape
from rl.answers.numbers import letter
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, by_answer
from rl.envs.drawing import clips
from rl.rewards.rules import order
from rl.types import Task

ASK = {
    "en": "In which order do these things happen?\n{events}\nAnswer with the letters alone, first "
    "to last, separated by commas.",
    "zh": "下列事件按什么顺序发生？\n{events}\n只回答字母，从先到后，用逗号隔开。",
}
EVENTS = {
    "appear": {"en": "The {name} appears.", "zh": "{name}出现。"},
    "vanish": {"en": "The {name} disappears.", "zh": "{name}消失。"},
    "move": {"en": "The {name} moves to another place.", "zh": "{name}换了位置。"},
    "turn": {"en": "The {name} turns {colour}.", "zh": "{name}变成{colour}。"},
}
COUNTS = (3, 3, 4, 5, 6)
KINDS = (("appear",), ("appear", "vanish"), tuple(EVENTS)[:3], tuple(EVENTS), tuple(EVENTS))
PAUSES = (0, 1, 2, 3, 4)  # frames in which nothing happens
CELLS = 3


def draw(context: Draw) -> Drawn:
    """One event of each shape, one after the other."""
    rng, difficulty, language = context
    count = COUNTS[difficulty]
    pairs = scenes.different(rng, count)
    cells = [int(i) for i in rng.permutation(CELLS * CELLS)]
    shapes = [_shape(rng, pair, cell) for pair, cell in zip(pairs, cells, strict=False)]
    free = cells[count:]
    spare = [colour for colour in scenes.COLOURS if all(s.colour != colour for s in shapes)]
    kinds, after, lines = [], [], []
    for shape in shapes:
        kind = pick(rng, KINDS[difficulty])
        if (kind == "move" and not free) or (kind == "turn" and not spare):
            kind = "vanish"
        new, colour = shape, ""
        if kind == "move":
            new = clips.moved(shape, _shape(rng, pairs[0], free.pop()).middle)
        if kind == "turn":
            new = replace(shape, colour=spare.pop())
            colour = scenes.colour_name(new.colour, language)
        kinds.append(kind)
        after.append(None if kind == "vanish" else new)
        lines.append(EVENTS[kind][language].format(name=shape.name(language), colour=colour))
    before = [None if k == "appear" else s for k, s in zip(kinds, shapes, strict=True)]
    frames = _frames(rng, before, after, PAUSES[difficulty])
    named = pick_some(rng, range(count), count)  # event named[k] has the letter k
    events = "\n".join(f"({letter(k)}) {lines[i]}" for k, i in enumerate(named))
    reference = {"order": [letter(named.index(i)) for i in range(count)]}
    video = clips.clip(frames, 28 * CELLS, scenes.light_ground(rng))
    return Drawn((video, Text(ASK[language].format(events=events))), reference)


def _shape(rng: np.random.Generator, pair: tuple[str, str], cell: int) -> Shape:
    row, column = divmod(cell, CELLS)
    x, y = (28 * n + 14 + int(rng.integers(-2, 3)) for n in (column, row))
    return Shape(*pair, (float(x), float(y)), float(rng.uniform(8, 11)))


def _frames(
    rng: np.random.Generator,
    before: Sequence[Shape | None],
    after: Sequence[Shape | None],
    pauses: int,
) -> list[list[Shape]]:
    """Shape i changes from `before` to `after` at the i-th change; some frames are repeated."""
    count = len(before)
    waits = np.bincount(rng.integers(0, count + 1, pauses), minlength=count + 1)
    frames = []
    for done in range(count + 1):
        seen = [*after[:done], *before[done:]]
        frames += [[shape for shape in seen if shape is not None]] * (1 + int(waits[done]))
    return frames


def oracle(task: Task) -> Replies:
    """The letters in order."""
    return (boxed(", ".join(task.reference["order"])),)


def distractors(task: Task) -> list[Replies]:
    """Two neighbours exchanged, the order turned around, letters missing or twice, all at once."""
    gold = task.reference["order"]
    exchanged = [[*gold[:i], gold[i + 1], gold[i], *gold[i + 2 :]] for i in range(len(gold) - 1)]
    wrong = [*exchanged, gold[::-1], gold[:-1], [*gold, gold[0]], [gold[0]] * len(gold), gold * 2]
    said = [", ".join(one) for one in wrong]
    said += ["", "(", "".join(f"({one})" for one in gold), f"{said[0]} or {', '.join(gold)}"]
    return [(boxed(one),) for one in [*said, ", ".join(gold) + f"; {said[0]}"]]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """The letters in any order."""
    gold = task.reference["order"]
    return (boxed(", ".join(pick_some(rng, sorted(gold), len(gold)))),)


CATEGORY = Category(
    name="event_order",
    group="video",
    level="step",
    benchmark="MVBench (action sequence), TempCompass",
    scale="events: 3, 3 of two kinds, 4, 5, 6 of four kinds; frames: 4 … 11",
    draw=draw,
    score=by_answer(order.permutation),
    oracle=oracle,
    distractors=distractors,
    guess=guess,
)
