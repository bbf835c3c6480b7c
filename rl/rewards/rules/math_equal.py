"""Mathematical equality: MathVista, Geometry3K, MATH; `math_verify`'s question, decided strictly.

1 where answer = gold as exact values, whatever their form: 2 = 2.0 = \\frac{4}{2}, 6/sqrt(2) =
3\\sqrt{2}, 2(x-1)^2 = 2x^2-4x+2; else 0. A decimal near a root or near pi is not equal to it.

Closed holes: `math_verify` takes "3 or 4", "{3, 4}" and "x = 3 or x = 4" for 4, hangs on 9**9**9
(5 s of alarm) and, as its alarm needs the main thread, fails in every other one. Here one
expression is parsed by a small grammar (`math_syntax`); sums of roots, pi and powers of variables
are compared exactly and at once (`math_exact`); what else there is (sin, logarithms) goes to
`math_verify` in a process that is killed after a second.
"""

import re
from collections.abc import Mapping, Sequence

from rl.rewards import isolate
from rl.rewards.rules import math_exact, math_syntax
from rl.rewards.rules.math_syntax import Tree
from rl.types import Json, Unverifiable

MAX_ITEMS = 12
_THOUSANDS = re.compile(r"[+-]?[0-9]{1,3}(?:,[0-9]{3}){1,4}(?:\.[0-9]{1,15})?")
_BRACKETS = {"(": ")", "[": "]", "{": "}"}


def value(text: str) -> math_exact.Sum | None:
    """The exact value of an expression; None where it has none that we know. Never raises."""
    tree = _tree(text)
    return None if tree is None else _exact_or_none(tree)


def exact(answer: str, reference: Mapping[str, Json]) -> float:
    """1 where the answer equals reference["answer"]; at once, in this process.

    Args:
        answer: an expression, behind it one of reference["units"] or nothing, before it one of
            reference["left"] and "=" or nothing ("y = 2x + 1").
        reference: see above; "units" and "left" may be missing.
    """
    said, gold = value(_bare(answer, reference)), value(reference["answer"])
    if gold is None:
        raise Unverifiable(f"{reference['answer']!r} has no exact value")
    return float(said == gold)


def values(answer: str, reference: Mapping[str, Json]) -> float:
    """1 where the answer is the list reference["answers"]: "-1, 3", "(2, 5)", "[2, 5]".

    In this order where reference["ordered"], else in any; none missing and none twice.
    """
    said = [value(item) for item in items(answer)]
    gold = [value(item) for item in reference["answers"]]
    if None in gold:
        raise Unverifiable(f"{reference['answers']!r} have no exact values")
    if None in said or len(said) != len(gold):
        return 0.0
    if reference.get("ordered"):
        return float(said == gold)
    return float(all(said.count(one) == gold.count(one) for one in gold))


def items(answer: str) -> list[str]:
    """Parts of a list with commas, in brackets or without; [] where it is too long."""
    said = answer.strip()
    if len(said) > math_syntax.MAX_CHARACTERS or not said:
        return []
    if _BRACKETS.get(said[0]) == said[-1] and said.count(said[0]) == 1:
        said = said[1:-1]
    parts = said.replace("，", ",").split(",")
    return parts if len(parts) <= MAX_ITEMS else []


def equivalent(answer: str, reference: Mapping[str, Json]) -> float:
    """As `exact`, with functions; what is not decided here is asked of math-verify, killably.

    Raises:
        VerifierFailed: it took longer than a second.
    """
    said = _tree(_bare(answer, reference))
    gold = _tree(reference["answer"])
    if gold is None:
        raise Unverifiable(f"{reference['answer']!r} is no expression")
    if said is None or math_syntax.names(said) - math_syntax.names(gold):
        return 0.0
    try:
        return float(math_exact.evaluate(said) == math_exact.evaluate(gold))
    except math_exact.TooMuch:
        return 0.0
    except math_exact.Unknown:
        pass
    if not (_bounded(said) and _bounded(gold)):
        return 0.0
    return float(isolate.call("rl.rewards.rules.math_symbolic:same", said, gold, seconds=1.0))


def _bounded(tree: Tree) -> bool:
    """Whether no power has a large exponent or another power in it."""
    if tree[0] in ("num", "pi", "name"):
        return True
    parts = [part for part in tree[1:] if isinstance(part, list)]
    if tree[0] == "pow":
        exponent = _exact_or_none(tree[2])
        large = exponent is not None and any(
            abs(c) > math_exact.MAX_POWER for c in exponent.values()
        )
        if large or _has(tree[2], "pow"):
            return False
    return all(_bounded(part) for part in parts)


def _tree(text: str) -> Tree | None:
    said = text.strip()[:1000]
    return math_syntax.parse(said.replace(",", "") if _THOUSANDS.fullmatch(said) else said)


def _exact_or_none(tree: Tree) -> math_exact.Sum | None:
    try:
        return math_exact.evaluate(tree)
    except (math_exact.Unknown, math_exact.TooMuch):
        return None


def _has(tree: Tree, kind: str) -> bool:
    return tree[0] == kind or any(_has(p, kind) for p in tree[1:] if isinstance(p, list))


def _bare(answer: str, reference: Mapping[str, Json]) -> str:
    """Without the one unit behind it and the one name before it that may stand there."""
    said = answer.strip()[:1000]
    for unit in sorted(reference.get("units", ()), key=len, reverse=True):
        if said.endswith(unit) and said != unit:
            said = said.removesuffix(unit).rstrip()
            break
    for left in reference.get("left", ()):
        before, equals, after = said.partition("=")
        if equals and before.strip() == left:
            return after
    return said


def different(gold: str, others: Sequence[str]) -> list[str]:
    """Those of `others` that are values other than gold's, each once: near misses to ask for."""
    seen, kept = [value(gold)], []
    for other in others:
        one = value(other)
        if one is not None and one not in seen:
            seen.append(one)
            kept.append(other)
    return kept
