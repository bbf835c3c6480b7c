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
}
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
        return "it is the same number, or as near to it as is asked for"
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
    """Of a number or product of numbers, relative to the right one; infinite of anything else."""
    one, other = (_value(text) for text in (said, right))
    if one is None or other is None:
        return math.inf
    return float(abs(one - other) / abs(other)) if other else 0.0 if one == 0 else math.inf


def _value(text: str) -> Fraction | None:
    """Of "-1.5", "0/5", "-(0)", "3 (1)"; None for anything else."""
    if len(text) > 40 or not all(c in "0123456789.+-*/() " and c.isascii() for c in text):
        return None
    try:
        return _worth(ast.parse(text.strip().replace(" (", "*("), mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError):
        return None


def _worth(tree: ast.expr) -> Fraction:
    if isinstance(tree, ast.Constant):
        return Fraction(str(tree.value))
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub):
        return -_worth(tree.operand)
    if isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.Mult):
        return _worth(tree.left) * _worth(tree.right)
    if isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.Div):
        return _worth(tree.left) / _worth(tree.right)
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
