"""Short Python: what a program prints, and one-line functions from words."""

import numpy as np

from cogvit_jax.data.rendering.canvas import pick
from mmtp.data.tasks.example import Example, ask, say

_PRINTS = {
    "en": ("{code}\nWhat does this print?", "{code}\nOutput?"),
    "zh": ("{code}\n这会输出什么？", "{code}\n输出是什么？"),
}
_WRITE = {
    "en": ("Write f(x) in Python: {what}.", "Python function f(x): {what}."),
    "zh": ("用Python写f(x)：{what}。", "Python函数f(x)：{what}。"),
}
_FUNCTIONS = (  # expression, English, Chinese
    ("x + {a}", "adds {a}", "加{a}"),
    ("x - {a}", "subtracts {a}", "减{a}"),
    ("x * {a}", "times {a}", "乘{a}"),
    ("(x + {a}) * {b}", "adds {a}, then times {b}", "加{a}再乘{b}"),
    ("x * {a} + {b}", "times {a}, then adds {b}", "乘{a}再加{b}"),
    ("x % {a}", "the remainder of x by {a}", "x除以{a}的余数"),
    ("max(x, {a})", "the larger of x and {a}", "x和{a}中较大的"),
    ("min(x, {a})", "the smaller of x and {a}", "x和{a}中较小的"),
    ("x > {a}", "whether x is larger than {a}", "x是否大于{a}"),
)
_WORDS = ("tea", "lamp", "horse", "map", "boat", "clock", "bread", "paper")


def prints(rng: np.random.Generator, language: str, split: str) -> Example:
    """The output of a few lines; arithmetic, a loop, a list, a string or a condition."""
    code, output = pick(rng, (_call, _loop, _list, _string, _condition))(rng)
    return ask(rng, [], say(rng, _PRINTS, language, code=code), output)


def writes(rng: np.random.Generator, language: str, split: str) -> Example:
    """A function of one line that is described in words."""
    expression, english, chinese = pick(rng, _FUNCTIONS)
    numbers = {"a": int(rng.integers(2, 20)), "b": int(rng.integers(2, 10))}
    what = (english if language == "en" else chinese).format(**numbers)
    answer = f"def f(x):\n    return {expression.format(**numbers)}"
    return ask(rng, [], say(rng, _WRITE, language, what=what), answer)


def _call(rng: np.random.Generator) -> tuple[str, str]:
    a, b, x = (int(n) for n in rng.integers(2, 10, 3))
    if rng.random() < 0.5:
        return f"def f(x):\n    return x * {a} + {b}\nprint(f({x}))", str(x * a + b)
    return f"def f(x):\n    return (x + {a}) * {b}\nprint(f({x}))", str((x + a) * b)


def _loop(rng: np.random.Generator) -> tuple[str, str]:
    n, step = int(rng.integers(2, 6)), int(rng.integers(1, 5))
    start = int(rng.integers(0, 10))
    code = f"s = {start}\nfor i in range({n}):\n    s += {step}\nprint(s)"
    return code, str(start + n * step)


def _list(rng: np.random.Generator) -> tuple[str, str]:
    items = rng.integers(1, 10, int(rng.integers(3, 6))).tolist()
    which = int(rng.integers(-1, len(items)))
    outputs = {
        f"a[{which}]": str(items[which]),
        "len(a)": str(len(items)),
        "max(a)": str(max(items)),
        "sum(a)": str(sum(items)),
        "a[::-1]": str(items[::-1]),
        "sorted(a)": str(sorted(items)),
    }
    expression = pick(rng, tuple(outputs))
    return f"a = {items}\nprint({expression})", outputs[expression]


def _string(rng: np.random.Generator) -> tuple[str, str]:
    word = pick(rng, _WORDS)
    end = int(rng.integers(1, len(word)))
    outputs = {
        "s.upper()": word.upper(),
        "len(s)": str(len(word)),
        "s[::-1]": word[::-1],
        f"s[:{end}]": word[:end],
        "s[0]": word[0],
        "s + s": word + word,
    }
    expression = pick(rng, tuple(outputs))
    return f's = "{word}"\nprint({expression})', outputs[expression]


def _condition(rng: np.random.Generator) -> tuple[str, str]:
    x, limit = rng.choice(20, 2, replace=False).tolist()
    first, second = (_WORDS[i] for i in rng.choice(len(_WORDS), 2, replace=False))
    code = f'x = {x}\nif x > {limit}:\n    print("{first}")\nelse:\n    print("{second}")'
    return code, first if x > limit else second
