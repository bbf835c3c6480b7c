"""What programs of our own give, and near misses of them that certainly are wrong.

Only sources that this project wrote are run here; a policy's code runs in `rl.rewards.sandbox`.
"""

import copy
from collections.abc import Callable, Sequence

from rl.rewards.rules.code_tests import same
from rl.types import Json

Arguments = list[Json]


def values(source: str, name: str, calls: Sequence[Arguments]) -> list[Json]:
    """What a function gives for each call; the name of the exception where it raises one."""
    space: dict[str, Callable[..., Json]] = {}
    exec(source, space)
    found: list[Json] = []
    for arguments in calls:
        try:
            found.append(space[name](*copy.deepcopy(arguments)))
        except (ArithmeticError, LookupError, ValueError, TypeError) as problem:
            found.append({"raised": type(problem).__name__})
    return found


def printed(source: str) -> str:
    """What a program prints, without the last line break."""
    lines: list[str] = []
    exec(source, {"print": lambda *items: lines.append(" ".join(map(str, items)))})
    return "\n".join(lines)


def differing(
    wrong: Sequence[str], name: str, calls: Sequence[Arguments], right: Sequence[Json]
) -> list[str]:
    """Those of the wrong sources that give something else for at least one call."""
    found = []
    for source in wrong:
        given = values(source, name, calls)
        if not all(same(a, b) for a, b in zip(given, right, strict=True)):
            found.append(source)
    return found


def lookup(name: str, arity: int, examples: Sequence[tuple[Arguments, Json]]) -> str:
    """Code that knows the examples that were shown, and nothing else."""
    parameters = ", ".join("xyz"[:arity])
    lines = [f"def {name}({parameters}):"]
    for arguments, value in examples:
        lines += [f"    if [{parameters}] == {arguments!r}:", f"        return {value!r}"]
    return "\n".join([*lines, f"    return {examples[0][1]!r}"])


# What has fooled test harnesses that run in the same process as the code, or that read its output.
def cheats(name: str, arity: int) -> list[str]:
    """Answers that would have to be paid by a harness with holes."""
    head = f"def {name}({', '.join('xyz'[:arity])}):"
    return [
        f"import os\n{head}\n    os._exit(0)",
        f"print('all tests passed')\n{head}\n    pass",
        f"class T:\n    def __eq__(self, other): return True\n{head}\n    return T()",
    ]
