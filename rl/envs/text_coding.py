"""Write a Python function that a text describes; hidden unit tests judge it."""

import numpy as np

from cogvit_jax.data.rendering.canvas import pick
from mmtp.data.records import Text
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, by_answer
from rl.envs.parts import programs
from rl.envs.parts.problems import PROBLEMS, Problem
from rl.rewards.rules.code_tests import code_tests
from rl.types import Json, Task

NAMES = ("solve", "compute", "find_it", "work")
ASKS = {
    "en": (
        "Write a Python function {name}({arguments}) that returns {what}.\n{examples}\n"
        "Answer with the code alone (Python's standard modules may be used)."
    ),
    "zh": (
        "写一个Python函数{name}({arguments})，返回{what}。\n{examples}\n"
        "只回答代码（可以使用标准库）。"
    ),
}
SHOWN, HIDDEN = 2, 8  # examples, tests
BLIND = ("return 0", "return 1", "return x", "return x[0]", "return len(x)", "return True")


def draw(context: Draw) -> Drawn:
    """A problem of the difficulty's level, with numbers of its own."""
    rng, difficulty, language = context
    problem = pick(rng, [p for p in PROBLEMS if p.level == difficulty])
    name = pick(rng, NAMES)
    small = sorted(rng.choice(np.arange(2, 10), 2, replace=False).tolist())
    letter = pick(rng, "abcde")

    def fill(text: str) -> str:
        return text.replace("@a", str(small[0])).replace("@b", str(small[1])).replace("@c", letter)

    source = _source(problem, name, fill)
    wrong = [source.replace(fill(old), fill(new)) for old, new in problem.slips]
    calls, right, wrong = _tests(rng, problem, name, source, wrong)
    examples = list(zip(calls[:SHOWN], right[:SHOWN], strict=True))
    text = ASKS[language].format(
        name=name,
        arguments=problem.arguments,
        what=fill(problem.en if language == "en" else problem.zh),
        examples="\n".join(f"{name}({', '.join(map(repr, a))}) == {v!r}" for a, v in examples),
    )
    arity = len(calls[0])
    reference = {
        "function": name,
        "tests": [list(pair) for pair in zip(calls[SHOWN:], right[SHOWN:], strict=True)],
        "source": source,
        "wrong": [*wrong[:2], programs.lookup(name, arity, examples)],
        "arity": arity,
    }
    return Drawn((Text(text),), reference)


def oracle(task: Task) -> Replies:
    """The solution."""
    return (boxed(f"```python\n{task.reference['source']}\n```"),)


def distractors(task: Task) -> list[Replies]:
    """Slips, the examples by heart, cheats, and forms that are no code alone."""
    reference = task.reference
    cheat = programs.cheats(reference["function"], reference["arity"])[task.seed % 3]
    forms = (
        f"Here you are:\n```python\n{reference['source']}\n```",
        reference["source"].replace("return", "print"),
        reference["source"].replace(f"def {reference['function']}", "def other"),
        "all tests passed",
        "1.0",
        "",
    )
    return [(boxed(answer),) for answer in (*reference["wrong"], cheat, *forms)]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """A function of the right name that gives something simple."""
    parameters = ", ".join("xyz"[: task.reference["arity"]])
    return (boxed(f"def {task.reference['function']}({parameters}):\n    {pick(rng, BLIND)}"),)


def _source(problem: Problem, name: str, fill) -> str:
    lines = problem.body.split("\n")
    lines = lines if len(lines) > 1 else [f"return {lines[0]}"]
    return fill("\n    ".join([f"def {name}({problem.arguments}):", *lines]))


def _tests(
    rng: np.random.Generator, problem: Problem, name: str, source: str, wrong: list[str]
) -> tuple[list[programs.Arguments], list[Json], list[str]]:
    """Calls, what they give, and the slips that the hidden ones find.

    Drawn anew until the hidden ones find two slips, and do not all give what the first example
    gives; the last draw is kept in any case, with as many inputs as needed.
    """
    for attempt in range(20):
        calls = [problem.inputs(rng) for _ in range(SHOWN + HIDDEN + attempt)]
        right = programs.values(source, name, calls)
        hidden = right[SHOWN:]
        found = programs.differing(wrong, name, calls[SHOWN:], hidden)
        if len(found) >= 2 and any(value != right[0] for value in hidden):
            return calls, right, found
    raise AssertionError(f"{problem.en}: its inputs do not tell its slips from it")


CATEGORY = Category(
    name="text_coding",
    group="coding",
    level="step",
    benchmark="HumanEval, MBPP, LiveCodeBench",
    scale="from one expression to loops, stacks and dynamic programming",
    draw=draw,
    score=by_answer(code_tests),
    oracle=oracle,
    distractors=distractors,
    guess=guess,
)
