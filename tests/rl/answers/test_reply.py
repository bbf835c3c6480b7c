"""Replies are taken apart as GLM-V's grammar says, and nothing breaks or delays that."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.answers.reply import (
    ANSWER,
    BOX,
    ENDS,
    MAX_CHARACTERS,
    THINK,
    Reply,
    answer_of,
    boxed,
    parse,
)
from tests.at_most import at_most

MARKS = (*BOX, *THINK, *ANSWER, *ENDS)
ONE = "<|begin_of_box|>3<|end_of_box|>"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3", Reply("", "3", False)),
        ("  3\n", Reply("", "3", False)),
        ("", Reply("", "", False)),
        (ONE, Reply("", "3", True)),
        (f"It is {ONE}.", Reply("", "3", True)),
        ("<|begin_of_box|> a\nb <|end_of_box|>", Reply("", "a\nb", True)),
        ("<|begin_of_box|><|end_of_box|>", Reply("", "", True)),
        (f"<think>One, two.</think>{ONE}", Reply("One, two.", "3", True)),
        (f"<think>a</think>\n<answer>so {ONE}</answer>", Reply("a", "3", True)),
        ("<think>a</think><answer>3</answer>", Reply("a", "3", False)),
        (f"opened by a prompt</think>{ONE}", Reply("opened by a prompt", "3", True)),
        ("<think></think>3", Reply("", "3", False)),
        (f"{ONE}<|user|>", Reply("", "3", True)),
        (f"<answer>{ONE}</answer>\n<|endoftext|>", Reply("", "3", True)),
        # A draft in the thoughts is no answer.
        (f"<think>{ONE}</think>4", Reply(ONE, "4", False)),
    ],
)  # fmt: skip
def test_replies(text, expected):
    assert parse(text) == expected
    assert answer_of(text) == expected.answer


@pytest.mark.parametrize(
    "text",
    [
        "<think>never ends",
        f"<think>never ends {ONE}",
        ONE + ONE,
        ONE + "<|begin_of_box|>4<|end_of_box|>",
        "<|begin_of_box|>3",
        "3<|end_of_box|>",
        "<|end_of_box|>3<|begin_of_box|>",
        "<|end_of_box|>4<|begin_of_box|>3<|end_of_box|>",
        "<|begin_of_box|><|begin_of_box|>3<|end_of_box|><|end_of_box|>",
        f"<think>a</think>{ONE}<think>b</think>",
        f"<think>a</think>b</think>{ONE}",
        f"<think>a<think>b</think>{ONE}",
        f"x<think>b</think>{ONE}",
        f"<answer>{ONE}",
        f"{ONE}</answer>",
        f"so: <answer>{ONE}</answer>",
        f"<answer>3</answer><answer>{ONE}</answer>",
        f"</answer>{ONE}<answer>",
        "<|begin_of_box|><answer>3</answer><|end_of_box|>",
        "9" * (MAX_CHARACTERS + 1),
    ],
)
def test_no_one_answer(text):
    reply = parse(text)
    assert reply.answer is None
    assert not reply.well_formed


def test_long_thoughts_are_thoughts():
    thoughts = "so " * MAX_CHARACTERS
    assert answer_of(f"<think>{thoughts}</think>{ONE}") == "3"


def test_well_formed_needs_the_box():
    assert parse(ONE).well_formed
    assert not parse("3").well_formed


@given(st.text(max_size=40))
@settings(max_examples=100)
def test_round_trip(answer):
    if not any(mark in answer for mark in MARKS):
        assert parse(f"<think>so</think>{boxed(answer)}") == Reply("so", answer.strip(), True)


@given(st.lists(st.sampled_from((*MARKS, "3", " ", "\n", "a", "\ud800", "\x00")), max_size=12))
@settings(max_examples=300)
def test_never_raises_and_never_answers_with_marks(pieces):
    text = "".join(pieces)
    reply = parse(text)
    assert reply.answer is None or not any(mark in reply.answer for mark in (*BOX, *THINK, *ANSWER))
    assert reply.well_formed == (reply.boxed and reply.answer is not None)
    if reply.boxed:
        assert text.count(BOX[0]) >= 1


@pytest.mark.parametrize("piece", [*MARKS, "<", "a", " ", "\x00", "<|begin_of_box|>x", "<think>\n"])
@pytest.mark.parametrize("head", ["", "<think>", "<think></think>"])
def test_a_megabyte_takes_no_time(piece, head):
    text = head + piece * (1_000_000 // len(piece))
    with at_most(0.5):
        parse(text)
        parse(head + text[:150_000])  # short enough to be read
