"""What questions with lettered options share: the text, the right reply, and the wrong ones."""

from collections.abc import Sequence

import numpy as np

from rl.answers.numbers import letter
from rl.answers.reply import boxed
from rl.envs.category import Replies
from rl.types import Json, Task

FORM = {"en": "Answer with the letter.", "zh": "只回答选项的字母。"}


def asked(question: str, options: Sequence[str], language: str) -> str:
    """The question, its options, and how to answer."""
    lines = [f"{letter(i)}. {option}" for i, option in enumerate(options)]
    return "\n".join((question, *lines, FORM[language]))


def shuffled(
    rng: np.random.Generator, right: str, wrong: Sequence[str]
) -> tuple[list[str], dict[str, Json]]:
    """Options in random order, and the reference that names the right one."""
    options = [right, *wrong]
    order = rng.permutation(len(options))
    found = [options[i] for i in order]
    return found, {"answer": int(np.flatnonzero(order == 0)[0]), "options": found}


def oracle(task: Task) -> Replies:
    """The right letter."""
    return (boxed(letter(task.reference["answer"])),)


def distractors(task: Task) -> list[Replies]:
    """Every other letter, all letters, two of them, hedges, and what has fooled other verifiers."""
    right, count = task.reference["answer"], len(task.reference["options"])
    wrong = [letter(i) for i in range(count) if i != right]
    every = "".join(f"({letter(i)})" for i in range(count))
    both = f"{letter(right)} or {wrong[0]}"
    hedges = [every, " ".join(every), both, f"not {letter(right)}", f"{letter(right)}{wrong[0]}"]
    return [(boxed(text),) for text in (*wrong, *hedges, "", "(", ".", "Z", "0", "I don't know")]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """Any of the letters."""
    return (boxed(letter(int(rng.integers(len(task.reference["options"]))))),)
