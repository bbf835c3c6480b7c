"""What only an algebra system can say; imported by `math_equal` in a process of its own."""

import cmath
import operator
from typing import Any

import sympy
from math_verify import verify

from rl.rewards.rules.math_syntax import Tree

PLACES = (0.37, -1.29, 2.83)  # of the first variable, where values are compared

_OPERATIONS = {
    "add": operator.add,
    "mul": operator.mul,
    "div": operator.truediv,
    "pow": operator.pow,
}
_FUNCTIONS = {
    "sqrt": sympy.sqrt,
    "sin": sympy.sin,
    "cos": sympy.cos,
    "tan": sympy.tan,
    "ln": sympy.log,
    "log": sympy.log,
    "exp": sympy.exp,
}


def same(said: Tree, gold: Tree) -> bool:
    """Whether math-verify takes two trees for equal; may hang."""
    one, other = symbolic(gold), symbolic(said)
    return not differ(one, other) and bool(verify(one, other, timeout_seconds=None))


def differ(one: Any, other: Any) -> bool:
    """Whether two expressions clearly have different values somewhere; quicker than simplifying."""
    names = sorted(one.free_symbols | other.free_symbols, key=str)
    for start in PLACES if names else PLACES[:1]:
        at = {name: start + 0.61 * number for number, name in enumerate(names)}
        try:
            a, b = (complex(each.evalf(15, subs=at)) for each in (one, other))
        except (TypeError, ValueError, ArithmeticError):
            continue
        finite = cmath.isfinite(a) and cmath.isfinite(b)
        if finite and abs(a - b) > 1e-6 * max(1.0, abs(a), abs(b)):
            return True
    return False


def symbolic(tree: Tree) -> Any:
    """The tree as sympy's; built node by node, so that no text is ever evaluated."""
    kind, *parts = tree
    if kind == "num":
        return sympy.Rational(parts[0])
    if kind == "pi":
        return sympy.pi
    if kind == "name":
        return sympy.Symbol(parts[0], real=True)
    if kind == "call":
        return _FUNCTIONS[parts[0]](symbolic(parts[1]))
    first, *rest = (symbolic(part) for part in parts)
    return -first if kind == "neg" else _OPERATIONS[kind](first, *rest)
