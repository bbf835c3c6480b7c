"""Exact arithmetic of sums of c * sqrt(n) * pi^k * x^m …, with rational c and squarefree n.

Square roots of squarefree numbers are linearly independent over the rationals (Besicovitch) and pi
is transcendental (Lindemann), so two such sums are equal only where they have the same terms:
equality is decided, not approximated. Everything is bounded, so nothing can take long.
"""

from fractions import Fraction
from math import isqrt

from rl.rewards.rules.math_syntax import Tree

Term = tuple[int, int, tuple[tuple[str, int], ...]]  # n, k, ((name, m), …) in order
Sum = dict[Term, Fraction]

ONE: Term = (1, 0, ())
MAX_TERMS = 40
MAX_BITS = 160  # of a numerator or denominator
MAX_POWER = 12
MAX_RADICAND = 1_000_000


class Unknown(Exception):
    """The expression is not such a sum."""


class TooMuch(Exception):
    """The expression is one of those that are refused: too large, a division by zero."""


def evaluate(tree: Tree) -> Sum:
    """The sum that a tree is equal to.

    Raises:
        Unknown, TooMuch: see there.
    """
    kind = tree[0]
    if kind == "num":
        return _kept({ONE: Fraction(tree[1])})
    if kind == "pi":
        return {(1, 1, ()): Fraction(1)}
    if kind == "name":
        return {(1, 0, ((tree[1], 1),)): Fraction(1)}
    if kind == "call":
        if tree[1] != "sqrt":
            raise Unknown
        return _root(evaluate(tree[2]))
    if kind == "neg":
        return {term: -c for term, c in evaluate(tree[1]).items()}
    left, right = evaluate(tree[1]), evaluate(tree[2])
    return {"add": _add, "mul": _mul, "div": _div, "pow": _pow}[kind](left, right)


def _kept(terms: Sum) -> Sum:
    """Without zeros, if it is small enough."""
    left = {term: c for term, c in terms.items() if c}
    bits = max(
        (max(abs(c.numerator), c.denominator).bit_length() for c in left.values()), default=0
    )
    if len(left) > MAX_TERMS or bits > MAX_BITS:
        raise TooMuch
    return left


def _add(left: Sum, right: Sum) -> Sum:
    total = dict(left)
    for term, c in right.items():
        total[term] = total.get(term, Fraction(0)) + c
    return _kept(total)


def _mul(left: Sum, right: Sum) -> Sum:
    total: Sum = {}
    for (n, k, powers), c in left.items():
        for (m, j, others), d in right.items():
            inside, outside = _squarefree(n * m)
            term = (inside, k + j, _joined(powers, others))
            total[term] = total.get(term, Fraction(0)) + c * d * outside
    return _kept(total)


def _joined(
    powers: tuple[tuple[str, int], ...], others: tuple[tuple[str, int], ...]
) -> tuple[tuple[str, int], ...]:
    both = dict(powers)
    for name, power in others:
        both[name] = both.get(name, 0) + power
    return tuple(sorted((name, power) for name, power in both.items() if power))


def _div(left: Sum, right: Sum) -> Sum:
    if not right:
        raise TooMuch
    if len(right) == 1:
        return _mul(left, _inverse(right))
    if len(right) != 2:
        raise Unknown
    # (a + b) (a - b) = a^2 - b^2 is one term where both are roots of rationals, pi and x aside.
    (first, a), (second, b) = right.items()
    product = _mul(right, {first: a, second: -b})
    if len(product) != 1:
        raise Unknown
    return _mul(_mul(left, {first: a, second: -b}), _inverse(product))


def _inverse(one: Sum) -> Sum:
    ((n, k, powers), c), *_ = one.items()
    return _kept({(n, -k, tuple((name, -power) for name, power in powers)): 1 / (c * n)})


def _pow(base: Sum, exponent: Sum) -> Sum:
    if set(exponent) - {ONE}:
        raise Unknown
    power = exponent.get(ONE, Fraction(0))
    if power == Fraction(1, 2):
        return _root(base)
    if abs(power) > MAX_POWER:
        raise TooMuch
    if power.denominator != 1:
        raise Unknown
    if not base and power <= 0:
        raise TooMuch
    result: Sum = {ONE: Fraction(1)}
    for _ in range(abs(int(power))):
        result = _mul(result, base)
    return result if power >= 0 else _div({ONE: Fraction(1)}, result)


def _root(square: Sum) -> Sum:
    if not square:
        return {}
    if set(square) != {ONE}:
        raise Unknown
    value = square[ONE]
    if value < 0:
        raise TooMuch
    inside, outside = _squarefree(value.numerator * value.denominator)
    return _kept({(inside, 0, ()): Fraction(outside, value.denominator)})


def _squarefree(n: int) -> tuple[int, int]:
    """(a, b) with n = a b², a squarefree."""
    whole = isqrt(n)
    if whole * whole == n:
        return 1, whole
    if n > MAX_RADICAND:
        raise TooMuch
    outside, factor = 1, 2
    while factor * factor <= n:
        while n % (factor * factor) == 0:
            n //= factor * factor
            outside *= factor
        factor += 1
    return n, outside
