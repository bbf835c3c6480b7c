"""Code against hidden unit tests: all of them pass, or nothing is paid.

The code runs in `rl.rewards.sandbox`, which only answers calls; what they should give stays here,
so that the tests can be neither read nor skipped nor declared passed (harnesses that run tests in
the code's own process, as those of HumanEval and MBPP, are fooled by `os._exit(0)` and by objects
that are equal to everything). Values are JSON, compared with their types.
"""

import math
import re
from collections.abc import Mapping

from rl.rewards import sandbox
from rl.types import Json

FENCE = "```"
LANGUAGES = ("python", "py", "python3", "")
MAX_CHARACTERS = 20_000  # longer code is wrong
RELATIVE = 1e-6  # of floats


def code_tests(answer: str, reference: Mapping[str, Json]) -> float:
    """1 where the function gives what is expected for all arguments, else 0.

    Args:
        answer: a module, alone or in one fence of three backticks.
        reference: "function", its name; "tests", pairs [arguments, expected value].

    Raises:
        VerifierFailed: no sandbox could be started.
    """
    code, name = extract(answer), reference["function"]
    if code is None or not defines(code, name):
        return 0.0
    tests = reference["tests"]
    outcomes = sandbox.run(code, name, [arguments for arguments, _ in tests])
    return float(
        all(
            outcome.kind == "value" and same(outcome.value, expected)
            for outcome, (_, expected) in zip(outcomes, tests, strict=True)
        )
    )


def defines(code: str, name: str) -> bool:
    """Whether it looks so: no process is started for what has no `def name` and no `name =`."""
    return bool(re.search(rf"\bdef[ \t]+{name}\b|\b{name}[ \t]*(?::[^\n=]{{0,80}})?=", code))


def extract(answer: str) -> str | None:
    """The code of an answer; None where there is none, or something beside it."""
    text = answer.strip()
    if not text or len(text) > MAX_CHARACTERS or "\0" in text:
        return None
    if FENCE not in text:
        return text
    head, _, rest = text.partition("\n")
    body, end = rest[: -len(FENCE)], rest[-len(FENCE) :]
    if not head.startswith(FENCE) or end != FENCE or FENCE in body:
        return None
    return body if head[len(FENCE) :].strip().lower() in LANGUAGES else None


def same(value: Json, expected: Json) -> bool:
    """Equal in type and value: True is not 1; 2.0 is 2; floats within RELATIVE of each other."""
    if isinstance(expected, bool) or isinstance(value, bool) or expected is None or value is None:
        return value is expected
    if isinstance(expected, int | float):
        if not isinstance(value, int | float):
            return False
        if isinstance(expected, int) and isinstance(value, int):
            return value == expected
        try:
            return math.isclose(value, expected, rel_tol=RELATIVE, abs_tol=1e-9)
        except OverflowError:
            return False
    if isinstance(expected, str):
        return isinstance(value, str) and value == expected
    if isinstance(expected, list):
        return (
            isinstance(value, list)
            and len(value) == len(expected)
            and all(same(a, b) for a, b in zip(value, expected, strict=True))
        )
    return (
        isinstance(value, dict)
        and value.keys() == expected.keys()
        and all(same(value[key], expected[key]) for key in expected)
    )
