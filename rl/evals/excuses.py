"""Hostile replies that are right after all, or as near to right as the measure says.

Decided without the verifier that is on trial, from the replies that are known to be right. What is
paid without an excuse is a false accept. Excuses are counted and named in the audit.
"""

import ast
import json
import math
import re
from collections.abc import Sequence
from fractions import Fraction

from rl.answers.calls import MARKS
from rl.answers.reply import BOX, THINK, answer_of
from rl.envs.category import Category
from rl.evals.hostile import Attack
from rl.types import Task

# Measures of distance: a right answer with something wrong beside it is worth less than 1, not 0.
GRADED = {
    "printed_words": "1 - character error rate",
    "handwriting": "1 - character error rate",
    "document_qa": "ANLS",
    "spot_difference": "F1 of boxes",
    "detection": "F1 of boxes",
    "page_layout": "F1 of boxes and their order",
    "receipt_fields": "F1 of fields",
    "chart_to_csv": "F1 of entries",
    "table_to_html": "TEDS",
    "temporal_grounding": "F1 of stretches",
    "gui_step": "similarity of what is typed",
}
POINTS = ("2", "7", "-5/3", "1/9", "-11", "13/2")  # where expressions of x are compared
NEAR = {
    "metric_distance": 0.5,
    "chart_value": 0.05,
    "chart_reasoning": 0.05,
}  # relative errors paid
_WIDTHS = {0xFEE0 + code: code for code in range(0x21, 0x7F)}  # full-width letters, digits, marks
_INTEGER = re.compile(r"[+-]?[0-9]{1,15}")
_BETWEEN = "()[],>\"'"


def excuse(category: Category, task: Task, attack: Attack, value: float) -> str:
    """Why a hostile reply may be worth `value`; "" = it may not."""
    gold = category.oracle(task)[-1]
    right = answer_of(gold) or ""
    said = answer_of(attack.reply)
    if said is None:
        return ""
    found = _same(category, said, right)
    if found:
        return found
    if task.tools and attack.reply.endswith(gold) and not _marked(attack.reply[: -len(gold)]):
        return "words before a call are thoughts, and the call is the right one"
    if category.name == "constraints" and _one_fact(said, task.reference["facts"]):
        return "the right sentence and no wrong one is there, beside others in the form asked for"
    if attack.holds and category.name in GRADED and value < 1:
        return f"partly right by {GRADED[category.name]}"
    return ""


def _same(category: Category, said: str, right: str) -> str:
    """Why an answer is the right one in other words; "" = it is not."""
    if _plain(said) == _plain(right) or _integer(said) == _integer(right) is not None:
        return "it is the right answer"
    if category.group == "stem" and said.replace("\\sqrt", "sqrt") == right:
        return "it is the right answer in LaTeX"
    if not any(c.isdigit() for c in right) and _bare(said) == _bare(right):
        return "it is the right answer with other marks between its parts"
    if _json(said) == _json(right) is not None:
        return "it is the same JSON, its numbers in another notation"
    if _error(said, right) <= NEAR.get(category.name, 0):
        return "it is the same number or function, or as near to it as is asked for"
    if category.group == "coding" and _function(said) == _function(right) is not None:
        return "it is code, and its last definition of the function is the right one"
    return ""


def _plain(text: str) -> str:
    """Without blanks, case, width and a full stop at the end."""
    folded = "".join(text.translate(_WIDTHS).split()).casefold()
    return folded.removesuffix(".").removesuffix("。")


def _bare(text: str) -> str:
    return "".join(c for c in _plain(text) if c not in _BETWEEN)


def _integer(text: str) -> int | None:
    """ "-0" is 0 too."""
    return int(text) if _INTEGER.fullmatch(text.strip()) else None


def _error(said: str, right: str) -> float:
    """The largest error of an expression of x, relative to the right one; infinite of any other."""
    pairs = zip(_values(said), _values(right), strict=False)
    errors = [float(abs(a - b) / abs(b)) if b else 0.0 if a == 0 else math.inf for a, b in pairs]
    return max(errors, default=math.inf)


def _values(text: str) -> list[Fraction]:
    """Of "-1.5", "0/5", "3 (1)", "-1/2*(x-0)^2+0" for some x; [] of anything else."""
    if len(text) > 60 or not all(c in "0123456789.+-*/^() x" for c in text) or "\n" in text:
        return []
    try:
        tree = ast.parse(text.strip().replace(" (", "*(").replace("^", "**"), mode="eval").body
        return [_worth(tree, Fraction(x)) for x in POINTS]
    except (SyntaxError, ValueError, ZeroDivisionError, OverflowError):
        return []


def _worth(tree: ast.expr, x: Fraction) -> Fraction:
    if isinstance(tree, ast.Constant):
        return Fraction(str(tree.value))
    if isinstance(tree, ast.Name) and tree.id == "x":
        return x
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub):
        return -_worth(tree.operand, x)
    if not isinstance(tree, ast.BinOp):
        raise ValueError
    a, b = _worth(tree.left, x), _worth(tree.right, x)
    match tree.op:
        case ast.Add():
            return a + b
        case ast.Sub():
            return a - b
        case ast.Mult():
            return a * b
        case ast.Div():
            return a / b
        case ast.Pow() if b in range(10):
            return a ** int(b)
    raise ValueError


def _json(text: str) -> str | None:
    """A list or object, its numbers all written alike; None where it is neither."""
    try:
        value = json.loads(text, parse_int=float) if len(text) < 20_000 else None
    except (ValueError, RecursionError):
        return None
    return json.dumps(value) if isinstance(value, list | dict) else None


def _marked(text: str) -> bool:
    return any(mark in text for mark in (*MARKS, *BOX, *THINK))


def _one_fact(said: str, facts: Sequence[str]) -> bool:
    said, (right, *wrong) = said.casefold(), (fact.casefold() for fact in facts)
    return right in said and not any(fact in said for fact in wrong)


def _function(text: str) -> str | None:
    """What the last function of a module does, as a tree without idle expressions."""
    lines = [line for line in text.strip().splitlines() if not line.startswith("```")]
    try:
        body = ast.parse("\n".join(lines)).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    functions = [part for part in body if isinstance(part, ast.FunctionDef)]
    for part in functions[-1:]:
        part.body = [line for line in part.body if not _idle(line)]
        return ast.dump(part)
    return None


def _idle(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)
