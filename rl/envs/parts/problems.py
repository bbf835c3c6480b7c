"""Programming problems in both languages, with a solution, typical slips, and inputs.

`@a`, `@b`, `@c` stand for a small number, another one, and a letter.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from cogvit_jax.data.rendering.canvas import pick
from rl.types import Json

Rng = np.random.Generator
Inputs = Callable[[Rng], list[Json]]


class Problem(NamedTuple):
    """A family of problems.

    Attributes:
        level: difficulty, 0 … 4.
        en: what the function gives.
        zh: the same.
        arguments: names, in order.
        body: lines of the function; where they are one, it is an expression.
        slips: (what stands there, what stands there instead) of near misses.
        inputs: arguments of a call.
    """

    level: int
    en: str
    zh: str
    arguments: str
    body: str
    slips: tuple[tuple[str, str], ...]
    inputs: Inputs


def _number(low: int, high: int) -> Inputs:
    return lambda rng: [int(rng.integers(low, high))]


def _numbers(low: int, high: int, least: int = 1, most: int = 8) -> Inputs:
    return lambda rng: [rng.integers(low, high, rng.integers(least, most + 1)).tolist()]


def _word(letters: str, least: int = 1, most: int = 10) -> Inputs:
    return lambda rng: ["".join(pick(rng, letters) for _ in range(rng.integers(least, most + 1)))]


def _both(one: Inputs, other: Inputs) -> Inputs:
    return lambda rng: [*one(rng), *other(rng)]


def _intervals(rng: Rng) -> list[Json]:
    starts = rng.integers(0, 20, rng.integers(1, 6)).tolist()
    return [[[start, start + int(rng.integers(1, 6))] for start in starts]]


def _grid(rng: Rng) -> list[Json]:
    height, width = rng.integers(2, 5, 2)
    grid = (rng.random((height, width)) < 0.2).astype(int)
    grid[0, 0] = grid[-1, -1] = 0
    return [grid.tolist()]


def _sentence(rng: Rng) -> list[Json]:
    words = ("red", "boat", "on", "a", "quiet", "lake", "at", "noon")
    return [" ".join(pick(rng, words) for _ in range(rng.integers(1, 6)))]


PROBLEMS = (
    Problem(
        0, "x times @a, plus @b", "x乘以@a再加@b", "x", "x * @a + @b",
        (("+ @b", "- @b"), ("x * @a", "x + @a"), ("x * @a + @b", "(x + @b) * @a")),
        _number(-20, 20),
    ),
    Problem(
        0, "the remainder of x divided by @a", "x除以@a的余数", "x", "x % @a",
        (("%", "//"), ("@a", "(@a + 1)"), ("x % @a", "x")), _number(0, 60),
    ),
    Problem(
        0, "the larger of x and @a", "x和@a中较大的一个", "x", "max(x, @a)",
        (("max", "min"), ("max(x, @a)", "x"), ("@a", "@a + 1")), _number(-5, 20),
    ),
    Problem(
        1, "how often the letter @c occurs in the string x", "字符串x中字母@c出现的次数", "x",
        "x.count('@c')", (("x.count('@c')", "int('@c' in x)"), ("x.count", "len(x) - x.count")),
        _word("abcde"),
    ),
    Problem(
        1, "the sum of those numbers of the list x that are divisible by @a",
        "列表x中能被@a整除的数之和", "x", "sum(n for n in x if n % @a == 0)",
        (("== 0", "!= 0"), ("sum(n for", "sum(1 for"), (" if n % @a == 0", "")), _numbers(0, 30),
    ),
    Problem(
        1, "the string x with its words (divided by single spaces) in reverse order",
        "把字符串x中的单词（以一个空格分隔）倒序排列后的字符串", "x",
        "' '.join(x.split(' ')[::-1])",
        (("' '.join(x.split(' ')[::-1])", "x[::-1]"), ("[::-1]", "")), _sentence,
    ),
    Problem(
        1, "every @a-th item of the list x, beginning with the first",
        "列表x从第一项起每隔@a项取一项组成的列表", "x", "x[::@a]",
        (("x[::@a]", "x[@a - 1::@a]"), ("[::@a]", "[::@a + 1]"), ("x[::@a]", "x[:@a]")),
        _numbers(0, 50, 3, 12),
    ),
    Problem(
        2, "the run-length code of the string x: each letter followed by how often it stands there "
        "in a row, such as 'aab' -> 'a2b1'",
        "字符串x的游程编码：每个字母后写它连续出现的次数，如'aab'→'a2b1'",
        "x",
        "out, i = '', 0\nwhile i < len(x):\n    j = i\n"
        "    while j < len(x) and x[j] == x[i]:\n        j += 1\n"
        "    out += x[i] + str(j - i)\n    i = j\nreturn out",
        (("str(j - i)", "(str(j - i) if j - i > 1 else '')"), ("str(j - i)", "str(j)")),
        _word("ab", 1, 9),
    ),
    Problem(
        2, "the second largest different number of the list x, or -1 if there is none",
        "列表x中第二大的不同的数，没有时为-1", "x",
        "d = sorted(set(x))\nreturn d[-2] if len(d) > 1 else -1",
        (("sorted(set(x))", "sorted(x)"), ("d[-2]", "d[1]"), ("else -1", "else 0")),
        _numbers(0, 9, 1, 5),
    ),
    Problem(
        2, "the string x of small letters with each letter moved @a places on in the alphabet, "
        "beginning again at a after z",
        "把小写字母串x中每个字母在字母表中后移@a位（z之后回到a）", "x",
        "''.join(chr((ord(c) - 97 + @a) % 26 + 97) for c in x)",
        (("+ @a", "- @a"), ("% 26", "% 25"), ("(ord(c) - 97 + @a) % 26", "ord(c) - 97 + @a")),
        _word("abcmnxyz", 3),
    ),
    Problem(
        2, "the list x turned to the left by @a places", "列表x循环左移@a位后的列表", "x",
        "k = @a % len(x)\nreturn x[k:] + x[:k]",
        (("x[k:] + x[:k]", "x[-k:] + x[:-k]"), ("@a % len(x)", "@a"), ("x[:k]", "x[:k][::-1]")),
        _numbers(0, 50, 2, 7),
    ),
    Problem(
        3, "the length of the longest stretch of the list x in which each number is larger than "
        "the one before", "列表x中最长的严格递增连续段的长度", "x",
        "best = run = 1\nfor a, b in zip(x, x[1:]):\n    run = run + 1 if b > a else 1\n"
        "    best = max(best, run)\nreturn best",
        (("b > a", "b >= a"), ("else 1", "else 0"), ("return best", "return run")),
        _numbers(0, 7, 1, 9),
    ),
    Problem(
        3, "True if the brackets ( ) [ ] of the string x are balanced and nested rightly, "
        "else False",
        "字符串x中的括号( ) [ ]配对且嵌套正确时为True，否则为False", "x",
        "stack = []\nfor c in x:\n    if c in '([':\n        stack.append(c)\n"
        "    elif not stack or stack.pop() + c not in ('()', '[]'):\n        return False\n"
        "return not stack",
        (("return not stack", "return True"), (" + c not in ('()', '[]')", " == ''"),
         ("return not stack", "return x.count('(') == x.count(')')")),
        lambda rng: [pick(rng, ("()", "([])", "(]", "[(])", "()[]", "((", "[[]]", ")("))
                     * int(rng.integers(1, 3))],
    ),
    Problem(
        3, "the intervals [start, end] of the list x merged where they overlap or touch, sorted",
        "把列表x中重叠或相接的区间[start, end]合并后按起点排序的列表", "x",
        "out = []\nfor s, e in sorted(x):\n    if out and s <= out[-1][1]:\n"
        "        out[-1][1] = max(out[-1][1], e)\n"
        "    else:\n        out.append([s, e])\nreturn out",
        (("s <= out", "s < out"), ("max(out[-1][1], e)", "e"), ("sorted(x)", "x")), _intervals,
    ),
    Problem(
        3, "the most frequent number of the list x; of several, the smallest",
        "列表x中出现次数最多的数；有多个时取最小的", "x", "min(x, key=lambda n: (-x.count(n), n))",
        (("(-x.count(n), n)", "(-x.count(n), -n)"), ("-x.count(n)", "x.count(n)"),
         ("(-x.count(n), n)", "n")),
        _numbers(0, 5, 3, 8),
    ),
    Problem(
        4, "the least number of coins of 1, @a and @b (any number of each) that sum to x",
        "用面值1、@a、@b的硬币（数量不限）凑出x所需的最少枚数", "x",
        "best = [0]\nfor n in range(1, x + 1):\n"
        "    best.append(1 + min(best[n - c] for c in (1, @a, @b) if c <= n))\nreturn best[x]",
        (("(1, @a, @b)", "(1, @b)"), ("(1, @a, @b)", "(1, @a)"), ("return best[x]", "return x")),
        _number(1, 40),
    ),
    Problem(
        4, "the length of the longest common subsequence of the strings x and y",
        "字符串x和y的最长公共子序列的长度", "x, y",
        "d = [[0] * (len(y) + 1) for _ in range(len(x) + 1)]\nfor i, a in enumerate(x):\n"
        "    for j, b in enumerate(y):\n"
        "        d[i + 1][j + 1] = d[i][j] + 1 if a == b else max(d[i][j + 1], d[i + 1][j])\n"
        "return d[-1][-1]",
        (("max(d[i][j + 1], d[i + 1][j])", "0"), ("max(d[i][j + 1], d[i + 1][j])", "d[i][j + 1]"),
         ("return d[-1][-1]", "return len(set(x) & set(y))")),
        _both(_word("abc", 3, 9), _word("abc", 3, 9)),
    ),
    Problem(
        4, "the number of ways from the upper left to the lower right cell of the grid x (a list "
        "of rows) with steps to the right and down, through cells that are 0",
        "在网格x（行的列表）中只走值为0的格子、每步向右或向下，从左上角到右下角的路线数", "x",
        "d = {(0, -1): 1}\nfor i, row in enumerate(x):\n    for j, cell in enumerate(row):\n"
        "        d[i, j] = 0 if cell else d.get((i - 1, j), 0) + d.get((i, j - 1), 0)\n"
        "return d[len(x) - 1, len(x[0]) - 1]",
        (("0 if cell else ", ""), ("+ d.get((i, j - 1), 0)", "+ d.get((i - 1, j - 1), 0)"),
         ("return d[len(x) - 1, len(x[0]) - 1]", "return len(x) + len(x[0]) - 2")), _grid,
    ),
    Problem(
        4, "the number from 1 to x that remains when people stand in a circle and every @a-th one "
        "leaves, counting from 1 again after each",
        "x个人围成一圈报数，每数到@a的人离开，最后剩下的人的编号（从1起）",
        "x", "last = 0\nfor n in range(2, x + 1):\n    last = (last + @a) % n\nreturn last + 1",
        (("return last + 1", "return last"), ("% n", "% x"), ("+ @a", "+ @a + 1")), _number(2, 40),
    ),
)  # fmt: skip
