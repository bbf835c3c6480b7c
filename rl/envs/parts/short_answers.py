"""References of short answers, and what is right, wrong, or a guess by them; not a category.

Every reference has a "form" (see `rl.rewards.rules.short`) and the alternatives it was chosen from:
names or words under "options", numbers under "near".
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal

import numpy as np

from cogvit_jax.data.rendering.canvas import pick
from rl.answers.numbers import letter
from rl.answers.reply import boxed
from rl.envs.category import Replies
from rl.rewards.rules.relaxed import close
from rl.types import Json, Task

NUMBER = {"en": " Answer with a number only.", "zh": "只回答一个数字。"}
NAME = {
    "en": " Answer with the name only, as it is written in the picture.",
    "zh": "只回答图中写出的名字。",
}
LETTER = {"en": " Answer with the letter of an option.", "zh": "只回答选项的字母。"}


def number(
    answer: float, kind: str, near: Iterable[float] = (), units: Sequence[str] = ()
) -> dict[str, Json]:
    """A number; `near`: wrong ones that can be seen too. See `rules.relaxed` for kind and units."""
    wrong = sorted({f"{n:.10g}" for n in near} - {f"{answer:.10g}"})
    return {
        "form": "number",
        "answer": f"{answer:.10g}",
        "kind": kind,
        "near": wrong,
        "units": list(units),
    }


def name(answer: str, options: Sequence[str], form: str = "name") -> dict[str, Json]:
    """One of the names in the picture, exactly; or with form="words" one of the texts, by ANLS."""
    return {"form": form, "answers": [answer], "options": list(options)}


def choice(rng: np.random.Generator, answer: str, wrong: Sequence[str]) -> dict[str, Json]:
    """Options in random order."""
    options = [answer, *wrong]
    order = rng.permutation(len(options)).tolist()
    return {
        "form": "choice",
        "answer": order.index(0),
        "options": [options[i] for i in order],
    }


def lettered(options: Sequence[str]) -> str:
    """The options, each with its letter on a line of its own."""
    return "".join(f"\n{letter(i)}. {option}" for i, option in enumerate(options))


def oracle(task: Task) -> Replies:
    """The right answer."""
    return (boxed(_right(task)),)


def distractors(task: Task) -> list[Replies]:
    """Every wrong alternative; the right one among others, with a unit too much, or hidden."""
    reference, gold = task.reference, _right(task)
    if reference["form"] == "number":
        wrong = _wrong_numbers(reference)
    elif reference["form"] == "choice":
        letters = [letter(i) for i in range(len(reference["options"]))]
        wrong = [x for x in letters if x != gold]
        wrong += ["".join(letters), " ".join(letters), letter(len(letters)), f"not {gold}"]
    else:
        options = [option for option in reference["options"] if option != gold]
        wrong = [*options, " ".join([gold, *options * 20]), gold[:-1] if len(gold) < 2 else ""]
    return [(boxed(text),) for text in (*wrong, "", f"{gold} | {' | '.join(wrong)}")] + [
        (f"<think>{gold}</think>",),
        (boxed(gold) + boxed(gold),),
    ]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """One of the alternatives, or for a measured number any from 1 to 1000."""
    reference = task.reference
    if reference["form"] == "choice":
        return (boxed(letter(int(rng.integers(len(reference["options"]))))),)
    if reference["form"] != "number":
        return (boxed(pick(rng, reference["options"])),)
    if reference["kind"] == "year":
        return (boxed(pick(rng, [reference["answer"], *reference["near"]])),)
    top = 3.0 if reference["kind"] == "measure" else 2.0
    return (boxed(int(10 ** rng.uniform(0, top))),)


def _right(task: Task) -> str:
    reference = task.reference
    if reference["form"] == "choice":
        return letter(reference["answer"])
    return reference["answer"] if reference["form"] == "number" else reference["answers"][0]


def _wrong_numbers(reference) -> list[str]:
    """Far enough off, or not one number."""
    gold = Decimal(reference["answer"])
    shifts = [gold + 1, gold - 1, gold * 10, gold / 10, gold + 10]
    if reference["kind"] == "measure":
        shifts = [gold * Decimal("1.06"), gold * Decimal("0.94"), gold * 10, gold / 10]
    numbers = [*map(Decimal, reference["near"]), *shifts, -gold]
    exact = reference["kind"] != "measure"
    wrong = [f"{n:f}" for n in numbers if (n != gold if exact else not close(n, gold))]
    strange = [f"{gold} or {gold + 1}", f"about {gold}", f"{gold}e0", f"[{gold}]", f"{gold} kg"]
    percent = [] if "%" in reference["units"] else [f"{gold}%"]
    return [*wrong, *strange, *percent, "nan", "inf"]
