"""Write the Python function that a flow chart, or a table of examples, shows; hidden tests."""

import functools

import numpy as np

from cogvit_jax.data.rendering.canvas import pick
from mmtp.data.records import Image, Text
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, by_answer
from rl.envs.drawing import draw_code
from rl.envs.parts import programs
from rl.rewards.rules.code_tests import code_tests
from rl.types import Json, Task

ASKS = {
    "chart": {
        "en": "Write a Python function f(x) that does what the flow chart shows (// rounds down, % "
        "is the remainder). Answer with the code alone.",
        "zh": "写一个Python函数f(x)，实现流程图所示的计算（//为向下取整除，%为取余）。只回答代码。",
    },
    "table": {
        "en": "The table shows values of a function of whole numbers; it is one of {forms}, with "
        "whole numbers a and b from 1 to 9. Write it as a Python function f(x), for x from 0 to "
        "60. Answer with the code alone.",
        "zh": "表中是一个整数函数的一些值；它是{forms}之一，a、b为1到9的整数。写出Python函数f(x)，"
        "x从0到60。只回答代码。",
    },
}
WORDS = {"en": ("yes", "no"), "zh": ("是", "否")}
FORMS = (
    *("a * x + b", "a * x - b", "x % a + b", "max(x, a) * b", "x // a + b"),
    *("x * x + a * x + b", "min(x, a) + b", "(x + a) % b"),
)
DOMAIN = range(61)


def draw(context: Draw) -> Drawn:
    """A flow chart, more often than a table."""
    return _chart(context) if context.rng.random() < 0.65 else _table(context)


def oracle(task: Task) -> Replies:
    """The function."""
    return (boxed(task.reference["source"]),)


def distractors(task: Task) -> list[Replies]:
    """Near misses that differ somewhere, a cheat, and words."""
    reference = task.reference
    cheat = programs.cheats("f", 1)[task.seed % 3]
    forms = (f"{reference['source']}\n```", f"f(x) = x\n{reference['source']}", "f", "1.0", "")
    return [(boxed(answer),) for answer in (*reference["wrong"], cheat, *forms)]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """A line through the origin, or near it."""
    a, b = (int(n) for n in rng.integers(1, 10, 2))
    return (boxed(f"def f(x):\n    return {a} * x + {b}"),)


def _chart(context: Draw) -> Drawn:
    rng, difficulty, language = context
    calls: list[programs.Arguments] = [[x] for x in (*range(0, 8), *range(8, 60, 4))]
    for _ in range(200):
        nodes = _nodes(rng, difficulty)
        source = _source(nodes)
        right = programs.values(source, "f", calls)
        if len(set(right)) < 3 or max(map(abs, right)) >= 10**9 or not _taken(nodes, calls):
            continue
        wrong = programs.differing(_slips(rng, nodes), "f", calls, right)
        if len(wrong) >= 2:
            picture = draw_code.flow_chart(rng, nodes, WORDS[language])
            reference = _reference(source, calls, right, wrong)
            return Drawn((Image(picture), Text(ASKS["chart"][language])), reference)
    raise AssertionError("no flow chart could be drawn")


def _nodes(rng: np.random.Generator, difficulty: int) -> list[dict[str, Json]]:
    """1 … 5 steps: the harder, the more tests and loops."""
    kinds = {0: ["do"], 1: ["if"], 2: ["do", "if"], 3: ["if", "do", "if"]}
    chosen = kinds.get(difficulty, ["if", "while", "do", "if"])
    nodes = []
    for kind in chosen:
        node: dict[str, Json] = {"kind": kind, "yes": _step(rng)}
        if kind == "if":
            n = int(rng.integers(5, 40))
            tests = (f"x > {n}", f"x < {n}", f"x % {n % 4 + 2} == 0")
            node |= {"test": pick(rng, tests), "no": _step(rng)}
        elif kind == "while":
            low = int(rng.integers(20, 90))
            node |= {"test": f"x < {low}", "yes": f"x = x + {int(rng.integers(3, 20))}"}
        nodes.append(node)
    return nodes


def _step(rng: np.random.Generator) -> str:
    n = int(rng.integers(2, 10))
    return f"x = x {pick(rng, ('+', '-', '*', '*', '//', '%'))} {n}"


def _source(nodes: list[dict[str, Json]]) -> str:
    lines = ["def f(x):"]
    for node in nodes:
        if node["kind"] == "do":
            lines.append(f"    {node['yes']}")
        else:
            lines += [f"    {node['kind']} {node['test']}:", f"        {node['yes']}"]
        if node["kind"] == "if":
            lines += ["    else:", f"        {node['no']}"]
    return "\n".join([*lines, "    return x"])


def _slips(rng: np.random.Generator, nodes: list[dict[str, Json]]) -> list[str]:
    """At one of the steps: branches swapped, a bound moved, left out, another number."""
    i = int(rng.integers(len(nodes)))
    node, before, after = nodes[i], nodes[:i], nodes[i + 1 :]
    n = node["yes"].split()[-1]
    others = [{**node, "yes": node["yes"].removesuffix(n) + str(int(n) % 9 + 1)}]
    if node["kind"] == "if":
        others.append({**node, "yes": node["no"], "no": node["yes"]})
        others.append({**node, "test": node["test"].replace(">", ">=").replace("<", "<=")})
    return [_source(before + after), *(_source([*before, other, *after]) for other in others)]


def _taken(nodes: list[dict[str, Json]], calls: list[programs.Arguments]) -> bool:
    """Whether every branch of every test is taken by some call."""
    marks = [i for i, node in enumerate(nodes) if node["kind"] != "do"]
    lines = ["def f(x):", "    seen = 0"]
    for i, node in enumerate(nodes):
        yes, no = f"{node['yes']}; seen |= {1 << 2 * i}", f"seen |= {2 << 2 * i}"
        if node["kind"] == "do":
            lines.append(f"    {node['yes']}")
        else:
            lines += [f"    {node['kind']} {node['test']}:", f"        {yes}", "    else:"]
            lines.append(f"        {node.get('no', 'pass')}; {no}")
    seen = 0
    for value in programs.values("\n".join([*lines, "    return seen"]), "f", calls):
        seen |= value
    return all(seen >> 2 * i & 3 == 3 for i in marks)


def _table(context: Draw) -> Drawn:
    """Examples that only one of the functions of the given forms has."""
    rng, difficulty, language = context
    forms = FORMS[: 4 + difficulty]
    form = pick(rng, FORMS[difficulty : 4 + difficulty])
    space = {(f, a, b): _values(f, a, b) for f in forms for a in range(1, 10) for b in range(1, 10)}
    key = (form, int(rng.integers(2, 10)), int(rng.integers(2, 10)))
    right = space[key]
    others = [values for values in space.values() if not np.array_equal(values, right)]
    shown: list[int] = []
    for x in rng.permutation(min(len(DOMAIN), 25)).tolist():
        shown.append(x)
        others = [values for values in others if values[x] == right[x]]
        if len(shown) >= 4 and not others:
            break
    rows = [(str(x), str(right[x])) for x in sorted(shown)]
    picture = draw_code.table(rng, ("x", "f(x)"), rows)
    calls: list[programs.Arguments] = [[x] for x in DOMAIN if x not in shown][::2]
    expected = [int(right[x]) for (x,) in calls]
    examples = [([x], int(right[x])) for x in shown]
    near = [(form, key[1] % 9 + 1, key[2]), (form, key[1], key[2] % 9 + 1), (forms[0], *key[1:])]
    wrong = programs.differing([_code(*other) for other in near], "f", calls, expected)
    wrong.append(programs.lookup("f", 1, examples))
    text = ASKS["table"][language].format(forms=", ".join(f"f(x) = {f}" for f in forms))
    reference = _reference(_code(*key), calls, expected, wrong[-3:])
    return Drawn((Image(picture), Text(text)), reference)


@functools.lru_cache(maxsize=2000)
def _values(form: str, a: int, b: int) -> np.ndarray:
    x = np.arange(len(DOMAIN))
    if form == "max(x, a) * b":
        return np.maximum(x, a) * b
    if form == "min(x, a) + b":
        return np.minimum(x, a) + b
    linear = {
        "a * x + b": a * x + b,
        "a * x - b": a * x - b,
        "x * x + a * x + b": x * x + a * x + b,
    }
    if form in linear:
        return linear[form]
    return {"x % a + b": x % a + b, "x // a + b": x // a + b, "(x + a) % b": (x + a) % b}[form]


def _code(form: str, a: int, b: int) -> str:
    return f"def f(x):\n    a, b = {a}, {b}\n    return {form}"


def _reference(
    source: str, calls: list[programs.Arguments], right: list[Json], wrong: list[str]
) -> dict[str, Json]:
    tests = [list(pair) for pair in zip(calls, right, strict=True)]
    return {"function": "f", "tests": tests, "source": source, "wrong": wrong[:3]}


CATEGORY = Category(
    name="picture_to_code",
    group="coding",
    level="step",
    benchmark="Flowchart-to-code, HumanEval-V",
    scale="steps, tests and loops of the flow chart; forms that the table may have",
    draw=draw,
    score=by_answer(code_tests),
    oracle=oracle,
    distractors=distractors,
    guess=guess,
)
