"""Coding: contracts, and that the tests find what is wrong."""

import json
import subprocess
import sys

import numpy as np
import pytest

from mmtp.data.records import Image
from rl.answers.reply import boxed
from rl.envs import CATEGORIES, make_task, picture_to_code
from rl.envs.environment import judge, play
from rl.envs.parts import programs
from rl.envs.parts.problems import PROBLEMS
from rl.rewards.rules.code_tests import same

QUICK = {"text_coding": 1, "picture_to_code": 1, "code_output": 4}  # seeds; code starts processes


def test_there_are_problems_enough():
    assert len(PROBLEMS) >= 12
    assert {problem.level for problem in PROBLEMS} == set(range(5))
    for problem in PROBLEMS:
        assert problem.en
        assert any("\u4e00" <= c <= "\u9fff" for c in problem.zh)


@pytest.mark.parametrize("name", ["text_coding", "picture_to_code"])
@pytest.mark.parametrize("difficulty", range(5))
def test_hidden_tests_find_the_slips(name, difficulty):
    """By running them here, not in the sandbox: the slips are ours."""
    for seed in range(30):
        reference = make_task(CATEGORIES[name], seed, difficulty).reference
        calls, expected = zip(*reference["tests"], strict=True)
        function = reference["function"]
        assert programs.values(reference["source"], function, calls) == list(expected)
        for source in reference["wrong"]:
            given = programs.values(source, function, calls)
            assert any(not same(a, b) for a, b in zip(given, expected, strict=True)), source


@pytest.mark.parametrize("difficulty", range(5))
def test_a_table_has_one_answer(difficulty):
    """Whatever function of the forms named in the question fits the rows passes the tests."""
    checked = 0
    for seed in range(60):
        task = make_task(CATEGORIES["picture_to_code"], seed, difficulty)
        reference = task.reference
        if "a, b =" not in reference["source"]:
            continue
        lookup = reference["wrong"][-1]
        shown = [int(line[15:-2]) for line in lookup.split("\n") if "if [x] ==" in line]
        right = programs.values(reference["source"], "f", [[x] for x in shown])
        for form in picture_to_code.FORMS[: 4 + difficulty]:
            for a in range(1, 10):
                for b in range(1, 10):
                    source = picture_to_code._code(form, a, b)
                    if programs.values(source, "f", [[x] for x in shown]) == right:
                        for arguments, expected in reference["tests"]:
                            assert programs.values(source, "f", [arguments]) == [expected]
        checked += 1
        if checked == 3:
            break
    assert checked


def test_outputs_are_what_python_prints():
    for difficulty in range(5):
        for seed in range(3):
            reference = make_task(CATEGORIES["code_output"], seed, difficulty).reference
            done = subprocess.run(
                [sys.executable, "-I", "-S", "-c", reference["source"]],
                capture_output=True,
                text=True,
                check=True,
            )
            assert done.stdout == reference["answers"][0] + "\n"


def test_pictures_differ_where_programs_do():
    """Two tasks with the same picture have the same answer."""
    seen = {}
    for seed in range(120):
        task = make_task(CATEGORIES["code_output"], seed, 0)
        (picture,) = (p.data for p in task.observation.parts if isinstance(p, Image))
        key = picture.tobytes()
        assert seen.setdefault(key, task.reference["answers"]) == task.reference["answers"]
    assert len(seen) > 80


def test_code_that_hangs_is_worth_nothing():
    category = CATEGORIES["text_coding"]
    task = make_task(category, 0, 0)
    name = task.reference["function"]
    reply = boxed(f"def {name}(x):\n    while True: pass")
    verdict = judge(category, play(category, task, (reply,)))
    assert (verdict.kind, verdict.value) == ("value", 0.0)


def test_the_blind_baseline_is_low():
    for name in ("code_output", "text_coding"):
        category, got = CATEGORIES[name], []
        for seed in range(10):
            task = make_task(category, seed, seed % 5)
            replies = category.guess(task, np.random.default_rng(seed))
            got.append(judge(category, play(category, task, replies)).value)
        assert np.mean(got) <= 0.2


def test_questions_tell_no_hidden_test():
    """Only the two examples are in the text."""
    task = make_task(CATEGORIES["text_coding"], 4, 2)
    text = "".join(p.text for p in task.observation.parts if not isinstance(p, Image))
    shown = sum(repr(arguments[0]) in text for arguments, _ in task.reference["tests"])
    assert shown <= 2
    assert json.dumps(task.reference["source"]) not in text
