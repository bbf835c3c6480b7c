"""Say what a program prints that is shown as a picture."""

import numpy as np

from cogvit_jax.data.rendering.canvas import pick
from mmtp.data.records import Image, Text
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, by_answer
from rl.envs.drawing import draw_code
from rl.envs.parts import programs
from rl.rewards.rules import text
from rl.types import Task

Rng = np.random.Generator
ASKS = {
    "en": ("What does this Python program print? Answer with the output alone.",),
    "zh": ("这个Python程序输出什么？只回答输出的内容。",),
}
LETTERS = ("tea", "lamp", "horse", "river", "boat", "clock", "bread", "paper")


def draw(context: Draw) -> Drawn:
    """A program of the difficulty's kind that prints one line."""
    rng, difficulty, language = context
    source = pick(rng, KINDS[difficulty])(rng)
    output = programs.printed(source)
    answers = [output, output.replace(", ", ",")] if ", " in output else [output]
    picture = draw_code.code(rng, source)
    reference = {"answers": answers, "source": source}
    return Drawn((Image(picture), Text(pick(rng, ASKS[language]))), reference)


def oracle(task: Task) -> Replies:
    """The output."""
    return (boxed(task.reference["answers"][0]),)


def distractors(task: Task) -> list[Replies]:
    """One off, reversed, with a part missing, with words, and the program itself."""
    gold = task.reference["answers"][0]
    wrong = [gold + "0", gold[:-1], f"{gold} {gold}", f"{gold} or {gold}1", f"print({gold})", ""]
    wrong += [f"It prints {gold}", task.reference["source"], f"print('{gold}')", f"{gold}\nNone"]
    number = gold.lstrip("-").isdigit()
    wrong += [str(int(gold) + 1), str(-int(gold) - 1)] if number else [gold[::-1] + "x"]
    return [(boxed(w),) for w in wrong]


def guess(task: Task, rng: Rng) -> Replies:
    """A small number."""
    return (boxed(int(rng.integers(0, 60))),)


def _sum(rng: Rng) -> str:
    a, b = (int(n) for n in rng.integers(2, 30, 2))
    return f"a = {a}\nb = {b}\nprint(a {pick(rng, '+-*%')} b)"


def _word(rng: Rng) -> str:
    word = pick(rng, LETTERS)
    tail = pick(rng, ("s[::-1]", "s[1:]", "s + s", "len(s)", "s[0] + s[-1]"))
    return f's = "{word}"\nprint({tail})'


def _loop(rng: Rng) -> str:
    start, n, step = int(rng.integers(0, 20)), int(rng.integers(3, 7)), int(rng.integers(2, 6))
    return f"s = {start}\nfor i in range({n}):\n    s = s + {step} * i\nprint(s)"


def _filter(rng: Rng) -> str:
    items, k = rng.integers(1, 20, 6).tolist(), int(rng.integers(2, 4))
    kept = pick(rng, (f"n % {k} == 0", f"n > {int(rng.integers(4, 14))}"))
    result = pick(rng, ("s = s + n", "s = s + 1", "s = n - s"))
    return f"s = 0\nfor n in {items}:\n    if {kept}:\n        {result}\nprint(s)"


def _slices(rng: Rng) -> str:
    items = rng.integers(1, 30, 7).tolist()
    i, j = int(rng.integers(0, 3)), int(rng.integers(4, 7))
    last = pick(rng, ("a[::2]", "sorted(a)", "a[::-1]", "[n + 1 for n in a]"))
    return f"a = {items}\na = a[{i}:{j}]\na.append({int(rng.integers(1, 30))})\nprint({last})"


def _nested(rng: Rng) -> str:
    n, m, k = (int(v) for v in rng.integers(3, 6, 3))
    test = pick(rng, ("i + j", "i * j", "i - j"))
    return (
        f"s = 0\nfor i in range({n}):\n    for j in range({m}):\n"
        f"        if ({test}) % {k - 1} == 0:\n            s = s + {pick(rng, ('1', 'i', 'j + 1'))}"
        f"\n        else:\n            s = s - {int(rng.integers(0, 2))}\nprint(s)"
    )


def _function(rng: Rng) -> str:
    a, b, c = (int(v) for v in rng.integers(2, 9, 3))
    start = int(rng.integers(5, 20))
    return (
        f"def f(n):\n    if n % 2 == 0:\n        return n // 2 + {a}\n    return n * {b} - {c}\n"
        f"x = {start}\nfor i in range(3):\n    x = f(x)\nprint(x)"
    )


def _recursive(rng: Rng) -> str:
    a, n, k = int(rng.integers(1, 4)), int(rng.integers(5, 8)), int(rng.integers(2, 4))
    return (
        f"def f(n):\n    if n < {k}:\n        return n + {a}\n"
        f"    return f(n - 1) + f(n - {k})\ns = 0\nwhile s < {int(rng.integers(5, 20))}:\n"
        f"    s = s + f({n - 2})\nprint(s + f({n}))"
    )


def _swaps(rng: Rng) -> str:
    items = rng.choice(np.arange(1, 30), 6, replace=False).tolist()
    return (
        f"a = {items}\nfor i in range({int(rng.integers(1, 3))}):\n    for j in range(5):\n"
        f"        if a[j] {pick(rng, '<>')} a[j + 1]:\n            t = a[j]\n"
        "            a[j] = a[j + 1]\n            a[j + 1] = t\nprint(a)"
    )


KINDS = (
    (_sum, _word),
    (_loop, _sum, _word),
    (_filter, _slices),
    (_nested, _function),
    (_recursive, _swaps, _nested),
)

CATEGORY = Category(
    name="code_output",
    group="coding",
    level="element",
    benchmark="CRUXEval, shown as a picture",
    scale="from one operation to nested loops, functions and recursion",
    draw=draw,
    score=by_answer(text.exact),
    oracle=oracle,
    distractors=distractors,
    guess=guess,
)
