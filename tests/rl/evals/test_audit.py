"""Every category is audited, and the audit finds what is wrong with verifiers that are bad."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from mmtp.data.records import Image, Text
from rl.answers.reply import answer_of, boxed
from rl.envs import CATEGORIES
from rl.envs.category import Drawn
from rl.evals import audit as module
from rl.evals.audit import audit, digest, interval
from rl.evals.hostile import attacks, derived, quick
from rl.evals.hostile_texts import CANARY
from rl.rewards.rules.boxes import gated, iou

NAMES = sorted(CATEGORIES)


def thinned(tried, category, task):
    """Where a turn is dear, every seventh attack; all of them in seven seeds."""
    dear = category.step is not None or category.group == "coding"
    return islice(tried, task.seed % 7 if dear else 0, None, 7 if dear else 1)


def some(category, task):
    return thinned(quick(category, task), category, task)


def every(category, task):
    return thinned(attacks(category, task), category, task)


def check(report):
    assert report.fine, (report.oracle, report.accepted[:5], report.problems[:5])
    assert set(report.kinds) == {"value"}
    assert report.hostile > 0
    assert report.distractors > 0


@pytest.mark.parametrize("name", NAMES)
def test_nothing_hostile_is_right(name):
    check(audit(CATEGORIES[name], [NAMES.index(name)], some))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_nothing_hostile_is_right_on_many(name):
    check(audit(CATEGORIES[name], range(10), every))


def test_another_process_draws_the_same_bytes():
    """With another order of hashes, and in another order of categories."""
    code = (
        "from rl.envs import CATEGORIES\nfrom rl.evals.audit import digest\n"
        "for n in sorted(CATEGORIES)[::-1]: print(n, digest(CATEGORIES[n], [1])[0])"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    theirs = dict(line.split() for line in done.stdout.splitlines())
    assert theirs == {name: digest(CATEGORIES[name], [1])[0] for name in NAMES}


def with_rule(name, rule):
    """A category with another verifier: (answer, reference) -> value."""
    return replace(CATEGORIES[name], score=lambda t, r: rule(answer_of(r.reply) or "", t.reference))


def contains(answer, reference):
    """OCRBench's."""
    return float(str(reference["answer"]) in answer)


def first_four_numbers(answer, reference):
    """VLMEvalKit's, of boxes."""
    found = [int(n) for n in re.findall(r"[0-9]{1,4}", answer)[:4]]
    return gated(iou(found, reference["box"])) if len(found) == 4 else 0.0


def any_hedge(answer, reference):
    """math_verify's: one of several answers is enough."""
    return float(str(reference["answer"]) in re.split(r" or |, ", answer))


def unicode_digits(answer, reference):
    """What `int` and `str.isdecimal` take for numbers."""
    return float(answer.isdecimal() and len(answer) < 20 and int(answer) == reference["answer"])


def word_in_option(answer, reference):
    """MVBench's: the first word in the right option, as "" and "(" are."""
    right = f"({'ABCDEF'[reference['answer']]}) {reference['options'][reference['answer']]}"
    return float((answer.split() or [""])[0] in right)


@pytest.mark.parametrize(
    ("name", "rule", "tricks"),
    [
        ("counting", contains, {"hedge: X or Y", "hedge: not X", "repeated: ' '"}),
        ("referring", first_four_numbers, {"hedge: X or Y", "hedge: never X"}),
        ("counting", any_hedge, {"hedge: X or Y", "hedge: X, Y"}),
        ("counting", unicode_digits, {"letters: Arabic-Indic", "letters: mathematical bold"}),
        ("illusions", word_in_option, {"nothing: empty", "nothing: bracket"}),
    ],
)
def test_bad_verifiers_are_caught(name, rule, tricks):
    report = audit(with_rule(name, rule), range(4), quick)
    assert not report.fine
    assert report.oracle == 1  # which alone would not tell
    assert tricks <= {trick for _, trick, _ in report.accepted}


def test_a_verifier_that_runs_code_is_caught():
    def evaluates(answer, reference):
        try:
            return float(eval(answer[:5000], {}) == reference["answer"])
        except Exception:
            return 0.0

    def mild(category, task):
        """Without what would never end."""
        wanted = ("code: import", "code: list", "hedge: X or Y")
        return (one for one in quick(category, task) if one.name in wanted)

    report = audit(with_rule("counting", evaluates), [0], mild)
    assert report.problems == ["code in a hostile reply was run"]
    assert CANARY not in os.environ


def test_a_verifier_that_breaks_is_caught():
    report = audit(with_rule("counting", lambda a, r: float(int(a) == r["answer"])), [0], quick)
    assert report.kinds["error"] > 10
    assert any("ValueError" in problem for problem in report.problems)


def test_a_slow_verifier_is_caught(monkeypatch):
    monkeypatch.setattr(module, "SLOW", 0.005)

    def slow(answer, reference):
        return float(sum(answer == str(reference["answer"]) for _ in range(10**5)) == 10**5)

    report = audit(with_rule("counting", slow), [0], lambda c, t: islice(derived(c, t), 2))
    assert "s of processor" in report.problems[0]
    assert report.slowest[0] > 0.005


@pytest.mark.parametrize(("times", "problems"), [(1, 0), (2, 1)])
def test_slow_once_is_the_machine_and_slow_again_the_verifier(monkeypatch, times, problems):
    monkeypatch.setattr(module, "SLOW", 0.2)
    slow, calls = CATEGORIES["counting"], []

    def hiccup(task, rollout):
        """The first calls take a second and more; the clock is the test's."""
        calls.append(rollout)
        now[0] += 2.0 / len(calls) if len(calls) <= times else 0.01
        return slow.score(task, rollout)

    now = [0.0]
    monkeypatch.setattr(module.time, "thread_time", lambda: now[0])
    report = audit(replace(slow, score=hiccup), [0], lambda c, t: (), guesses=0)
    assert len(report.problems) == problems
    assert report.oracle == 1
    assert report.slowest[0] == pytest.approx(1.0 if problems else 0.01)
    assert report.verdicts == report.distractors + 1 == len(calls) - 1


def test_a_wrong_oracle_and_a_wrong_distractor_are_caught():
    category = CATEGORIES["counting"]
    report = audit(replace(category, oracle=lambda task: (boxed("no"),)), [0], some)
    assert report.oracle == 0
    assert not report.fine
    report = audit(replace(category, distractors=lambda t: [category.oracle(t)]), [0], some)
    assert ("distractor 0", 1.0) in [one[1:] for one in report.accepted]


def test_one_pixel_makes_another_digest():
    def drawn(value):
        pixels = np.zeros((28, 28, 3), np.uint8)
        pixels[3, 4, 2] = value
        return replace(
            CATEGORIES["counting"], draw=lambda _: Drawn((Image(pixels), Text("?")), {"answer": 1})
        )

    one, same, other = (digest(drawn(value), range(3))[0] for value in (0, 0, 1))
    assert one == same != other


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0] * 10, (0, 0, 0.2775)),  # Wilson (1927), z = 1.96
        ([1] * 10, (1, 0.7225, 1)),
        ([0] * 5 + [1] * 5, (0.5, 0.2366, 0.7634)),
        ([0, 0.5, 0.5, 1], (0.5, 0.5 - 1.96 * 0.40825 / 2, 0.5 + 1.96 * 0.40825 / 2)),
    ],
)
def test_intervals_by_hand(values, expected):
    assert interval(values) == pytest.approx(expected, abs=1e-3)
