"""What only an algebra system can say; imported by `math_equal` in a process of its own."""

import operator
from typing import Any

import sympy
from math_verify import verify

from rl.rewards.rules.math_syntax import Tree

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
    return bool(verify(symbolic(gold), symbolic(said), timeout_seconds=None))


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
