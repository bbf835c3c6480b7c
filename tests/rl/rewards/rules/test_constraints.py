"""Each constraint by hand, the fact that must be right, and that nothing raises."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.rewards.rules.constraints import CHECKS, constraints, holds, num_words, sentences

FACTS = ["The star is red", "The star is blue", "The star is green"]


def score(answer, *rules, facts=FACTS):
    return constraints(answer, {"facts": facts, "constraints": list(rules)})


@pytest.mark.parametrize(
    "answer",
    [
        "The star is red.",
        "the star is RED",
        "It is bright. The star is red. Good.",
        "- The star is red.\n- So it is.",
        '{"a": "The star is red. Yes.", "b": "x"}',
    ],
)
def test_the_fact_is_there(answer):
    assert score(answer) == 1.0


@pytest.mark.parametrize(
    "answer",
    [
        "",
        " ",
        "The star is blue.",
        "It is not true that the star is red.",
        "The star is red. The star is blue.",
        ". ".join(FACTS),
        "The star is red or blue.",
        "The star is red. The star is red.",
        "red",
        "A star is red.",
        "The star is red." + "x" * 5000,
        '{"The star is red": "yes"}',
        '[["The star is red"]]',
        '{"a": "The star is red.", "b": ["The star is blue", "The star is green"]}',
        '{"a": "The star is red.", "b": {"c": [{"d": "Or so. The star is blue."}]}}',
        '{"The star is blue": "The star is red."}',
    ],
)
def test_the_fact_is_not_there(answer):
    assert score(answer) == 0.0


CASES = [
    ({"kind": "words", "least": 2, "most": 3}, ["a b", "a, b - c"], ["a", "a b c d", ""]),
    ({"kind": "words", "least": 3, "most": 3}, ["红花ok", "一二三。"], ["红花", "一二三四"]),
    (
        {"kind": "include", "word": "calm", "times": 2},
        ["Calm, calm!", "calm calm calm"],
        ["calm", "calmer calmly", ""],
    ),
    ({"kind": "include", "word": "安静", "times": 1}, ["很安静。"], ["安 静"]),
    ({"kind": "exclude", "words": ["see", ","]}, ["seen", "a"], ["I See", "a, b"]),
    ({"kind": "bullets", "count": 2}, ["- a\n- b", "- a\n\n- b"],
     ["- a", "- a\nb", "-a\n-b", "- \n- b", "* a\n* b", "- a\n- b\n- c"]),
    ({"kind": "sentences", "count": 2}, ["A. B.", "一。二。", "A!\nB?"], ["A.", "A. B. C."]),
    ({"kind": "lines", "count": 2}, ["a\nb", "a\n\nb"], ["a", "a\nb\nc"]),
    ({"kind": "starts", "text": "Look:"}, ["Look: a"], ["look: a", "a Look:"]),
    ({"kind": "ends", "text": "Over."}, ["a Over."], ["a over.", "Over. a"]),
    (
        {"kind": "json", "keys": ["a", "b"]},
        ['{"b": "x", "a": "y"}'],
        ['{"a": "x"}', '{"a": "x", "b": ""}', '{"a": "x", "b": 1}',
         '{"a": "x", "b": "y", "c": "z"}',
         '```json\n{"a": "x", "b": "y"}\n```', '{"a": "x", "a": "y", "b": "z"}', "a b"],
    ),
    ({"kind": "language", "language": "en"}, ["abc", "abc é"], ["abc 文", "123", ""]),
    ({"kind": "language", "language": "zh"}, ["文字123"], ["文字a", "123", ""]),
    ({"kind": "lower"}, ["abc", "文字"], ["Abc"]),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "right", "wrong"), CASES)
def test_constraints(rule, right, wrong):
    for answer in right:
        assert holds(answer, rule), answer
    for answer in wrong:
        assert not holds(answer, rule), answer


def test_every_kind_is_tested():
    assert {rule["kind"] for rule, _, _ in CASES} == set(CHECKS)


def test_all_must_hold():
    two = {"kind": "sentences", "count": 2}
    short = {"kind": "words", "least": 1, "most": 6}
    assert score("The star is red. Yes.", two, short) == 1.0
    assert score("The star is red.", two, short) == 0.0
    assert score("The star is red. It is so indeed.", two, short) == 0.0


def test_counting():
    assert num_words("It's a well-known fact: 3 things.") == 6
    assert num_words("红色 star 3") == 4
    assert sentences("- A b.\n\n- C! D?") == ["A b", "C", "D"]


@settings(max_examples=200)
@given(st.text(st.sampled_from('The star is red.\n- {}":,文\\x'), max_size=60))
def test_never_raises(answer):
    for rule, _, _ in CASES:
        assert score(answer, rule) in (0.0, 1.0)


def test_long_answers_are_fast():
    for answer in ("a" * 5000, "- " * 2500, '{"' * 2500, "." * 5000, "'" * 5000, "a-" * 2500):
        for rule, _, _ in CASES:
            score(answer, rule)
