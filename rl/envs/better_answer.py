"""Prefer the better of two answers about a picture, and say what is wrong with the other one.

A letter alone would be right half of the time; so the wrong sentence has to be named too.
"""

from collections.abc import Mapping

import numpy as np

from cogvit_jax.data.rendering.canvas import pick
from mmtp.data.records import Image, Text
from rl.answers.numbers import letter, parse_choice, parse_integer
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, by_answer
from rl.envs.parts import statements
from rl.types import Json, Task

ASKS = {
    "en": "Two answers to “What does the picture show?”:\n\nA:\n{a}\n\nB:\n{b}\n\nOne of them has "
    "a wrong sentence. Answer with the letter of the better answer and the number of the wrong "
    "sentence in the other one, such as: A 2",
    "zh": "对“图里有什么？”的两个回答：\n\nA：\n{a}\n\nB：\n{b}\n\n其中一个有一句是错的。"
    "回答较好回答的字母和另一个回答中错句的编号，例如：A 2",
}


def draw(context: Draw) -> Drawn:
    """Two lists of sentences of the same length, about different things."""
    rng, difficulty, language = context
    shapes, picture = statements.scene(rng, 2 + difficulty)
    size = 2 + difficulty // 2
    found = statements.statements(rng, shapes, 2 * size, language)
    size = len(found) // 2
    better, wrong = int(rng.integers(2)), int(rng.integers(size))
    lists = [[s.true for s in found[:size]], [s.true for s in found[size : 2 * size]]]
    lists[1 - better][wrong] = found[(1 - better) * size + wrong].false
    a, b = ("\n".join(f"{i}. {line}" for i, line in enumerate(part, 1)) for part in lists)
    reference = {"better": better, "wrong": wrong + 1, "sentences": size}
    return Drawn((Image(picture), Text(ASKS[language].format(a=a, b=b))), reference)


def preference(answer: str, reference: Mapping[str, Json]) -> float:
    """1 for the better answer's letter and the number of the other's wrong sentence, else 0."""
    words = answer.split() if len(answer) <= 20 else []
    if len(words) != 2:
        return 0.0
    said = parse_choice(words[0], 2), parse_integer(words[1])
    return float(said == (reference["better"], reference["wrong"]))


def oracle(task: Task) -> Replies:
    """Both."""
    return (_say(task.reference["better"], task.reference["wrong"]),)


def distractors(task: Task) -> list[Replies]:
    """The other letter, other numbers, one of the two alone, more than was asked for."""
    better, wrong = task.reference["better"], task.reference["wrong"]
    right = f"{letter(better)} {wrong}"
    numbers = [n for n in range(task.reference["sentences"] + 2) if n != wrong]
    forms = (letter(better), wrong, f"{wrong} {letter(better)}", f"A B {wrong}", f"{right} 1", "")
    return [
        *((_say(better, n),) for n in numbers),
        *((_say(1 - better, n),) for n in (*numbers, wrong)),
        *((boxed(form),) for form in (*forms, f"{right} {right}", f"not {right}", "A", "B")),
    ]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """Either letter and any number."""
    return (_say(pick(rng, (0, 1)), int(rng.integers(1, task.reference["sentences"] + 1))),)


def _say(better: int, wrong: int) -> str:
    return boxed(f"{letter(better)} {wrong}")


CATEGORY = Category(
    name="better_answer",
    group="critic",
    level="step",
    benchmark="VL-RewardBench",
    scale="shapes: 2 … 6, sentences in each answer: 2 … 4",
    draw=draw,
    score=by_answer(preference),
    oracle=oracle,
    distractors=distractors,
    guess=guess,
)
