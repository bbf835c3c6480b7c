"""Choices: one letter; what searches for it has been fooled by all of these."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.answers.numbers import letter
from rl.answers.reply import boxed
from rl.envs.category import by_answer
from rl.envs.parts import choices
from rl.rewards.rules.choice import choice
from rl.types import Action, Observation, Rollout, Task, Turn
from tests.at_most import at_most

FOUR = {"answer": 2, "options": ["red", "green", "blue", "black"]}


@pytest.mark.parametrize("said", ["C", "c", " C ", "(C)", "(c)", "C.", "C)", "C:"])
def test_right(said):
    assert choice(said, FOUR) == 1


@pytest.mark.parametrize(
    "said",
    [
        # MVBench: the first word is in the option, or has it in it.
        "", " ", "(", ")", ".", "()", "(A)(B)(C)(D)", "( C", "Option", "option C",
        # VLMEvalKit: a letter among the last words; one option's text.
        "Answer: c", "The answer is C", "A C", "C A", "A, B, C, D", "ABCD", "C or D", "C/D",
        "C and D",
        "I choose C because", "blue", "the blue one", "C. blue", "C blue", "It is not A, B or D",
        # Letters that look like it, and numbers.
        "С", "Ｃ", "Ⅽ", "ⓒ", "©", "3", "2", "CC", "C C", "C\x00", "-C", "!C", "C?", "D", "A", "B",
        "E",
        "I don't know", "none of the above", "all", "\ud800", '{"answer": "C"}', "['C']",
        "C" * 5000,
    ],
)  # fmt: skip
def test_wrong(said):
    assert choice(said, FOUR) == 0


@given(st.text(max_size=20) | st.text("ABCDabcd().,: ", max_size=8))
@settings(max_examples=300)
def test_never_raises_and_pays_for_one_option_only(said):
    """Whatever is said is right for at most one of the options."""
    values = [choice(said, {**FOUR, "answer": i}) for i in range(4)]
    assert sum(values) in (0, 1)


@pytest.mark.parametrize("piece", ["A", "(", " ", "(A)", "A ", "\n", "."])
def test_a_megabyte_takes_no_time(piece):
    with at_most(0.3):
        assert choice(piece * (1_000_000 // len(piece)), FOUR) == 0


@pytest.mark.parametrize("count", [2, 3, 4, 6])
@pytest.mark.parametrize("gold", [0, 1])
def test_the_shared_distractors_are_all_wrong(count, gold):
    reference = {"answer": gold, "options": [f"option {i}" for i in range(count)]}
    task = Task("t/0", "t", "t", "element", 0, 0, "en", Observation(()), reference)

    def score(reply):
        return by_answer(choice)(task, Rollout(task, (Turn(task.observation, Action(reply)),)))

    assert score(choices.oracle(task)[0]) == 1
    assert score(boxed(letter(gold))) == 1
    wrong = choices.distractors(task)
    assert len({reply for (reply,) in wrong}) > 15 + count
    assert all(score(reply) == 0 for (reply,) in wrong)
