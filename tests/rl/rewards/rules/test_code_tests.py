"""Hidden tests: what passes, what does not, and how it is compared."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.rewards import sandbox
from rl.rewards.rules.code_tests import code_tests, extract, same
from rl.types import VerifierFailed

REFERENCE = {
    "function": "double",
    "tests": [[[1], 2], [[0], 0], [["ab"], "abab"], [[[1, 2]], [1, 2, 1, 2]]],
}
RIGHT = "def double(x):\n    return x + x"


@pytest.mark.parametrize(
    "answer",
    [
        RIGHT,
        f"```python\n{RIGHT}\n```",
        f"```\n{RIGHT}\n```\n",
        "double = lambda x: 2 * x",
        f"import math\n\nA = 1\n\n{RIGHT}\n\nprint(double(3))",
        "class D:\n    def __call__(self, x): return x * 2\ndouble = D()",
    ],
)
def test_right_code(answer):
    assert code_tests(answer, REFERENCE) == 1.0


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "double",
        "def double(x):\n    return x",
        "def double(x):\n    return {1: 2, 0: 0}.get(x)",
        "def twice(x):\n    return x + x",
        f"Here it is:\n```python\n{RIGHT}\n```",
        f"```python\n{RIGHT}\n```\nDone.",
        f"```python\n{RIGHT}\n```\n```python\n{RIGHT}\n```",
        f"```javascript\n{RIGHT}\n```",
        f"```python\n{RIGHT}",
        f"{RIGHT}\0",
        f"{RIGHT}\n" + "#" * 20_000,
        f"{RIGHT}\nimport os\nos._exit(0)",
        f"{RIGHT}\nraise SystemExit(0)",
        "print('all tests passed')\ndef double(x): pass",
        "class A:\n    def __eq__(self, o): return True\ndef double(x): return A()",
        "import os\ndef double(x): os._exit(0)",
        "def double(x): return float('nan')",
        "def double(x): yield x + x",
        "import unittest.mock\ndef double(x): return unittest.mock.ANY",
    ],
)
def test_wrong_code(answer):
    assert code_tests(answer, REFERENCE) == 0.0


def test_code_that_hangs_is_wrong_and_not_an_error():
    assert code_tests("def double(x):\n    while True: pass", REFERENCE) == 0.0


def test_no_sandbox_is_an_error(monkeypatch):
    def broken(*_, **__):
        raise VerifierFailed("no process")

    monkeypatch.setattr(sandbox, "run", broken)
    with pytest.raises(VerifierFailed):
        code_tests(RIGHT, REFERENCE)


@pytest.mark.parametrize(
    ("value", "expected", "equal"),
    [
        (1, 1, True),
        (True, 1, False),
        (1, True, False),
        (0, False, False),
        (None, 0, False),
        (0, None, False),
        (2.0, 2, True),
        (0.1 + 0.2, 0.3, True),
        (0.3001, 0.3, False),
        (float("nan"), float("nan"), False),
        (float("inf"), 1e308, False),
        (10**400, 1.5, False),
        ("1", 1, False),
        (1, "1", False),
        ([1, 2], [1, 2], True),
        ([1, 2], [2, 1], False),
        ([1], [1, 2], False),
        ("ab", ["a", "b"], False),
        ({"a": 1}, {"a": 1}, True),
        ({"a": 1, "b": 2}, {"a": 1}, False),
        ({}, [], False),
        ([[1, [True]]], [[1, [1]]], False),
    ],
)
def test_equal(value, expected, equal):
    assert same(value, expected) is equal


def test_extract():
    assert extract("x = 1") == "x = 1"
    assert extract("```py\nx = 1\n```") == "x = 1\n"
    assert extract("``` \nx```") == "x"
    assert extract("```") is None
    assert extract("```python```") is None


@settings(max_examples=100)
@given(st.text(st.sampled_from("`\npython x=1"), max_size=40))
def test_extract_never_raises(answer):
    code = extract(answer)
    assert code is None or "```" not in code
