"""Instructions: contracts, every kind of constraint occurs, and the picture is needed."""

import itertools

import numpy as np

from mmtp.data.records import Text
from rl.envs import CATEGORIES, make_task
from rl.envs.environment import judge, play
from rl.rewards.rules import constraints as rule

CATEGORY = CATEGORIES["constraints"]


def test_every_constraint_occurs_and_matters():
    """Each kind is among the tasks, is said in the question, and some reply breaks it alone."""
    seen, broken = set(), set()
    for seed in range(120):
        task = make_task(CATEGORY, seed, seed // 2 % 5)
        rules, text = task.reference["constraints"], task.reference["text"]
        question = "".join(p.text for p in task.observation.parts if isinstance(p, Text))
        assert f"{len(rules)}. " in question
        assert f"{len(rules) + 1}. " not in question
        seen |= {r["kind"] for r in rules}
        for (reply,) in CATEGORY.distractors(task):
            answer = reply.removeprefix("<|begin_of_box|>").removesuffix("<|end_of_box|>")
            failed = [r["kind"] for r in rules if not rule.holds(answer, r)]
            broken |= set(failed) if len(failed) == 1 and answer != text else set()
    assert seen == set(rule.CHECKS)
    assert broken >= {"words", "include", "ends", "starts", "lower", "bullets"}


def test_more_constraints_at_higher_difficulties():
    mean = [
        np.mean([len(make_task(CATEGORY, s, d).reference["constraints"]) for s in range(40)])
        for d in range(5)
    ]
    assert all(a < b for a, b in itertools.pairwise(mean))


def test_the_form_alone_is_worth_little():
    """The policy that knows a text of the right form, and guesses the fact."""
    got = []
    for seed in range(200):
        task = make_task(CATEGORY, seed, seed % 5)
        replies = CATEGORY.guess(task, np.random.default_rng(seed))
        got.append(judge(CATEGORY, play(CATEGORY, task, replies)).value)
    assert np.mean(got) < 0.25
