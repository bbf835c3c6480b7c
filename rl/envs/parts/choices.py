"""Multiple choice: how options are written, and what is wrong or blind in any such task.

The reference of such a task holds "answer", the number of the right option, and "options", all of
them as text.
"""

from collections.abc import Sequence

import numpy as np

from rl.answers.numbers import letter
from rl.answers.reply import boxed
from rl.envs.category import Replies
from rl.types import Json, Task

FORM = {"en": "Answer with the letter of the option only.", "zh": "只回答选项的字母。"}


def lettered(options: Sequence[str], language: str) -> str:
    """The options, one a line behind its letter, and how to answer."""
    lines = [f"{letter(i)}. {option}" for i, option in enumerate(options)]
    return "\n".join([*lines, FORM[language]])


def asked(question: str, options: Sequence[str], language: str) -> str:
    """The question, its options, and how to answer."""
    return f"{question}\n{lettered(options, language)}"


def shuffled(
    rng: np.random.Generator, right: str, wrong: Sequence[str]
) -> tuple[list[str], dict[str, Json]]:
    """Options in random order, and the reference that names the right one."""
    order = rng.permutation(1 + len(wrong))
    found = [[right, *wrong][i] for i in order]
    return found, {"answer": int(np.flatnonzero(order == 0)[0]), "options": found}


def oracle(task: Task) -> Replies:
    """The right letter."""
    return (boxed(letter(task.reference["answer"])),)


def distractors(task: Task) -> list[Replies]:
    """Every other letter, none, all, hedges, and what passes where options are searched for."""
    gold, count = task.reference["answer"], len(task.reference["options"])
    right, letters = letter(gold), [letter(i) for i in range(count)]
    other = letters[(gold + 1) % count]
    said = [*(one for one in letters if one != right), letter(count), ""]
    said += ["(", ".", "()", "Option", "I don't know", " ".join(letters), ", ".join(letters)]
    said += ["".join(f"({one})" for one in letters), f"{right} or {other}", f"not {other}"]
    said += [f"{right}, {other}", f"{other}. No: {right}", f"not {right}", right * 2]
    hedges = (boxed(right) + boxed(other), boxed(right) + boxed(right), f"<think>{boxed(right)}")
    return [*((boxed(one),) for one in said), *((hedge,) for hedge in hedges)]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """Any letter."""
    return (boxed(letter(int(rng.integers(len(task.reference["options"]))))),)
